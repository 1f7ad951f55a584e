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

# All differences together are asked to hold the truth this often. In simulated studies without any difference a winner
# is then named in 1 to 4 % of them, see `experiments.measure.winners`.
LEVEL = 0.985
POINT = 0.01  # of Dice: the difference for which it is told what would show it


@dataclass(frozen=True)
class Standing:
    """How one method did.

    Attributes:
      dice, low, high: mean over subjects at the rates chosen, and its 95 % interval over subjects and seeds.
      by_fold: {fold: (rate chosen, mean over subjects)}.
      rate: the best on the mean of all folds, for training on all subjects.
      seeds: fewest on any fold.
      runs, diverged, collapsed: counts over all rates, seeds and folds.
      parameters: numbers that are trained.
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
    """first − second in Dice, with an interval that holds together with those of all other pairs; NaN where there is
    none.

    Attributes:
      detectable: the true difference that such data would show four times in five.
      needed: what would show one point, see `sample_size`; None where it cannot be told.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    detectable: float
    needed: sample_size.Needed | None

    @property
    def better(self) -> str | None:
        """The method shown to be the better one, or None."""
        return self.first if self.low > 0 else self.second if self.high < 0 else None

    def turned(self) -> Pair:
        """second − first."""
        return replace(self, first=self.second, second=self.first, difference=-self.difference, low=-self.high,
                       high=-self.low)


@dataclass(frozen=True)
class Answer:
    """What a comparison says.

    Attributes:
      standings: of every method, the best first.
      pairs: of every two methods, the one with the higher mean first.
      subjects, images: of all folds.
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
        """The one method that is left when all that are shown to be worse are gone; None where there are several."""
        return self.best[0] if len(self.best) == 1 else None

    def pair(self, first: str, second: str) -> Pair:
        """first − second."""
        for pair in self.pairs:
            if {pair.first, pair.second} == {first, second}:
                return pair if pair.first == first else pair.turned()
        raise KeyError((first, second))

    def against(self, reference: str) -> list[Pair]:
        """Every other method − the reference, the best first."""
        return [self.pair(s.method, reference) for s in self.standings if s.method != reference]


def answer(records: Sequence[Record]) -> Answer:
    """The `Answer` of the runs of one data set and protocol.

    The rate of a fold is chosen on the other folds. Intervals are those that simulation has shown to hold
    (`comparison.intervals`), at a level for all pairs together (Bonferroni). The noise of a method with one seed is
    what folds and rates do not explain of its runs.

    Raises:
      InputError: not every method has all of its rates on every fold.
    """
    structure = records[0].configuration.structure
    rule = "cross-fold" if len({r.configuration.rate for r in records}) > 1 else "test"
    methods = list(dict.fromkeys(r.configuration.method for r in records))
    table = by_method(records, rule, structure)
    if missing := [m for m in methods if m not in table]:
        raise InputError(f"{', '.join(missing)}: runs are missing, so that no rate can be chosen on every fold; give "
                         "the command again")
    found = cells(records, rule)
    standings = sorted((_standing(m, table[m], found, records) for m in methods), key=lambda s: -s.dice)
    of_all = uncertainty.pool(table, records, rule, structure, "dice")
    names = [s.method for s in standings]
    couples = list(itertools.combinations(names, 2))
    level = 1 - (1 - LEVEL) / max(1, len(couples))
    noise = {m: _noise(m, table[m], records, structure) for m in methods}
    pairs = [_pair(table, of_all, couple, level, noise) for couple in couples]
    folds = table[names[0]]
    return Answer(tuple(standings), tuple(pairs), sum(len(s.subjects) for s in folds),
                  sum(s.by_image.shape[1] for s in folds))


def _standing(method, folds, found, records):
    dice, low, high = interval(folds)
    mine = [r for r in records if r.configuration.method == method]
    chosen = [cell for (m, _, _), cell in sorted(found.items()) if m == method]
    by_fold = {cell.fold: (cell.rate, float(s.by_subject.mean())) for cell, s in zip(chosen, folds, strict=True)}
    return Standing(method, dice, low, high, by_fold, best_rate(mine), min(len(s.seeds) for s in folds), len(mine),
                    sum(r.status == "diverged" for r in mine), sum(r.status == "collapsed" for r in mine),
                    mine[0].parameters)


def best_rate(records: Sequence[Record]) -> float:
    """The rate that is best on the mean of all folds, on the seeds that every rate and fold has, of one method's runs.
    """
    scores: dict[float, dict[Any, float]] = {}
    for r in records:
        c = r.configuration
        scores.setdefault(c.rate, {})[c.fold, c.seed] = r.score
    common = set.intersection(*map(set, scores.values()))
    return max(sorted(scores), key=lambda rate: np.mean([scores[rate][key] for key in common or scores[rate]]))


def _noise(method, folds, records, structure):
    """(variance of a run's mean, degrees of freedom) that folds and rates do not explain of the runs of a method with
    one seed; None where it has several, or nothing tells."""
    if all(len(s.seeds) > 1 for s in folds):
        return None
    dice, _, _ = uncertainty.grid(method, records, structure, "dice")
    df = (dice.shape[0] - 1) * (dice.shape[1] - 1)
    return (float(intervals.residuals(dice)) / df, df) if df else None


def _pair(table, of_all, names, level, noise):
    first, second = (table[m] for m in names)
    estimate = _estimate(first, second, of_all, names, noise)
    low, high = map(float, estimate.of_level(level))
    needed = None
    if all(len(s.seeds) > 1 for s in (*first, *second)):
        needed = sample_size.needed(sample_size.variances(first, second, of_all, names), POINT,
                                    sum(len(s.subjects) for s in first), min(len(s.seeds) for s in (*first, *second)),
                                    len(first), level)
    return Pair(*names, float(estimate.mean), low, high, float(estimate.detectable(level)), needed)


def _estimate(first, second, of_all, names, noise):
    if all(noise[name] is None for name in names) or len(first) == 1:
        return uncertainty.estimate(first, second, of_all, names)
    folds = uncertainty.folds_of(first, second, of_all, names)
    seeds, df = folds.seeds.copy(), folds.seeds_df.astype(float)
    for i, (name, scores) in enumerate(zip(names, (first, second), strict=True)):
        if noise[name] is not None:
            seeds[i] = [noise[name][0] / len(s.seeds) for s in scores]
            df[i] = noise[name][1] / len(scores)
    if (df == 0).any():
        return Estimate(float((folds.difference * folds.weights).sum()), float("nan"), float("nan"))
    return intervals.RULES[intervals.USED](replace(folds, seeds=seeds, seeds_df=df))
