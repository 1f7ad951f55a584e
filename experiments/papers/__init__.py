"""The tables of scores: which methods, in which rows, with which published numbers.

Zhou et al., MMMI 2019 (ILN), Tables 1 to 3; Kolarik, Burget and Riha 2020, Table 2; and ours, of every method.
"""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

from ilnrepro.norms import METHODS, method

_HERE = Path(__file__).parent
STRUCTURES = ("RV", "LV")  # the order of the ILN paper's columns
PAPER_RATES = (1.5, 1.0, 0.5, 0.1, 0.05)  # Zhou et al., section 2.2
RATES = {"paper": PAPER_RATES, "lite": PAPER_RATES, "quick": (0.3,), "tiny": (0.3,),
         "kolarik": (5e-5,), "kolarik-quick": (1e-3,),  # Kolarik et al., section 3.4
         "dualnorm": (1e-3,), "dualnorm-quick": (1e-3,)}  # the public code of Xiao et al.
KOLARIK_ROWS = {"none": "None", "bn": "BN", **{f"gn{g}": f"GN{g}" for g in (2, 4, 8, 16, 32)}, "in": "IN"}


class PaperTable(NamedTuple):
    """A table of scores.

    Attributes:
      title, stem: its name, and its files'.
      subject: what it compares.
      rows: label by method.
      structures, folds: its columns, in its order.
      others: whether methods that none of the paper's tables has are added to it.
      published: from method and structure to the (means, standard deviations) that the paper prints, or None.
      compares: from title and whether synthetic of a data set, and a number of folds, to whether the published numbers
        may stand beside its scores.
      note: said below those numbers.
    """

    title: str
    stem: str
    subject: str
    rows: dict
    structures: tuple
    folds: tuple
    others: bool
    published: callable
    compares: callable
    note: str


def _iln_published(number, rows, method, structure):
    """(means, standard deviations) of a structure's three folds as the paper prints them, or None."""
    if structure not in STRUCTURES:
        return None
    for row in _read(f"iln/published/iln_table{number}.csv"):
        if row["method"] == rows.get(method):
            return tuple([float(row[f"{structure}-{k}_{what}"]) for k in (1, 2, 3)] for what in ("mean", "std"))
    return None


def kolarik_published(number):
    """The rows of Kolarik's Table 1 or 2 by method."""
    names = {"none": "none", "batch": "bn", "instance": "in"}
    return {names.get(row["method"], f"gn{row['groups']}"): row
            for row in _read(f"kolarik/published/kolarik_table{number}.csv")}


def _read(name):
    with open(_HERE / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _iln_table(number, subject, rows):
    return PaperTable(
        f"Table {number}", f"table{number}", subject, rows, STRUCTURES, (1, 2, 3), number == 3,
        functools.partial(_iln_published, number, rows),
        lambda title, synthetic, folds: folds == 3 and not synthetic and "Sunnybrook" in title,
        "'published' is the paper's mean over its three folds; its groups are random and unknown, so only these means "
        "compare.")


def _kolarik_published_dice(method, structure):
    row = kolarik_published(2).get(method) if structure == "spine" else None
    return row and ([float(row["dice"])], [])


TABLES = {
    # Ours: every method, with G = 4. Where methods pool over the batch it wants a batch above 1.
    "family": PaperTable(
        "Family", "family", "every method of the methods table, on one data set",
        {name: method(name).title for name in (name.replace("<G>", "4") for name in METHODS if name != "iln<G>")},
        (), (), False, lambda method, structure: None, lambda title, synthetic, folds: False, ""),
    "kolarik": PaperTable(
        "Table 2 of Kolarik et al. 2020", "kolarik-table2", "normalizations at batch 1 in a 3-D Res-U-Net",
        KOLARIK_ROWS, ("spine",), (), True, _kolarik_published_dice, lambda title, synthetic, folds: True,
        "'published' is the paper's Dice on the CSI 2014 scans at 16×256×256 after 30 epochs at rate 5e-5, its split "
        "of the ten subjects unknown; it does not compare with other data or a shorter training."),
    1: _iln_table(1, "Clip, Sigmoid and Softmax to combine IN and LN (no GN after)",
                  {"clip": "Clip", "sigmoid": "Sigmoid", "softmax": "Softmax"}),
    2: _iln_table(2, "without and with GN16 after the Sigmoid mix of IN and LN", {"sigmoid": "No", "iln": "Yes"}),
    3: _iln_table(3, "no normalization, IN, LN, GN4 and ILN",
                  {"none": "None", "in": "IN", "ln": "LN", "gn4": "GN4", "iln": "ILN"}),
}


def tables_of(protocol):
    """The tables of the paper that a protocol follows, by their keys in TABLES; DualNorm's are in `dualnorm`."""
    if protocol.startswith("dualnorm"):
        return []
    return ["kolarik"] if protocol.startswith("kolarik") else [1, 2, 3]


def methods_of(tables):
    """The methods of some tables, each once: a paper's last table first, for its baselines come first."""
    return list(dict.fromkeys(m for key in reversed(list(TABLES)) if key in tables for m in TABLES[key].rows))


def ordered(methods, tables=(1, 2, 3)):
    """Methods in the order of `methods_of` some tables, others after them by name."""
    known = methods_of(tables)
    return sorted(methods, key=lambda m: (known.index(m) if m in known else len(known), m))


def published_cost():
    """The ILN paper's cost comparison (section 3.5), by 'IN' and 'ILN': 'seconds' for 200 iterations, and parameters
    'beyond_in'."""
    return {row["method"]: {"seconds": float(row["seconds_per_200_iterations"]),
                            "beyond_in": int(row["parameters_beyond_IN"])}
            for row in _read("iln/published/iln_cost.csv")}
