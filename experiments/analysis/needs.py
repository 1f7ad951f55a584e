"""How many subjects and seeds would show a difference, from the variances in the runs that one has."""

import itertools
import math
import statistics
from typing import NamedTuple

import numpy as np

from experiments.analysis.captions import about, ordered, primary_rule, title_of
from ilnrepro.comparison import intervals, uncertainty
from ilnrepro.comparison.differences import by_method
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.errors import InputError
from ilnrepro.storage import runfile

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


def power(v, difference, subjects, seeds, folds):
    """The probability that an interval lies above 0 for a true difference, with so many subjects, seeds and folds.

    The degrees of freedom are those of seeds and subjects; what folds and the choice of rates add is taken as known, so
    that it is rather too high.
    """
    parts = np.array([(v.subjects + v.within / seeds) / subjects, v.seeds / (seeds * folds)])
    df = np.array([subjects - folds, 2 * folds * (seeds - 1)])
    total = parts.sum() + v.folds / folds + v.choice
    return float(intervals.power(difference, math.sqrt(total), max(1.0, total ** 2 / (parts ** 2 / df).sum())))


def least(shows, most):
    """The least whole number from 2 to `most` for which `shows` holds, that holds for all larger; None for none."""
    if not shows(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def build(paper, records, difference):
    """(`Sheet`, tidy rows): for every claim of a paper whose methods have several seeds, or for every pair of methods
    where none has: variances, power as things are, subjects and seeds that would show `difference` (in Dice).

    Raises:
      InputError: no two methods have several seeds on every fold.
    """
    rule, tidy = primary_rule(records), []
    hours = _hours_of_a_run(records)
    for structure in dict.fromkeys(r.configuration.structure for r in records):
        table = by_method(records, rule, structure)
        of_all = uncertainty.pool(table, records, rule, structure, "dice")
        several = [m for m in ordered(table) if all(len(s.seeds) > 1 for s in table[m])]
        claimed = [(c.first, c.second) for c in paper.claims
                   if c.structure == structure and c.first in several and c.second in several]
        for pair in claimed or itertools.combinations(several, 2):
            tidy.append({"structure": structure, "first": pair[0], "second": pair[1]}
                        | _planned(table, of_all, pair, difference, hours))
    if not tidy:
        raise InputError(f"{records[0].path.parent}: no two methods have several seeds on every fold, from which the "
                         "variance between seeds could be had; do a second seed at the chosen rates (SEEDS=)")
    body = [[r["structure"], f"{title_of(r['first'])} − {title_of(r['second'])}",
             *(f"{100 * r[key]:.2f}" for key in ("subject_sd", "run_sd", "fold_sd", "choice_sd")),
             f"{r['subjects']}; {r['seeds']}", f"{r['power']:.2f}", r["seeds_needed"], r["subjects_needed"],
             r["hours"]] for r in tidy]
    return Sheet("Plan", f"What would show a true difference of {100 * difference:g} points of Dice (95 % interval "
                 f"above 0) {100 * POWER:.0f} % of the time, from the variances of these runs. {about(records)} "
                 "Standard deviations in points: of a subject's difference that seeds repeat; of a run's mean, both "
                 "methods' together; of a fold beyond those; what the choice of rates adds. Seeds: that the subjects "
                 "one has would need; subjects: that the seeds one has would need, or else ten. Hours: of one worker "
                 "on this kind of machine, for the further seeds of both methods.",
                 ["structure", "difference", "subjects sd", "runs sd", "folds sd", "choice sd", "subjects; seeds",
                  "power now", "seeds needed", "subjects needed", "hours"], body), tidy


def _planned(table, of_all, pair, difference, hours):
    first, second = (table[m] for m in pair)
    v = variances(first, second, of_all, pair)
    n, folds = sum(len(s.subjects) for s in first), len(first)
    seeds = min(len(s.seeds) for s in (*first, *second))
    few = least(lambda k: power(v, difference, n, k, folds) >= POWER, MOST_SEEDS)
    words, cost = ("no number of seeds", "") if few is None else (str(few), "")
    if few is not None and hours is not None:
        cost = f"{2 * folds * max(0, few - seeds) * hours:.1f}"
    for tried in dict.fromkeys((seeds, 10)):
        many = least(lambda k, s=tried: k > folds and power(v, difference, k, s, folds) >= POWER, MOST_SUBJECTS)
        if many is not None:
            break
    needed = "no number of subjects" if many is None else f"{many} with {tried} seeds"
    return {"subject_sd": math.sqrt(v.subjects), "run_sd": math.sqrt(v.seeds), "fold_sd": math.sqrt(v.folds),
            "choice_sd": math.sqrt(v.choice), "subjects": n, "seeds": seeds,
            "power": power(v, difference, n, seeds, folds), "seeds_needed": words, "subjects_needed": needed,
            "hours": cost}


def _hours_of_a_run(records):
    """The median over a few finished runs; None where none tells."""
    times = [runfile.read(r.path).timing for r in records[:: max(1, len(records) // 9)] if r.path.exists()]
    return statistics.median((t["training"] + t["test"]) / 3600 for t in times) if times else None
