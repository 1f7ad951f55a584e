"""The coverage of the tables' intervals by the committed simulation, which `measure.coverage` does."""

import csv
import functools
from pathlib import Path

from ilnrepro.comparison.intervals import USED

TABLE = Path(__file__).parents[2] / "results" / "machinery" / "coverage.csv"
MANY = 5  # the number of methods from which on the variance over folds is known well


def committed():
    """The rows of the committed table, as text; empty where it was never measured."""
    if not TABLE.exists():
        return []
    with open(TABLE, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@functools.cache
def achieved():
    """A sentence on the coverage of the interval in use, by the committed table; '' where it was never measured."""
    used = [r for r in committed() if r["rule"] == USED and int(r["seeds"]) > 1]
    if not used:
        return ""
    ranges = {}
    for few in (False, True):
        values = [float(r["coverage"]) for r in used if (int(r["methods"]) < MANY) == few]
        ranges[few] = f"{100 * min(values):.1f} to {100 * max(values):.1f} %"
    return (f"In simulation they hold the truth in {ranges[False]} of cases with {MANY} methods or more, in "
            f"{ranges[True]} with two ({len(used)} cells, results/machinery/coverage.md). ")
