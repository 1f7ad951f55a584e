"""From scores of runs to `intervals`: what subjects, seeds, folds and the choice of rates make of a difference."""

from dataclasses import dataclass, replace

import numpy as np

from ilnrepro.comparison import intervals
from ilnrepro.comparison.intervals import Estimate, Folds

RESAMPLES = 2000
NONE = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Pool:
    """What all methods at hand tell about a pair of them.

    Attributes:
      interaction: mean square of method by fold, what subjects and seeds contribute to it, degrees of freedom.
      choice: the variance that choosing rates adds to each method's mean, `{method: variance}`; None where each fold's
        rate was chosen on that fold itself, for no interval is known to hold there.
    """

    interaction: tuple = (0.0, 0.0, 0)
    choice: dict | None = None


def pool(table, records, rule, structure, measure):
    """The `Pool` of the methods of `table`, {method: `FoldScores` of its folds}."""
    several = {m: folds for m, folds in table.items() if all(len(s.seeds) > 1 for s in folds)}
    interaction = (0.0, 0.0, 0)
    if len(several) > 1 and len(next(iter(several.values()))) > 1:
        scores = list(several.values())
        means = np.array([[s.by_subject.mean() for s in folds] for folds in scores])
        subjects = [np.array([folds[k].by_subject.mean(0) for folds in scores]) for k in range(means.shape[1])]
        seeds = np.array([[_seed_variance(s) for s in folds] for folds in scores])
        interaction = intervals.interaction(means, subjects, seeds)
    grids = {m: _grid(m, records, structure, measure) for m in table}
    if rule == "test" and any(grid[0].shape[1] > 1 for grid in grids.values()):
        return Pool(interaction, None)
    return Pool(interaction, {m: _choice(table[m], *grids[m]) for m in table})


def _seed_variance(scores):
    """Of the mean of a fold's seeds, `FoldScores`."""
    return scores.by_subject.mean(1).var(ddof=1) / len(scores.seeds) if len(scores.seeds) > 1 else 0.0


def _grid(method, records, structure, measure):
    """(mean Dice, the same of the measure, `[folds, rates]`) of the runs that rates are chosen on, and the variance of
    such a mean Dice that comes of the seeds."""
    found = {}
    for r in records:
        c = r.configuration
        if (c.method, c.structure) == (method, structure):
            found.setdefault((c.fold, c.rate), {})[c.seed] = r
    if len({fold for fold, _ in found}) == len(found):  # one rate a fold: no choice, whichever it is
        found = {(fold, None): runs for (fold, _), runs in found.items()}
    folds, rates = (sorted({key[i] for key in found}) for i in (0, 1))
    common = set.intersection(*map(set, found.values())) or None
    chosen_on = [[[r for s, r in sorted(found.get((k, rate), {}).items()) if common is None or s in common]
                  for rate in rates] for k in folds]
    dice, wanted = (np.array([[np.mean([_mean(r, what) for r in runs]) if runs else np.nan for runs in row]
                              for row in chosen_on]) for what in ("dice", measure))
    noise = [np.var([r.score for r in by_seed.values()], ddof=1) for by_seed in found.values() if len(by_seed) > 1]
    return dice, wanted, float(np.mean(noise or [0.0])) / len(common or [0])


def _mean(record, measure):
    if len(record.dice):
        return float(np.mean(record.measures[measure])) if measure in record.measures else record.score
    return 0.0 if measure in ("dice", "iou") else np.nan


def _choice(folds, dice, wanted, noise):
    """The variance that choosing a method's rates adds to its mean."""
    if dice.shape[1] == 1 or dice.shape[0] < 2:
        return 0.0
    n = np.array([len(s.subjects) for s in folds])
    return float(intervals.choice_variance(dice, noise, n / n.sum(), np.random.default_rng(0), RESAMPLES, wanted))


def folds_of(first, second, of_all=None, names=()):
    """The `intervals.Folds` of two methods' `FoldScores`, with what a `Pool` knows of them."""
    n = np.array([len(s.subjects) for s in first])
    apart = [a.by_subject.mean(0) - b.by_subject.mean(0) for a, b in zip(first, second, strict=True)]
    found = Folds(np.array([d.mean() for d in apart]), n / n.sum(),
                  np.array([d.var(ddof=1) / len(d) if len(d) > 1 else np.nan for d in apart]), n - 1,
                  np.array([[_seed_variance(s) for s in of_it] for of_it in (first, second)]),
                  np.array([[len(s.seeds) - 1 for s in of_it] for of_it in (first, second)]))
    if of_all is None or of_all.choice is None:
        return found
    return replace(found, **dict(zip(("interaction", "expected", "interaction_df"), of_all.interaction, strict=True)),
                   choice=sum(of_all.choice[name] for name in names))


def estimate(first, second, of_all=None, names=()):
    """The `intervals.Estimate` of a difference, by the rule that `coverage` has shown to hold.

    Over several folds it is of new splits too; no standard error is known where a method has one seed, or rates were
    chosen on the folds that they are judged on. On one fold it is of that split alone, and with one seed of the
    networks trained.
    """
    folds = folds_of(first, second, of_all, names)
    if len(first) == 1:
        return intervals.within(folds)
    if folds.one_seed or of_all is None or of_all.choice is None:
        return replace(NONE, mean=(folds.difference * folds.weights).sum())
    return intervals.RULES[intervals.USED](folds)
