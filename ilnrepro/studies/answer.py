"""What the runs of a comparison say: which methods cannot be told apart, which is better, and by how much."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilnrepro.comparison import intervals, sample_size, uncertainty
from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.differences import by_method, interval
from ilnrepro.comparison.intervals import Estimate
from ilnrepro.comparison.scores import Record
from ilnrepro.errors import InputError

# The confidence level at which the intervals of all differences hold together. In simulated studies without any
# difference a winner is then named in 1 to 4 % of them, see `experiments.measure.winners`.
LEVEL = 0.985
POINT = 0.01  # of Dice: an answer says how many seeds or subjects would show a difference of this size


@dataclass(frozen=True)
class Standing:
    """The results of one method.

    Attributes:
      dice, low, high: mean over subjects at the chosen rates, and its 95 % interval over subjects and seeds.
      by_fold: {fold: (chosen rate, mean over subjects)}.
      rate: the best on the mean of all folds, for training on all subjects.
      seeds: their number on the fold that has the fewest.
      runs, diverged, collapsed: counts over all rates, seeds and folds.
      parameters: number of trainable parameters.
    """

    method: str
    dice: float
    low: float
    high: float
    by_fold: dict[int, tuple[float, float]]
    rate: float
    seeds: int
    runs: int
    diverged: int
    collapsed: int
    parameters: int


@dataclass(frozen=True)
class Pair:
    """The difference of two methods, first − second in Dice, with an interval that holds together with all pairs'.

    The interval is NaN where there is none: a single seed tells too little, or all scores are equal because no network
    has learned.

    Attributes:
      detectable: the true difference that such data would show four times in five (80 % power).
      needed: the seeds or subjects that would show one point, see `sample_size`; None where that cannot be told.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    detectable: float
    needed: sample_size.Required | None

    @property
    def better(self) -> str | None:
        """The method that is shown to be better, or None."""
        return self.first if self.low > 0 else self.second if self.high < 0 else None

    def reversed(self) -> Pair:
        """The same for second − first."""
        return replace(self, first=self.second, second=self.first, difference=-self.difference, low=-self.high,
                       high=-self.low)


@dataclass(frozen=True)
class Answer:
    """The results of a comparison: its methods and their differences.

    Attributes:
      standings: one of each method, the best first.
      pairs: one of each two methods, of which the one with the higher mean comes first.
      subjects, images: their numbers, over all folds.
    """

    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    subjects: int
    images: int

    @property
    def best(self) -> tuple[str, ...]:
        """The methods that no other is shown to be better than."""
        worse = {pair.second if pair.better == pair.first else pair.first for pair in self.pairs if pair.better}
        return tuple(s.method for s in self.standings if s.method not in worse)

    @property
    def winner(self) -> str | None:
        """The only method in `best`; None where there are several."""
        return self.best[0] if len(self.best) == 1 else None

    def pair(self, first: str, second: str) -> Pair:
        """first − second."""
        for pair in self.pairs:
            if {pair.first, pair.second} == {first, second}:
                return pair if pair.first == first else pair.reversed()
        raise KeyError((first, second))

    def against(self, reference: str) -> list[Pair]:
        """The differences of all other methods − the reference, the best first."""
        return [self.pair(s.method, reference) for s in self.standings if s.method != reference]


def answer(records: Sequence[Record]) -> Answer:
    """The `Answer` of the runs of one data set and protocol.

    The rate of a fold is chosen on the other folds. Intervals are those that simulation has shown to hold
    (`comparison.intervals`), at a level for all pairs together (Bonferroni). For a method with one seed, the noise
    between seeds is estimated by what folds and rates do not explain of its runs.

    Raises:
      InputError: a method lacks one of its rates on a fold.
    """
    structure = records[0].configuration.structure
    rule = "cross-fold" if len({r.configuration.rate for r in records}) > 1 else "test"
    methods = list(dict.fromkeys(r.configuration.method for r in records))
    table = by_method(records, rule, structure)
    if missing := [m for m in methods if m not in table]:
        raise InputError(f"{', '.join(missing)}: runs are missing, so that no rate can be chosen on every fold; give "
                         "the command again")
    selected = cells(records, rule)
    standings = sorted((_standing(m, table[m], selected, records) for m in methods), key=lambda s: -s.dice)
    pool = uncertainty.pool(table, records, rule, structure, "dice")
    names = [s.method for s in standings]
    couples = list(itertools.combinations(names, 2))  # of names
    level = 1 - (1 - LEVEL) / max(1, len(couples))
    noise = {m: _noise(m, table[m], records, structure) for m in methods}
    pairs = [_pair(table, pool, couple, level, noise) for couple in couples]
    folds = table[names[0]]
    return Answer(tuple(standings), tuple(pairs), sum(len(s.subjects) for s in folds),
                  sum(s.by_image.shape[1] for s in folds))


def _standing(method, folds, selected, records):
    dice, low, high = interval(folds)
    runs = [r for r in records if r.configuration.method == method]
    cells_of_method = [cell for (m, _, _), cell in sorted(selected.items()) if m == method]
    by_fold = {cell.fold: (cell.rate, float(s.by_subject.mean()))
               for cell, s in zip(cells_of_method, folds, strict=True)}
    return Standing(method, dice, low, high, by_fold, best_rate(runs), min(len(s.seeds) for s in folds), len(runs),
                    sum(r.status == "diverged" for r in runs), sum(r.status == "collapsed" for r in runs),
                    runs[0].parameters)


def best_rate(records: Sequence[Record]) -> float:
    """The rate with the best mean over all folds, of one method's runs, on the seeds that all rates and folds have."""
    scores: dict[float, dict[Any, float]] = {}
    for r in records:
        c = r.configuration
        scores.setdefault(c.rate, {})[c.fold, c.seed] = r.score
    common = set.intersection(*map(set, scores.values()))
    return max(sorted(scores), key=lambda rate: np.mean([scores[rate][key] for key in common or scores[rate]]))


def _noise(method, folds, records, structure):
    """(residual variance of a run's mean over folds and rates, degrees of freedom) of a method with one seed.

    None where it has several seeds, or no degree of freedom is left.
    """
    if all(len(s.seeds) > 1 for s in folds):
        return None
    dice, _, _ = uncertainty.rate_grid(method, records, structure, "dice")
    df = (dice.shape[0] - 1) * (dice.shape[1] - 1)
    return (float(intervals.residuals(dice)) / df, df) if df else None


def _pair(table, pool, names, level, noise):
    first, second = (table[m] for m in names)
    estimate = _estimate(first, second, pool, names, noise)
    if not estimate.standard_error > 0:
        return Pair(*names, float(estimate.mean), *[float("nan")] * 3, None)
    low, high = map(float, estimate.of_level(level))
    needed = None
    if all(len(s.seeds) > 1 for s in (*first, *second)):
        seeds = min(len(s.seeds) for s in (*first, *second))
        needed = sample_size.required(sample_size.variances(first, second, pool, names), POINT,
                                      sum(len(s.subjects) for s in first), seeds, len(first), level)
    return Pair(*names, float(estimate.mean), low, high, float(estimate.detectable(level)), needed)


def _estimate(first, second, pool, names, noise):
    if all(noise[name] is None for name in names) or len(first) == 1:
        return uncertainty.estimate(first, second, pool, names)
    folds = uncertainty.folds_of(first, second, pool, names)
    seeds, df = folds.seeds.copy(), folds.seeds_df.astype(float)
    for i, (name, scores) in enumerate(zip(names, (first, second), strict=True)):
        if noise[name] is not None:
            seeds[i] = [noise[name][0] / len(s.seeds) for s in scores]
            df[i] = noise[name][1] / len(scores)
    if (df == 0).any():
        return Estimate(float((folds.difference * folds.weights).sum()), float("nan"), float("nan"))
    return intervals.RULES[intervals.USED](replace(folds, seeds=seeds, seeds_df=df))
