"""The numbers of subjects and seeds that would show a difference of two methods, by the variances in given runs."""

import math
from typing import NamedTuple

import numpy as np

from ilnrepro.comparison import intervals
from ilnrepro.errors import InputError

POWER = 0.8
MAX_SUBJECTS, MAX_SEEDS = 10_000, 100


class Variances(NamedTuple):
    """The variances of the difference of two methods.

    Attributes:
      subjects: over subjects, of the part of a subject's difference that new seeds repeat.
      within: of the part of a subject's difference that changes from run to run.
      seeds: over seeds, of a run's mean, summed over the two methods, without the part that few subjects explain.
      folds: over folds, of a fold's mean beyond these parts, summed over the two methods.
      choice: the part that the choice of rates adds.
    """

    subjects: float
    within: float
    seeds: float
    folds: float
    choice: float


def variances(first, second, pool, names):
    """The `Variances` from two methods' `FoldScores` with several seeds each, and the `uncertainty.Pool` of all."""
    if any(len(s.seeds) < 2 for s in (*first, *second)):
        raise InputError(f"{' and '.join(names)}: a single seed gives no variance between seeds; "
                         "do a second seed at the chosen rates (SEEDS=)")
    within = seeds = 0.0
    for scores in (first, second):
        residual = [_residual_variance(s.by_subject) for s in scores]
        within += np.mean(residual)
        of_means = [s.by_subject.mean(1).var(ddof=1) - v / len(s.subjects)
                    for s, v in zip(scores, residual, strict=True)]
        seeds += max(0.0, float(np.mean(of_means)))
    differences = [a.by_subject.mean(0) - b.by_subject.mean(0) for a, b in zip(first, second, strict=True)]
    averaged = sum(np.mean([_residual_variance(s.by_subject) / len(s.seeds) for s in scores])
                   for scores in (first, second))
    subjects = max(0.0, float(np.mean([d.var(ddof=1) for d in differences]) - averaged))
    square, expected, _ = pool.interaction
    return Variances(subjects, float(within), seeds, 2 * max(0.0, float(square - expected)),
                     sum((pool.choice or {}).get(name, 0.0) for name in names))


def _residual_variance(by_subject):
    """The variance of scores `[seeds, subjects]` about what subject and seed explain."""
    seeds, subjects = by_subject.shape
    return intervals.residuals(by_subject) / ((seeds - 1) * (subjects - 1))


def power(v, difference, subjects, seeds, folds, level=0.95):
    """The probability that an interval lies above 0 for a true difference, with so many subjects, seeds and folds.

    The degrees of freedom are those of seeds and subjects. The variances of folds and of the choice of rates are taken
    as known, so that the probability is rather too high.
    """
    parts = np.array([(v.subjects + v.within / seeds) / subjects, v.seeds / (seeds * folds)])
    df = np.array([subjects - folds, 2 * folds * (seeds - 1)])
    total = parts.sum() + v.folds / folds + v.choice
    uncertain = (parts ** 2 / df).sum()
    df = max(1.0, total ** 2 / uncertain) if uncertain else math.inf
    return float(intervals.power(difference, math.sqrt(total), df, level))


def minimum(condition, maximum):
    """The first whole number from 2 to `maximum` that meets a condition which all larger ones meet too; or None."""
    if not condition(maximum):
        return None
    low, high = 1, maximum
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if condition(middle) else (middle, high)
    return high


class Required(NamedTuple):
    """The numbers that would show a difference with the probability `POWER`.

    Attributes:
      power: the probability with the present numbers.
      seeds: needed with the present subjects; None where no number suffices.
      subjects: needed with `subjects_seeds` seeds (the present ones, or else ten); None where no number suffices.
    """

    power: float
    seeds: int | None
    subjects: int | None
    subjects_seeds: int


def required(v, difference, subjects, seeds, folds, level=0.95):
    """The `Required` for a difference, from the `Variances` of two methods and the present numbers."""
    seeds_needed = minimum(lambda k: power(v, difference, subjects, k, folds, level) >= POWER, MAX_SEEDS)
    for k_seeds in dict.fromkeys((seeds, 10)):
        subjects_needed = minimum(
            lambda k, s=k_seeds: k > folds and power(v, difference, k, s, folds, level) >= POWER, MAX_SUBJECTS)
        if subjects_needed is not None:
            break
    return Required(power(v, difference, subjects, seeds, folds, level), seeds_needed, subjects_needed, k_seeds)
