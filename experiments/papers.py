"""The tables of the ILN paper (Zhou et al., MMMI 2019), and ours: which methods, in which rows, with which published
numbers."""

import csv
from pathlib import Path
from typing import NamedTuple

from ilnrepro.norms import METHODS, method

PUBLISHED = Path(__file__).parent / "published"
STRUCTURES = ("RV", "LV")  # the order of the paper's columns
PAPER_RATES = (1.5, 1.0, 0.5, 0.1, 0.05)  # section 2.2
RATES = {"paper": PAPER_RATES, "lite": PAPER_RATES, "quick": (0.3,)}


class PaperTable(NamedTuple):
    """A table: its number in the paper (ours have a name), what it compares, and its rows (method -> label)."""

    number: int | str
    subject: str
    rows: dict

    @property
    def title(self):
        """'Table 3', or the name."""
        return f"Table {self.number}" if isinstance(self.number, int) else self.number.capitalize()

    @property
    def stem(self):
        """Of its files: 'table3', or the name."""
        return f"table{self.number}" if isinstance(self.number, int) else self.number

    def published(self, method, structure):
        """(means, standard deviations) of a structure's three folds as the paper prints them, or None."""
        path = PUBLISHED / f"iln_{self.stem}.csv"
        if structure not in STRUCTURES or not path.exists():
            return None
        with open(path, newline="", encoding="utf-8") as file:
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

# Ours: every method, with G = 4. Where methods pool over the batch it wants a batch above 1.
_NAMES = [name.replace("<G>", "4") for name in METHODS if name != "iln<G>"]
FAMILY = PaperTable("family", "every method of the methods table, on one data set",
                    {name: method(name).title for name in _NAMES})
ALL_TABLES = {**TABLES, FAMILY.number: FAMILY}


def methods_of(numbers):
    """The methods of some tables, each once: Table 3's first, for its baselines come first."""
    return list(dict.fromkeys(m for number in sorted(numbers, key=str, reverse=True) for m in ALL_TABLES[number].rows))


def published_cost():
    """The paper's cost comparison (section 3.5), by 'IN' and 'ILN': 'seconds' for 200 iterations, and parameters
    'beyond_in'."""
    with open(PUBLISHED / "iln_cost.csv", newline="", encoding="utf-8") as file:
        return {row["method"]: {"seconds": float(row["seconds_per_200_iterations"]),
                                "beyond_in": int(row["parameters_beyond_IN"])} for row in csv.DictReader(file)}
