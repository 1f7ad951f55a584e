"""What the committed simulation of coverage says of the intervals under the tables; `measure.coverage` made it."""

import csv
import functools
from pathlib import Path

from ilnrepro.comparison.intervals import USED

TABLE = Path(__file__).parents[2] / "results" / "machinery" / "coverage.csv"
MANY = 5  # methods, from which on the folds' part is known well


def committed():
    """The rows of the committed table as they are written; none where it was never measured."""
    if not TABLE.exists():
        return []
    with open(TABLE, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@functools.cache
def achieved():
    """What the committed table says of the interval that is used; nothing where it was never measured."""
    used = [r for r in committed() if r["rule"] == USED and int(r["seeds"]) > 1]
    if not used:
        return ""
    ranges = {}
    for few in (False, True):
        found = [float(r["coverage"]) for r in used if (int(r["methods"]) < MANY) == few]
        ranges[few] = f"{100 * min(found):.1f} to {100 * max(found):.1f} %"
    return (f"In simulation they hold the truth in {ranges[False]} of cases with {MANY} methods or more, in "
            f"{ranges[True]} with two ({len(used)} cells, results/machinery/coverage.md). ")
