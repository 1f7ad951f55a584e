"""The estimate of a difference from the scores of runs, with its variance over subjects, seeds, folds and rates.

The formulas are in `intervals`; this module brings the scores into the arrays that they take.
"""

from dataclasses import dataclass, replace

import numpy as np

from ilnrepro.comparison import intervals
from ilnrepro.comparison.choice import taking_part
from ilnrepro.comparison.intervals import Estimate, Folds

RESAMPLES = 2000
NONE = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Pool:
    """The components of variance that are estimated from all methods together, for the comparison of any two.

    Attributes:
      interaction: (mean square of method by fold, the part that subjects and seeds explain, degrees of freedom).
      choice: {method: variance that choosing its rates adds to its mean}; None where the rate of each fold was chosen
        on that fold itself, because no interval is known to hold there.
    """

    interaction: tuple = (0.0, 0.0, 0)
    choice: dict | None = None


def pool(table, records, rule, structure, measure):
    """The `Pool` of several methods.

    Args:
      table: {method: [`FoldScores` of each fold]}.
      records: of all runs, with those by which rates were chosen.
      rule: of `choice.RULES`.
      structure, measure: of the table.
    """
    with_seeds = {m: folds for m, folds in table.items() if all(len(s.seeds) > 1 for s in folds)}
    interaction = (0.0, 0.0, 0)
    if len(with_seeds) > 1 and len(next(iter(with_seeds.values()))) > 1:
        scores = list(with_seeds.values())
        means = np.array([[s.by_subject.mean() for s in folds] for folds in scores])
        subjects = [np.array([folds[k].by_subject.mean(0) for folds in scores]) for k in range(means.shape[1])]
        seeds = np.array([[_seed_variance(s) for s in folds] for folds in scores])
        interaction = intervals.interaction(means, subjects, seeds)
    choosing = taking_part(records, rule)
    grids = {m: rate_grid(m, choosing, structure, measure) for m in table}
    if rule == "test" and any(grid[0].shape[1] > 1 for grid in grids.values()):
        return Pool(interaction, None)
    return Pool(interaction, {m: _choice_variance(table[m], *grids[m]) for m in table})


def _seed_variance(scores):
    """The variance, over seeds, of the mean of a `FoldScores` over its seeds; 0 for one seed."""
    return scores.by_subject.mean(1).var(ddof=1) / len(scores.seeds) if len(scores.seeds) > 1 else 0.0


def rate_grid(method, records, structure, measure):
    """(mean Dice `[folds, rates]`, the measure's mean `[folds, rates]`, variance over seeds of such a mean Dice).

    They are of the runs by which the rates of a method are chosen.
    """
    runs_of = {}
    for r in records:
        c = r.configuration
        if (c.method, c.structure) == (method, structure):
            runs_of.setdefault((c.fold, c.rate), {})[c.seed] = r
    if len({fold for fold, _ in runs_of}) == len(runs_of):  # one rate on each fold: nothing to choose
        runs_of = {(fold, None): runs for (fold, _), runs in runs_of.items()}
    folds, rates = (sorted({key[i] for key in runs_of}) for i in (0, 1))
    common = set.intersection(*map(set, runs_of.values())) or None
    runs = [[[r for s, r in sorted(runs_of.get((k, rate), {}).items()) if common is None or s in common]
              for rate in rates] for k in folds]
    dice, measured = (np.array([[np.mean([_run_mean(r, name) for r in cell]) if cell else np.nan for cell in row]
                                for row in runs]) for name in ("dice", measure))
    noise = [np.var([r.score for r in by_seed.values()], ddof=1) for by_seed in runs_of.values() if len(by_seed) > 1]
    return dice, measured, float(np.mean(noise or [0.0])) / len(common or [0])


def _run_mean(record, measure):
    """The mean of a measure over a run's images; for a run that diverged, 0 for Dice and IoU, NaN for distances."""
    if len(record.dice):
        return float(np.mean(record.measures[measure])) if measure in record.measures else record.score
    return 0.0 if measure in ("dice", "iou", "whole_dice") else np.nan


def _choice_variance(folds, dice, measured, noise):
    """The variance that choosing a method's rates adds to its mean."""
    if dice.shape[1] == 1 or dice.shape[0] < 2:
        return 0.0
    n = np.array([len(s.subjects) for s in folds])
    return float(intervals.choice_variance(dice, noise, n / n.sum(), np.random.default_rng(0), RESAMPLES, measured))


def folds_of(first, second, pool=None, names=()):
    """The `intervals.Folds` of two methods.

    Args:
      first, second: lists of their `FoldScores`, of the same folds.
      pool: a `Pool`, which adds the variances of folds and of the choice of rates; None leaves both out.
      names: of the two methods, for the pool.
    """
    n = np.array([len(s.subjects) for s in first])
    differences = [a.by_subject.mean(0) - b.by_subject.mean(0) for a, b in zip(first, second, strict=True)]
    folds = Folds(np.array([d.mean() for d in differences]), n / n.sum(),
                  np.array([d.var(ddof=1) / len(d) if len(d) > 1 else np.nan for d in differences]), n - 1,
                  np.array([[_seed_variance(s) for s in scores] for scores in (first, second)]),
                  np.array([[len(s.seeds) - 1 for s in scores] for scores in (first, second)]))
    if pool is None or pool.choice is None:
        return folds
    return replace(folds, **dict(zip(("interaction", "expected", "interaction_df"), pool.interaction, strict=True)),
                   choice=sum(pool.choice[name] for name in names))


def estimate(first, second, pool=None, names=()):
    """The `intervals.Estimate` of a difference; the arguments are those of `folds_of`.

    Over several folds, the standard error follows the rule `intervals.USED` and holds for new splits too. It is NaN
    where a method has one seed, or where rates were chosen on the fold that they are judged on. On one fold the
    estimate holds for that split alone, and with one seed for the trained networks alone.
    """
    folds = folds_of(first, second, pool, names)
    if len(first) == 1:
        return intervals.within_splits(folds)
    if folds.one_seed or pool is None or pool.choice is None:
        return replace(NONE, mean=(folds.difference * folds.weights).sum())
    return intervals.RULES[intervals.USED](folds)
