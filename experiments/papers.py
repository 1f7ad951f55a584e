"""The tables of the ILN paper (Zhou et al., MMMI 2019): which methods, in which rows, with which published numbers."""

import csv
from pathlib import Path
from typing import NamedTuple

PUBLISHED = Path(__file__).parent / "published"
STRUCTURES = ("RV", "LV")  # the order of the paper's columns
PAPER_RATES = (1.5, 1.0, 0.5, 0.1, 0.05)  # section 2.2
RATES = {"paper": PAPER_RATES, "lite": PAPER_RATES, "quick": (0.3,)}


class PaperTable(NamedTuple):
    """One of the paper's tables: its number, what it compares, and its rows (method -> label)."""

    number: int
    subject: str
    rows: dict

    def published(self, method, structure):
        """(means, standard deviations) of a structure's three folds as the paper prints them, or None."""
        if structure not in STRUCTURES:
            return None
        with open(PUBLISHED / f"iln_table{self.number}.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["method"] == self.rows.get(method):
                    return tuple([float(row[f"{structure}-{k}_{what}"]) for k in (1, 2, 3)] for what in ("mean", "std"))
        return None


TABLES = {
    1: PaperTable(1, "Clip, Sigmoid and Softmax to combine IN and LN (no GN after)",
                  {"clip": "Clip", "sigmoid": "Sigmoid", "softmax": "Softmax"}),
    2: PaperTable(2, "without and with GN16 after the Sigmoid mix of IN and LN", {"sigmoid": "No", "iln": "Yes"}),
    3: PaperTable(3, "no normalization, IN, LN, GN4 and ILN",
                  {"none": "None", "in": "IN", "ln": "LN", "gn4": "GN4", "iln": "ILN"}),
}


def methods_of(numbers):
    """The methods of some tables, each once: Table 3's first, for its baselines come first."""
    return list(dict.fromkeys(m for number in sorted(numbers, reverse=True) for m in TABLES[number].rows))


def ordered(methods):
    """Methods in the order of `methods_of` all tables, others after them by name."""
    known = methods_of(TABLES)
    return sorted(methods, key=lambda m: (known.index(m) if m in known else len(known), m))


def published_cost():
    """The paper's cost comparison (section 3.5), by 'IN' and 'ILN': 'seconds' for 200 iterations, and parameters
    'beyond_in'."""
    with open(PUBLISHED / "iln_cost.csv", newline="", encoding="utf-8") as file:
        return {row["method"]: {"seconds": float(row["seconds_per_200_iterations"]),
                                "beyond_in": int(row["parameters_beyond_IN"])} for row in csv.DictReader(file)}
