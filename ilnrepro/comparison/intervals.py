"""Standard errors and intervals of the mean difference between two methods, by several rules.

The estimated quantity is the expected difference between the two methods on new subjects, with new seeds and new
splits, each at the learning rate that its choice yields. All arrays may have further leading axes, so that the
simulation of coverage runs the same code as the tables.
"""

from dataclasses import dataclass

import numpy as np

NORMAL = 1e6  # degrees of freedom at which Student's t distribution is as good as normal


@dataclass(frozen=True)
class Folds:
    """The differences between two methods on the folds of a structure, with the components of their variance.

    Attributes:
      difference: first − second, mean over a fold's subjects, `[..., folds]`.
      weights: each fold's share of the subjects, `[folds]`.
      subjects, subjects_df: variance of `difference` from the subjects, `[..., folds]`, and its degrees of freedom,
        `[folds]`.
      seeds, seeds_df: variance of `difference` from the seeds of either method, `[..., 2, folds]`, and its degrees of
        freedom, `[2, folds]`; both 0 for one seed.
      interaction: mean square of the interaction of method and fold, over all methods that have several seeds, `[...]`.
      expected: the part of `interaction` that subjects and seeds alone explain, `[...]`.
      interaction_df: degrees of freedom of `interaction`; 0 for fewer than two methods.
      choice: the variance that choosing the rates adds, `[...]`, see `choice_variance`.
    """

    difference: np.ndarray
    weights: np.ndarray
    subjects: np.ndarray
    subjects_df: np.ndarray
    seeds: np.ndarray
    seeds_df: np.ndarray
    interaction: np.ndarray = 0.0
    expected: np.ndarray = 0.0
    interaction_df: int = 0
    choice: np.ndarray = 0.0

    @property
    def one_seed(self):
        """Whether either method has only one seed on some fold."""
        return bool((np.asarray(self.seeds_df) == 0).any())


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and degrees of freedom, which are both NaN where there is no standard error."""

    mean: np.ndarray
    standard_error: np.ndarray
    df: np.ndarray

    @property
    def interval(self):
        """(low, high) of the 95 % interval."""
        return self.of_level(0.95)

    def of_level(self, level):
        """(low, high) of the interval at a confidence level."""
        half = _quantile(self.df, (1 + level) / 2) * self.standard_error
        return self.mean - half, self.mean + half

    @property
    def upper(self):
        """The one-sided 95 % upper bound."""
        return self.mean + _quantile(self.df, 0.95) * self.standard_error

    def detectable(self, level=0.95):
        """The true difference at which the interval at a confidence level lies above 0 with probability 0.8."""
        return (_quantile(self.df, (1 + level) / 2) + _quantile(self.df, 0.80)) * self.standard_error

    def power(self, difference):
        """The probability that the interval would lie above 0 if `difference` were true."""
        return power(difference, self.standard_error, self.df)


def power(difference, standard_error, df, level=0.95):
    """The probability that a t interval at a confidence level lies above 0 where `difference` is true."""
    from scipy.special import nctdtr

    return 1 - nctdtr(df, difference / standard_error, _quantile(df, (1 + level) / 2))


def _quantile(df, share):
    """The quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return stdtrit(df, share)


def interaction(means, by_subject, seeds):
    """(mean square, expected part, degrees of freedom) of the interaction of method and fold.

    The expected part is what subjects and seeds alone explain of the mean square.

    Args:
      means: mean score of each method on each fold, `[..., methods, folds]`.
      by_subject: for each fold, the methods' scores by subject, `[..., methods, subjects]`.
      seeds: variance of each mean from its seeds, of the shape of `means`.
    """
    methods, folds = means.shape[-2:]
    if methods < 2 or folds < 2:
        return 0.0, 0.0, 0
    df = (methods - 1) * (folds - 1)
    subjects = [residuals(x) / ((methods - 1) * (x.shape[-1] - 1)) / x.shape[-1] for x in by_subject]
    return residuals(means) / df, sum(subjects) / folds + seeds.mean((-2, -1)), df


def residuals(x):
    """The sum of squares of x `[..., rows, columns]` about what rows and columns explain, `[...]`."""
    x = x - x.mean(-1, keepdims=True)
    return ((x - x.mean(-2, keepdims=True)) ** 2).sum((-2, -1))


def best_on_others(scores):
    """For each fold the index of the rate that is best on the mean of the other folds, `[..., folds]`.

    Args:
      scores: `[..., folds, rates]`.
    """
    return (scores.sum(-2, keepdims=True) - scores).argmax(-1)


def choice_variance(scores, variance, weights, rng, resamples, outcomes=None):
    """The variance that choosing one method's rates adds to its mean, `[...]`, by resampling.

    Each resample adds a run's noise to all scores and chooses the rates again. The chosen rates give a mean by the
    rate curve, which is the mean of `outcomes` over folds; the variance is that of this mean over resamples.

    Args:
      scores: of the runs on which the rates are chosen, `[..., folds, rates]`.
      variance: of a run's score, `[...]`.
      weights: each fold's share of the subjects, `[folds]`.
      rng: a NumPy generator.
      resamples: their number.
      outcomes: the runs' values of the measure of interest, of the shape of `scores`, where rates are chosen by
        another measure; None takes `scores`.
    """
    measured = scores if outcomes is None else outcomes
    scores = scores[..., None, :, :]
    noise = rng.standard_normal((*scores.shape[:-3], resamples, *scores.shape[-2:]), np.float32)
    noisy = scores + np.sqrt(variance)[..., None, None, None] * noise
    curve = np.broadcast_to(np.nanmean(measured, -2, keepdims=True)[..., None, :, :], noisy.shape)
    means = np.take_along_axis(curve, best_on_others(noisy)[..., None], -1)[..., 0]
    return (means * weights).sum(-1).var(-1, ddof=1)


def bootstrap(folds):
    """The variance of a bootstrap over subjects and seeds, at the chosen rates.

    Drawn with replacement, n seeds keep (n − 1)/n of their variance, and so do n subjects.
    """
    share = folds.seeds_df / (folds.seeds_df + 1)
    subjects = folds.subjects * folds.subjects_df / (folds.subjects_df + 1)
    variance = _total(folds, subjects) + _total(folds, folds.seeds * share).sum(-1)
    return Estimate(_mean(folds), np.sqrt(variance), NORMAL)


def within_splits(folds):
    """The variance over subjects and seeds, for these splits alone."""
    variance, uncertainty = _within(folds)
    return _satterthwaite(folds, variance, uncertainty)


def over_folds(folds):
    """The variance between the folds' mean differences, which includes the noise of seeds."""
    return Estimate(_mean(folds), np.sqrt(_between(folds)), folds.difference.shape[-1] - 1.0)


def components(folds):
    """The variance between the folds' mean differences, but no less than the variance over subjects and seeds."""
    variance, uncertainty = _within(folds)
    between, df = _between(folds), folds.difference.shape[-1] - 1.0
    larger = between > variance
    return _satterthwaite(folds, np.where(larger, between, variance),
                          np.where(larger, between ** 2 / df, uncertainty))


def pooled(folds):
    """The variance over subjects and seeds of the two methods, plus the variance over folds of all methods.

    The part of the folds is the excess of the mean square of method by fold over what subjects and seeds explain of it.
    It is pooled over methods, because three folds of two methods estimate it badly.
    """
    return _satterthwaite(folds, *_pooled(folds))


def within_splits_and_choice(folds):
    """As `within_splits`, with the variance that the choice of rates adds."""
    variance, uncertainty = _within(folds)
    return _satterthwaite(folds, variance + folds.choice, uncertainty)


def pooled_and_choice(folds):
    """As `pooled`, with the variance that the choice of rates adds."""
    variance, uncertainty = _pooled(folds)
    return _satterthwaite(folds, variance + folds.choice, uncertainty)


# The rules by their names in the table of coverage, and the one that the tables of differences use.
RULES = {"resampled": bootstrap, "subjects and seeds": within_splits,
         "subjects and seeds, chosen again": within_splits_and_choice, "t over folds": over_folds,
         "components": components, "components, folds pooled": pooled,
         "components, folds pooled, chosen again": pooled_and_choice}
USED = "components, folds pooled, chosen again"


def _pooled(folds):
    variance, uncertainty = _within(folds)
    share = 2 * (folds.weights ** 2).sum()
    excess = folds.interaction - folds.expected
    positive = excess > 0
    return variance + share * np.where(positive, excess, 0), uncertainty + np.where(
        positive, (share * folds.interaction) ** 2 / max(folds.interaction_df, 1), 0)


def _mean(folds):
    return (folds.difference * folds.weights).sum(-1)


def _total(folds, variances):
    return (variances * folds.weights ** 2).sum(-1)


def _between(folds):
    return folds.difference.var(-1, ddof=1) * (folds.weights ** 2).sum()


def _within(folds):
    """(variance, Σ variance² / df) over subjects and seeds; the second is for Satterthwaite's degrees of freedom.

    All folds are assumed to have the same variance, so that their degrees of freedom add up.
    """
    subjects, seeds = _total(folds, folds.subjects), _total(folds, folds.seeds)
    seeds_df = np.maximum(np.sum(folds.seeds_df, -1), 1)
    return subjects + seeds.sum(-1), subjects ** 2 / max(np.sum(folds.subjects_df), 1) + (seeds ** 2 / seeds_df).sum(-1)


def _satterthwaite(folds, variance, uncertainty):
    """The `Estimate` with df = variance² / Σ (variance² / df) over the variance's parts, no fewer than 1."""
    df = variance ** 2 / np.where(uncertainty > 0, uncertainty, 1)
    return Estimate(_mean(folds), np.sqrt(variance), np.maximum(df, 1.0))
