"""The numbers that the paper prints, from CSV files that were transcribed from its tables."""

import csv
from pathlib import Path

ROWS = {"none": "None", "bn": "BN", **{f"gn{g}": f"GN{g}" for g in (2, 4, 8, 16, 32)}, "in": "IN"}


def published_rows(number):
    """{method: row} of the paper's Table 1 or 2."""
    names = {"none": "none", "batch": "bn", "instance": "in"}
    with open(Path(__file__).parent / "published" / f"kolarik_table{number}.csv", newline="", encoding="utf-8") as file:
        return {names.get(row["method"], f"gn{row['groups']}"): row for row in csv.DictReader(file)}


def published_dice(method, structure):
    """(means, standard deviations) of Table 2, which prints one mean and no deviation; None if it has no such row."""
    row = published_rows(2).get(method) if structure == "spine" else None
    return row and ([float(row["dice"])], [])
