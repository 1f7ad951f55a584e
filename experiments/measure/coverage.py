"""The coverage of the intervals of `comparison.intervals`: how often they hold the truth on simulated grids of runs.

A simulated grid has the design of the evidence: methods × folds × rates with one seed; the rate of a fold is chosen on
the other folds; and further seeds follow at the chosen rates alone. The full table of cells takes two minutes of one
core; `make coverage` repeats one cell in ten.
"""

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ilnrepro.comparison import intervals, sheet
from ilnrepro.comparison.intervals import RULES, Folds
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.storage import files

SAMPLE = 10  # `make coverage` repeats one cell in so many
REPETITIONS = 1000
FOLDS = 3
RESAMPLES = 30
REQUIRED = 0.93
# Mean Dice of the two compared methods at five rates, relative to their best rate: ILN and IN on Sunnybrook by `lite`;
# two methods whose rates do not matter; and one with a single good rate, where a wrong choice costs two points.
CURVES = {"as measured": ((-0.012, -0.005, 0, -0.001, -0.020), (-0.316, -0.024, 0, -0.007, -0.021)),
          "flat": ((0.0,) * 5, (0.0,) * 5),
          "one good rate": ((0, -0.02, -0.02, -0.02, -0.02), (0.0,) * 5)}


class Cell(NamedTuple):
    """The parameters of a simulated grid.

    Attributes:
      curve: a name of CURVES.
      methods: their number, with the two that are compared.
      subjects: their number in all folds.
      seeds: their number at the chosen rates.
      subject_sd: standard deviation over subjects of the difference between two runs of two methods; half of its
        variance is the methods', half the runs'.
      seed_sd: standard deviation over seeds of a run's mean; for the methods that are not compared, alternately half
        and one and a half times as large.
      fold_sd: standard deviation over folds of a method's mean.
    """

    curve: str
    methods: int
    subjects: int
    seeds: int
    subject_sd: float
    seed_sd: float
    fold_sd: float


def grid():
    """The cells of the committed table."""
    return [Cell(*levels) for levels in itertools.product(CURVES, (2, 5, 8), (45, 99), (1, 3, 5), (0.03, 0.06),
                                                          (0.01, 0.02, 0.03), (0.0, 0.01, 0.02))]


def simulate(cell, repetitions, rng):
    """(`intervals.Folds` with a leading axis of repetitions, the true difference)."""
    shape, n = (repetitions, cell.methods, FOLDS), cell.subjects // FOLDS
    curves = np.array([CURVES[cell.curve][m % 2] for m in range(cell.methods)])[:, None]
    part = cell.subject_sd / 2  # of subject by method, and of subject by run
    seed_factor = np.array([1, 1, *(0.5 + m % 2 for m in range(cell.methods - 2))])[:, None, None]
    run = np.sqrt((seed_factor * cell.seed_sd) ** 2 + part ** 2 / n)
    subjects = part * rng.standard_normal((*shape, n), np.float32)
    fold = (cell.fold_sd * rng.standard_normal(shape) + subjects.mean(-1))[..., None]
    grid_scores = curves + fold + run * rng.standard_normal((*shape, 5), np.float32)
    best = intervals.best_on_others(grid_scores)[..., None]
    expected = np.take_along_axis(np.broadcast_to(curves, grid_scores.shape), best, -1)
    further = expected + fold + run * rng.standard_normal((*shape, cell.seeds - 1), np.float32)
    by_seed = np.concatenate([np.take_along_axis(grid_scores, best, -1), further], -1)
    # A run's scores of single subjects about its mean.
    noise = part / np.sqrt(cell.seeds) * rng.standard_normal((*shape, n), np.float32)
    by_subject = subjects - subjects.mean(-1, keepdims=True) + noise - noise.mean(-1, keepdims=True)
    means = by_seed.mean(-1)
    seeds = by_seed.var(-1, ddof=1) / cell.seeds if cell.seeds > 1 else np.zeros(shape)
    equal = np.full(FOLDS, 1 / FOLDS)
    variance = (by_subject[:, 0] - by_subject[:, 1]).var(-1, ddof=1) / n
    folds = Folds(means[:, 0] - means[:, 1], equal, variance, np.full(FOLDS, n - 1), seeds[:, :2],
                  np.full((2, FOLDS), cell.seeds - 1),
                  *intervals.interaction(means, [by_subject[:, :, k] for k in range(FOLDS)], seeds),
                  intervals.choice_variance(grid_scores[:, :2], cell.seeds * seeds[:, :2].mean(-1), equal, rng,
                                            RESAMPLES).sum(-1))
    return folds, (expected[:, 0] - expected[:, 1]).mean()


def measure(cells, repetitions=REPETITIONS):
    """Tidy rows, one for each cell and rule, with coverage, mean width (in Dice), and power at 1 and 2 points."""
    rows = []
    for cell in cells:
        # Each cell has random numbers of its own, so that a sample of the cells repeats their rows to the digit.
        rng = np.random.default_rng([list(CURVES).index(cell.curve), *(round(1000 * x) for x in cell[1:])])
        folds, truth = simulate(cell, repetitions, rng)
        for name, rule in RULES.items():
            low, high = rule(folds).interval
            rows.append({"rule": name, **cell._asdict(), "coverage": float(((low <= truth) & (truth <= high)).mean()),
                         "width": float((high - low).mean()),
                         **{f"power_{points}": float((low - truth + points / 100 > 0).mean()) for points in (1, 2)}})
    return rows


def cell_of(row):
    """The `Cell` of a tidy row, measured or read from the CSV file."""
    return Cell(row["curve"], *(int(row[key]) for key in ("methods", "subjects", "seeds")),
                *(float(row[key]) for key in ("subject_sd", "seed_sd", "fold_sd")))


def has_required_coverage(rows):
    """Whether the coverage of all these rows reaches REQUIRED, less two standard errors of the simulation."""
    tolerance = 2 * math.sqrt(REQUIRED * (1 - REQUIRED) / REPETITIONS)
    return min(float(r["coverage"]) for r in rows) >= REQUIRED - tolerance


def narrowest_rule(rows):
    """The rule with the narrowest mean interval among those with the required coverage; None where there is none."""
    by_rule = _grouped(rows, "rule")
    return min((name for name, own in by_rule.items() if has_required_coverage(own)),
               key=lambda name: np.mean([float(r["width"]) for r in by_rule[name]]), default=None)


def _grouped(rows, *keys):
    groups = {}
    for r in rows:
        groups.setdefault(r[keys[0]] if len(keys) == 1 else tuple(r[key] for key in keys), []).append(r)
    return groups


def summary(rows):
    """The `Sheet` of each rule's lowest and mean coverage, width and power, by number of seeds and of methods."""
    body, best = [], set()
    for (seeds, methods), group in sorted(_grouped(rows, "seeds", "methods").items()):
        narrowest = narrowest_rule(group)
        for name, own in _grouped(group, "rule").items():
            mean = {key: np.mean([r[key] for r in own]) for key in ("coverage", "width", "power_1", "power_2")}
            if name == narrowest:
                best.add((len(body), 2))
            body.append([str(seeds), str(methods), name, f"{100 * min(r['coverage'] for r in own):.1f}",
                         f"{100 * mean['coverage']:.1f}",
                         f"{sum(r['coverage'] < REQUIRED for r in own)} of {len(own)}", f"{100 * mean['width']:.2f}",
                         f"{mean['power_1']:.2f}", f"{mean['power_2']:.2f}"])
    caption = (
        f"Simulated coverage of 95 % intervals, {REPETITIONS} repetitions a cell. Every cell is a grid of methods × "
        f"{FOLDS} folds × 5 rates of one seed, the rate of a fold chosen on the other folds, with further seeds at the "
        "chosen rates alone; the truth is the expected difference over new subjects, seeds and splits of what that "
        f"choice yields. Cells: rate curves ({', '.join(CURVES)}), subjects (45, 99), standard deviations of subjects "
        "(0.03, 0.06: between two runs of two methods), seeds (0.01, 0.02, 0.03; of the other methods half and one and "
        "a half times as large), fold by method (0, 0.01, 0.02). Coverage in per cent; width in points of Dice, mean "
        "over cells; power: how often a true difference of 1 or 2 points would lie below the whole interval. Bold: the "
        f"narrowest rule that reaches {100 * REQUIRED:.0f} % in every cell, two standard errors of simulation allowed.")
    return Sheet("Coverage", caption, ["seeds", "methods", "interval", "least coverage", "mean", "cells below 93 %",
                                       "width", "power at 1", "power at 2"], body, best)


def sample(committed):
    """The `Sheet` of one cell in SAMPLE, with the largest distance of its coverage from the committed rows."""
    cells = grid()[::SAMPLE]
    rows = measure(cells)
    table = summary(rows)
    expected = {(r["rule"], cell_of(r)): float(r["coverage"]) for r in committed}
    distances = [abs(expected[key] - r["coverage"]) for r in rows if (key := (r["rule"], cell_of(r))) in expected]
    text = f"Every tenth cell, {len(cells)} of {len(grid())}."
    if distances:
        text += f" Largest distance from the committed table: {100 * max(distances):.1f} points of coverage."
    return Sheet(f"Coverage. {text}", f"{text} {table.caption}", table.headings, table.body, table.best)


def write(results):
    """Measures all cells, writes coverage.{md,csv} into `results`, and returns the table."""
    rows = measure(grid())
    table = summary(rows)
    files.write(Path(results) / "coverage.md", table.markdown())
    files.write(Path(results) / "coverage.csv", sheet.as_csv(rows))
    return table
