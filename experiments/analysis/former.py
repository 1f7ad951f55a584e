"""The former interval and verdict, which judged claims before the present criteria were written."""

import numpy as np

RESAMPLES = 10_000


def interval(first, second):
    """(low, high): the 2.5 and 97.5 % quantiles of the mean difference in a bootstrap of subjects and seeds.

    Rates are the chosen ones. The interval is narrow, because three seeds drawn with replacement keep two thirds of
    their variance.

    Args:
      first, second: lists of `FoldScores`, one of each method, of the same folds.
    """
    rng = np.random.default_rng(0)
    total, subjects = np.zeros(RESAMPLES), 0
    for a, b in zip(first, second, strict=True):
        n = len(a.subjects)
        drawn = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)
        seeds_a = _seed_weights(rng, a)
        seeds_b = seeds_a if a.seeds == b.seeds else _seed_weights(rng, b)
        total += (np.einsum("bs,sn,bn->b", seeds_a, a.by_subject, drawn)
                  - np.einsum("bs,sn,bn->b", seeds_b, b.by_subject, drawn))
        subjects += n
    return tuple(map(float, np.percentile(total / subjects, [2.5, 97.5])))


def _seed_weights(rng, scores):
    n = len(scores.seeds)
    return rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n


def verdict(low, high):
    """'reproduced' where the interval lies above 0, 'not reproduced' where it ends below half a point of Dice, else
    'cannot tell'."""
    if low > 0:
        return "reproduced"
    return "not reproduced" if high < 0.005 else "cannot tell"
