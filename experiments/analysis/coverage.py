"""The coverage of the tables' intervals, from the committed table of the simulation `measure.coverage`."""

import csv
import functools
from pathlib import Path

from ilnrepro.comparison.intervals import USED

TABLE = Path(__file__).parents[2] / "results" / "machinery" / "coverage.csv"
MANY = 5  # from so many methods on, the variance over folds is estimated well


def committed_rows():
    """The rows of the committed table, as text; empty where it was never measured."""
    if not TABLE.exists():
        return []
    with open(TABLE, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@functools.cache
def about_coverage():
    """A sentence on the coverage of the interval in use, by the committed table; '' where it was never measured."""
    rows = [r for r in committed_rows() if r["rule"] == USED and int(r["seeds"]) > 1]
    if not rows:
        return ""
    ranges = {}
    for few in (False, True):
        values = [float(r["coverage"]) for r in rows if (int(r["methods"]) < MANY) == few]
        ranges[few] = f"{100 * min(values):.1f} to {100 * max(values):.1f} %"
    return (f"In simulation they hold the truth in {ranges[False]} of cases with {MANY} methods or more, in "
            f"{ranges[True]} with two ({len(rows)} cells, results/machinery/coverage.md). ")
