"""Tables 1 to 3 and the numbers that the paper prints, from CSV files that were transcribed from it."""

import csv
import functools
from pathlib import Path

from experiments.analysis.captions import STRUCTURES
from experiments.analysis.paper import PaperTable
from experiments.papers import acdc
from experiments.papers.sunnybrook import TITLE

ROWS = {1: {"clip": "Clip", "sigmoid": "Sigmoid", "softmax": "Softmax"},
        2: {"sigmoid": "No", "iln": "Yes"},
        3: {"none": "None", "in": "IN", "ln": "LN", "gn4": "GN4", "iln": "ILN"}}
SUBJECTS = {1: "Clip, Sigmoid and Softmax to combine IN and LN (no GN after)",
            2: "without and with GN16 after the Sigmoid mix of IN and LN",
            3: "no normalization, IN, LN, GN4 and ILN"}


def _read(name):
    with open(Path(__file__).parent / "published" / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _published(number, method, structure):
    """(means, standard deviations) that the paper prints for a structure's three folds, or None."""
    if structure not in STRUCTURES:
        return None
    for row in _read(f"iln_table{number}.csv"):
        if row["method"] == ROWS[number].get(method):
            return tuple([float(row[f"{structure}-{k}_{what}"]) for k in (1, 2, 3)] for what in ("mean", "std"))
    return None


def _table(number):
    return PaperTable(
        f"Table {number}", f"table{number}", SUBJECTS[number], ROWS[number], STRUCTURES, (1, 2, 3),
        frozenset(method for rows in ROWS.values() for method in rows) if number == 3 else None,
        functools.partial(_published, number),
        lambda title, synthetic, folds: folds == 3 and not synthetic and (TITLE in title or acdc.TITLE in title),
        "'published' is the paper's mean over its three folds; its groups are random and unknown, so only these means "
        "compare.")


TABLES = {number: _table(number) for number in ROWS}


def published_cost():
    """The comparison of cost (section 3.5), {'IN' or 'ILN': {'seconds': for 200 iterations, 'beyond_in': parameters}}.

    'beyond_in' is the number of parameters minus IN's.
    """
    return {row["method"]: {"seconds": float(row["seconds_per_200_iterations"]),
                            "beyond_in": int(row["parameters_beyond_IN"])} for row in _read("iln_cost.csv")}
