"""The report's forest plot: a row for each claim, which opens to subjects, rates and cases."""

from dataclasses import dataclass

import numpy as np

from experiments.analysis.captions import title_of
from experiments.analysis.verdicts import HALF_A_POINT
from figures import forest
from figures.report import cases
from figures.report.charts import TICKS, Axis

WIDTH, SUBJECTS_HEIGHT = 320, 110
CASES = 2  # below each heading


@dataclass
class Claim:
    """One row of the forest plot.

    Attributes:
      label, paper, ours, verdict, power: texts.
      names: titles of the two methods.
      interval, published: (low, mean, high) positions, the ends None where there is no interval; None where there is no
        value.
      bars: (x, y, height, whether above 0) of each subject's difference, and the position of 0.
      subjects: the bars in words.
      rates: (rate, the first method's mean Dice, the second's) in words.
      cases: of `cases.side_by_side`.
    """

    label: str
    paper: str
    ours: str
    verdict: str
    power: str
    names: tuple
    interval: tuple | None
    published: tuple | None
    bars: list
    zero: float
    subjects: str
    rates: list
    cases: dict


@dataclass
class Forest:
    """The claims of one structure on one axis; ticks are [(position, label)]."""

    structure: str
    claims: list
    ticks: list
    zero: float
    half: float
    note: str


def forests(entries, powers, results, grids, browsers):
    """The `Forest`s, one for each structure.

    Args:
      entries: of `forest.rows`.
      powers: {(structure, first, second): power in words}.
      results: the `Results`.
      grids: {structure: `rates.Grid`}.
      browsers: {structure: ({fold: {method: `Run`}}, the `DataSet` or None)}.
    """
    drawn, panels = forest.within_axis(entries), []
    axis = Axis(np.array(forest.axis_limits(drawn)), 0, WIDTH, TICKS)
    for structure in dict.fromkeys(r.structure for r in drawn):
        claims = [_claim(r, axis, powers.get((structure, r.first, r.second), ""),
                         results.per_subject(r.first, r.second, structure), grids.get(structure),
                         *browsers.get(structure, ({}, None))) for r in drawn if r.structure == structure]
        far = [f"{r.label} {r.texts[1]}" for r in entries if r.structure == structure and r not in drawn]
        panels.append(Forest(structure, claims, axis.ticks, float(axis(0.0)), float(axis(100 * HALF_A_POINT)),
                             f"Beyond the axis: {', '.join(far)}." if far else ""))
    return panels


def _claim(r, axis, power, per_subject, grid, folds, data):
    bars, zero, words = _subjects(per_subject, title_of(r.first)) if per_subject else ([], 0.0, "")
    both = {k: {m: runs[m] for m in (r.first, r.second)} for k, runs in folds.items()
            if all(m in runs and runs[m].test for m in (r.first, r.second))}
    return Claim(r.label, *r.texts, r.verdict, power, (title_of(r.first), title_of(r.second)),
                 _positions(axis, r.ours), _positions(axis, r.paper), bars, zero, words,
                 _rates(grid, r) if grid else [],
                 cases.side_by_side(both, (r.first, r.second), data, CASES) if both else {})


def _positions(axis, values):
    mean, low, high = (100 * value for value in values)
    if np.isnan(mean):
        return None
    ends = [float(np.clip(axis(end), 0, WIDTH)) if np.isfinite(end) else None for end in (low, high)]
    return ends[0], float(np.clip(axis(mean), 0, WIDTH)), ends[1]


def _subjects(differences, first):
    """(bars, position of 0, words) of {subject: difference}, the largest first."""
    ordered = sorted(differences.items(), key=lambda item: -item[1])
    values = 100 * np.array([d for _, d in ordered])
    axis = Axis(np.append(values, 0.0), SUBJECTS_HEIGHT, 0, TICKS)
    zero, tops, step = float(axis(0.0)), axis(values), WIDTH / len(values)
    bars = [(n * step, min(float(top), zero), max(abs(float(top) - zero), 0.5), bool(value > 0))
            for n, (top, value) in enumerate(zip(tops, values, strict=True))]
    (best, largest), (worst, smallest) = ordered[0], ordered[-1]
    words = (f"{first} is better on {int((values > 0).sum())} of {len(values)} subjects; median "
             f"{np.median(values):+.2f} points; from {100 * smallest:+.1f} ({worst}) to {100 * largest:+.1f} ({best})")
    return bars, zero, words


def _rates(grid, r):
    """[(rate, the first method's Dice, the second's)], with marks of lost runs."""
    if not {r.first, r.second} <= set(grid.methods):
        return []
    rows = [grid.methods.index(m) for m in (r.first, r.second)]
    return [(f"{rate:g}", *(_dice(grid, i, j) for i in rows)) for j, rate in enumerate(grid.rates)]


def _dice(grid, i, j):
    """(mean Dice or None, its text with marks)."""
    value = grid.dice[i, j]
    return (None, "") if np.isnan(value) else (float(value), f"{value:.3f} {grid.marks[i][j]}".strip())
