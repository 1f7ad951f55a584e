"""How many subjects and seeds would show a difference of two methods, from the variances in the runs that one has."""

import math
from typing import NamedTuple

import numpy as np

from ilnrepro.comparison import intervals
from ilnrepro.errors import InputError

POWER = 0.8
MOST_SUBJECTS, MOST_SEEDS = 10_000, 100


class Variances(NamedTuple):
    """Of one run's difference of two methods.

    Attributes:
      subjects: of a subject's difference that new seeds repeat.
      within: of a subject's difference in one run, seeds and subject together.
      seeds: of a run's mean, the two methods' added, without what few subjects make of it.
      folds: of a fold's mean beyond those, the two methods' added.
      choice: of the difference, that choosing rates adds.
    """

    subjects: float
    within: float
    seeds: float
    folds: float
    choice: float


def variances(first, second, of_all, names):
    """The `Variances` from two methods' `FoldScores` with several seeds each, and the `uncertainty.Pool` of all."""
    if any(len(s.seeds) < 2 for s in (*first, *second)):
        raise InputError(f"{' and '.join(names)}: one seed alone, from which no variance between seeds can be had; "
                         "do a second seed at the chosen rates (SEEDS=)")
    within = seeds = 0.0
    for scores in (first, second):
        rest = [_rest(s.by_subject) for s in scores]
        within += np.mean(rest)
        noisy = [s.by_subject.mean(1).var(ddof=1) - r / len(s.subjects) for s, r in zip(scores, rest, strict=True)]
        seeds += max(0.0, float(np.mean(noisy)))
    apart = [a.by_subject.mean(0) - b.by_subject.mean(0) for a, b in zip(first, second, strict=True)]
    averaged = np.mean([_rest(s.by_subject) / len(s.seeds) for s in first]) + np.mean(
        [_rest(s.by_subject) / len(s.seeds) for s in second])
    subjects = max(0.0, float(np.mean([d.var(ddof=1) for d in apart]) - averaged))
    square, expected, _ = of_all.interaction
    return Variances(subjects, float(within), seeds, 2 * max(0.0, float(square - expected)),
                     sum((of_all.choice or {}).get(name, 0.0) for name in names))


def _rest(by_subject):
    """Variance of a subject's score in one run about what subject and run explain, from `[seeds, subjects]`."""
    seeds, subjects = by_subject.shape
    return intervals.residuals(by_subject) / ((seeds - 1) * (subjects - 1))


def power(v, difference, subjects, seeds, folds, level=0.95):
    """The probability that an interval of a level lies above 0 for a true difference, with so many subjects, seeds and
    folds.

    The degrees of freedom are those of seeds and subjects; what folds and the choice of rates add is taken as known, so
    that it is rather too high.
    """
    parts = np.array([(v.subjects + v.within / seeds) / subjects, v.seeds / (seeds * folds)])
    df = np.array([subjects - folds, 2 * folds * (seeds - 1)])
    total = parts.sum() + v.folds / folds + v.choice
    uncertain = (parts ** 2 / df).sum()
    df = max(1.0, total ** 2 / uncertain) if uncertain else math.inf
    return float(intervals.power(difference, math.sqrt(total), df, level))


def least(shows, most):
    """The least whole number from 2 to `most` for which `shows` holds, that holds for all larger; None for none."""
    if not shows(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


class Needed(NamedTuple):
    """What would show a difference `POWER` of the time.

    Attributes:
      power: as things are.
      seeds: that the subjects one has would need; None for no number.
      subjects: that `subjects_seeds` seeds, those one has or else ten, would need; None for no number.
    """

    power: float
    seeds: int | None
    subjects: int | None
    subjects_seeds: int


def needed(v, difference, subjects, seeds, folds, level=0.95):
    """The `Needed` from the `Variances` of two methods, of which one has so many subjects, seeds and folds, for an
    interval of a level."""
    few = least(lambda k: power(v, difference, subjects, k, folds, level) >= POWER, MOST_SEEDS)
    for tried in dict.fromkeys((seeds, 10)):
        many = least(lambda k, s=tried: k > folds and power(v, difference, k, s, folds, level) >= POWER, MOST_SUBJECTS)
        if many is not None:
            break
    return Needed(power(v, difference, subjects, seeds, folds, level), few, many, tried)
