"""How sure a mean difference of two methods is: standard errors over subjects, seeds and splits, by several rules.

The quantity is the expected difference over new subjects, seeds and splits of what the choice of rates yields. Every
array has leading axes of any shape, so that the simulation of coverage runs the very code that the tables use.
"""

from dataclasses import dataclass

import numpy as np

NORMAL = 1e6  # degrees of freedom, as good as without end


@dataclass(frozen=True)
class Folds:
    """What is known of two methods on the folds of a structure.

    Attributes:
      difference: first − second, mean over a fold's subjects, `[..., folds]`.
      weights: each fold's share of the subjects, `[folds]`.
      subjects, subjects_df: variance of `difference` that comes of the subjects, `[..., folds]`, its degrees of
        freedom, `[folds]`.
      seeds, seeds_df: the same of each of the two methods' seeds, `[..., 2, folds]` and `[2, folds]`; 0 for one seed.
      interaction, expected, interaction_df: mean square of method by fold over all methods at hand that have several
        seeds, what subjects and seeds alone contribute to it, `[...]`, and its degrees of freedom, 0 for fewer than
        two methods.
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
        """Whether a fold of either method has one seed alone."""
        return bool((np.asarray(self.seeds_df) == 0).any())


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and degrees of freedom; NaN and NaN where there is none."""

    mean: np.ndarray
    standard_error: np.ndarray
    df: np.ndarray

    @property
    def interval(self):
        """(low, high) of the 95 % interval."""
        return self.of_level(0.95)

    def of_level(self, level):
        """(low, high) of the interval of a level."""
        half = _quantile(self.df, (1 + level) / 2) * self.standard_error
        return self.mean - half, self.mean + half

    @property
    def upper(self):
        """The one-sided 95 % upper bound."""
        return self.mean + _quantile(self.df, 0.95) * self.standard_error

    @property
    def smallest_shown(self):
        """The true difference at which the interval lies above 0 four times in five."""
        return (_quantile(self.df, 0.975) + _quantile(self.df, 0.80)) * self.standard_error

    def power(self, difference):
        """The probability that the interval would lie above 0 if `difference` were true."""
        return power(difference, self.standard_error, self.df)


def power(difference, standard_error, df):
    """The probability that a 95 % t interval lies above 0 where `difference` is true."""
    from scipy.special import nctdtr

    return 1 - nctdtr(df, difference / standard_error, _quantile(df, 0.975))


def _quantile(df, share):
    """Of Student's t."""
    from scipy.special import stdtrit

    return stdtrit(df, share)


def interaction(means, by_subject, seeds):
    """(mean square of method by fold, what subjects and seeds alone contribute to it, degrees of freedom).

    Args:
      means: of methods on folds, `[..., methods, folds]`.
      by_subject: of each fold, `[..., methods, subjects]`.
      seeds: variance of each mean that comes of its seeds, as `means`.
    """
    methods, folds = means.shape[-2:]
    if methods < 2 or folds < 2:
        return 0.0, 0.0, 0
    df = (methods - 1) * (folds - 1)
    subjects = [residuals(x) / ((methods - 1) * (x.shape[-1] - 1)) / x.shape[-1] for x in by_subject]
    return residuals(means) / df, sum(subjects) / folds + seeds.mean((-2, -1)), df


def residuals(x):
    """Sum of squares of what rows and columns do not explain."""
    x = x - x.mean(-1, keepdims=True)
    return ((x - x.mean(-2, keepdims=True)) ** 2).sum((-2, -1))


def chosen(scores):
    """The rate of each fold that is best on the mean of the others, `[..., folds, rates]` → `[..., folds]`."""
    return (scores.sum(-2, keepdims=True) - scores).argmax(-1)


def choice_variance(scores, variance, weights, rng, resamples, wanted=None):
    """What the choice of one method's rates adds to the variance of its mean: every score is given a run's noise again,
    and the rates chosen again; what they yield by the scores' mean over folds differs that much.

    Args:
      scores: of the runs on which the rates are chosen, `[..., folds, rates]`.
      variance: of a run's score, `[...]`.
      wanted: what the rates yield, where that is another measure than they are chosen by, as `scores`.
    """
    yields = scores if wanted is None else wanted
    scores = scores[..., None, :, :]
    noise = rng.standard_normal((*scores.shape[:-3], resamples, *scores.shape[-2:]), np.float32)
    noisy = scores + np.sqrt(variance)[..., None, None, None] * noise
    curve = np.broadcast_to(np.nanmean(yields, -2, keepdims=True)[..., None, :, :], noisy.shape)
    means = np.take_along_axis(curve, chosen(noisy)[..., None], -1)[..., 0]
    return (means * weights).sum(-1).var(-1, ddof=1)


def resampled(folds):
    """Subjects and seeds drawn with replacement, the choice of rates taken as given: the bootstrap's own variance, in
    which n seeds keep (n − 1)/n of theirs."""
    kept = folds.seeds_df / (folds.seeds_df + 1)
    subjects = folds.subjects * folds.subjects_df / (folds.subjects_df + 1)
    variance = _total(folds, subjects) + _total(folds, folds.seeds * kept).sum(-1)
    return Estimate(_mean(folds), np.sqrt(variance), NORMAL)


def within(folds):
    """Subjects and seeds of these splits, with all of the seeds' variance; says nothing of other splits."""
    variance, uncertainty = _within(folds)
    return _satterthwaite(folds, variance, uncertainty)


def over_folds(folds):
    """The folds' mean differences alone: whatever differs between folds is in their spread, one seed's noise too."""
    return Estimate(_mean(folds), np.sqrt(_between(folds)), folds.difference.shape[-1] - 1.0)


def components(folds):
    """Subjects, seeds and folds, the folds' part from these two methods alone; never below what subjects and seeds
    contribute."""
    variance, uncertainty = _within(folds)
    between, df = _between(folds), folds.difference.shape[-1] - 1.0
    larger = between > variance
    return _satterthwaite(folds, np.where(larger, between, variance),
                          np.where(larger, between ** 2 / df, uncertainty))


def pooled(folds):
    """Subjects and seeds of the two methods, and the folds' part from all methods at hand: what their mean square of
    method by fold exceeds that of subjects and seeds by. Three folds tell little of two methods, more of eight."""
    return _satterthwaite(folds, *_pooled(folds))


def within_chosen_again(folds):
    """As `within`, with the variance of the choice of rates."""
    variance, uncertainty = _within(folds)
    return _satterthwaite(folds, variance + folds.choice, uncertainty)


def pooled_chosen_again(folds):
    """As `pooled`, with the variance of the choice of rates, which folds that choose on each other's runs share."""
    variance, uncertainty = _pooled(folds)
    return _satterthwaite(folds, variance + folds.choice, uncertainty)


# By the names that the simulation of coverage has for them, and the one that is used.
RULES = {"resampled": resampled, "subjects and seeds": within, "subjects and seeds, chosen again": within_chosen_again,
         "t over folds": over_folds, "components": components, "components, folds pooled": pooled,
         "components, folds pooled, chosen again": pooled_chosen_again}
USED = "components, folds pooled, chosen again"


def _pooled(folds):
    variance, uncertainty = _within(folds)
    share = 2 * (folds.weights ** 2).sum()
    excess = folds.interaction - folds.expected
    there = excess > 0
    return variance + share * np.where(there, excess, 0), uncertainty + np.where(
        there, (share * folds.interaction) ** 2 / max(folds.interaction_df, 1), 0)


def _mean(folds):
    return (folds.difference * folds.weights).sum(-1)


def _total(folds, variances):
    return (variances * folds.weights ** 2).sum(-1)


def _between(folds):
    return folds.difference.var(-1, ddof=1) * (folds.weights ** 2).sum()


def _within(folds):
    """The variance from subjects and seeds, and what its own uncertainty adds up to, Σ variance² / df, where the folds
    tell of one spread together."""
    subjects, seeds = _total(folds, folds.subjects), _total(folds, folds.seeds)
    seeds_df = np.maximum(np.sum(folds.seeds_df, -1), 1)
    return subjects + seeds.sum(-1), subjects ** 2 / max(np.sum(folds.subjects_df), 1) + (seeds ** 2 / seeds_df).sum(-1)


def _satterthwaite(folds, variance, uncertainty):
    df = variance ** 2 / np.where(uncertainty > 0, uncertainty, 1)
    return Estimate(_mean(folds), np.sqrt(variance), np.maximum(df, 1.0))
