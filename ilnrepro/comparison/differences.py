"""Paired differences between two methods, with their intervals."""

from dataclasses import dataclass

import numpy as np

from ilnrepro.comparison import uncertainty
from ilnrepro.comparison.choice import cells, on_common_rates
from ilnrepro.comparison.intervals import Estimate, within_splits

MEASURES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "assd": "ASSD", "whole_dice": "Dice, own resolution",
            "hd95_mm": "HD95 in mm", "assd_mm": "ASSD in mm"}
LOWER_IS_BETTER = ("hd95", "assd", "hd95_mm", "assd_mm")


@dataclass(frozen=True)
class FoldScores:
    """The scores of one method on one fold at its chosen rate.

    Attributes:
      seeds: of the runs, sorted.
      subjects: names of the test images' subjects, each once, sorted.
      by_subject: mean over each subject's images, `[seeds, subjects]`.
      by_image: `[seeds, images]`, in the order of the data set.
    """

    seeds: tuple
    subjects: tuple
    by_subject: np.ndarray
    by_image: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """The difference first − second of two methods, paired by subject, over all folds of a structure.

    Attributes:
      difference: mean over subjects of a subject's difference, which is a mean over its images and over seeds.
      estimate: the same as an `Estimate` with its standard error, see `uncertainty.estimate`.
      median: of the subjects' differences.
      image_difference: mean difference over images.
      improvement: probability that `first` is better than `second` on a subject, over all pairs of seeds; a tie counts
        one half.
      seed_sd: standard deviation over seeds of the mean difference, for the seeds that both methods have on all folds;
        NaN for fewer than two.
      subjects: their number.
      seeds: numbers of the first and the second method's seeds, on the fold where each has the fewest.
      per_subject: {subject: difference}.
    """

    first: str
    second: str
    difference: float
    estimate: Estimate
    median: float
    image_difference: float
    improvement: float
    seed_sd: float
    subjects: int
    seeds: tuple
    per_subject: dict

    @property
    def low(self):
        """The lower end of the 95 % interval; NaN where there is none."""
        return float(self.estimate.interval[0])

    @property
    def high(self):
        """The upper end of the 95 % interval; NaN where there is none."""
        return float(self.estimate.interval[1])

    @property
    def upper(self):
        """The one-sided 95 % upper bound; NaN where there is none."""
        return float(self.estimate.upper)

    @property
    def detectable(self):
        """The true difference that such data would show (95 % interval above 0) with probability 0.8."""
        return float(self.estimate.detectable())


def fold_scores(cell, subject, measure="dice", omit=()):
    """The `FoldScores` of a `choice.Cell`, or None where none of its runs has the measure.

    A run that diverged segments nothing: its Dice and IoU are 0 for all images. It has no distances and is left out of
    them.

    Args:
      subject: the subject of each test image of the fold.
      measure: of `MEASURES`.
      omit: subjects to leave out.
    """
    included = ~np.isin(subject, list(omit))
    runs = sorted((r for r in cell.records if len(r.dice) or measure not in LOWER_IS_BETTER),
                  key=lambda r: r.configuration.seed)
    if not runs:
        return None
    by_image = np.array([r.measures[measure] if len(r.dice) else np.zeros(len(subject)) for r in runs])[:, included]
    subjects, index = np.unique(subject[included], return_inverse=True)
    by_subject = np.array([np.bincount(index, row) for row in by_image]) / np.bincount(index)
    return FoldScores(tuple(r.configuration.seed for r in runs), tuple(map(str, subjects)), by_subject, by_image)


def compare(first, second, names, measure="dice", pool=None):
    """The `Comparison` of two methods.

    Args:
      first, second: lists of their `FoldScores`, of the same folds.
      names: of the two methods.
      measure: of `MEASURES`.
      pool: the `uncertainty.Pool` of all methods; without it there is no interval over several folds.
    """
    for a, b in zip(first, second, strict=True):
        if a.subjects != b.subjects:
            raise ValueError(f"{names}: the folds' subjects differ")
    per_subject = {subject: float(d) for a, b in zip(first, second, strict=True)
                   for subject, d in zip(a.subjects, a.by_subject.mean(0) - b.by_subject.mean(0), strict=True)}
    differences = np.array(list(per_subject.values()))
    images = np.concatenate([a.by_image.mean(0) - b.by_image.mean(0) for a, b in zip(first, second, strict=True)])
    improvement = float(np.concatenate([_share_above(a.by_subject, b.by_subject)
                                        for a, b in zip(first, second, strict=True)]).mean())
    return Comparison(*names, float(differences.mean()), uncertainty.estimate(first, second, pool, names),
                      float(np.median(differences)), float(images.mean()),
                      1 - improvement if measure in LOWER_IS_BETTER else improvement, _seed_sd(first, second),
                      len(differences), tuple(min(len(s.seeds) for s in scores) for scores in (first, second)),
                      per_subject)


def comparisons(records, pairs, rule, structure="LV", measure="dice", omit=()):
    """The `Comparison`s of pairs of methods, at rates that both methods have; pairs that lack a fold are left out."""
    def table_and_pool(records):
        table = by_method(records, rule, structure, measure, omit)
        return table, uncertainty.pool(table, records, rule, structure, measure)

    of_all_records = table_and_pool(records)
    for pair in pairs:
        shared = on_common_rates(records, *pair)
        table, pool = of_all_records if len(shared) == len(records) else table_and_pool(shared)
        if set(pair) <= set(table):
            yield compare(*(table[method] for method in pair), pair, measure, pool)


def interval(scores):
    """(mean, low, high): one method's mean Dice over subjects with its 95 % interval, within 0 and 1 as Dice is.

    The interval is over subjects and seeds, of these splits alone; with one seed, of the trained networks alone.

    Args:
      scores: the method's `FoldScores` of Dice, a list of folds.
    """
    zero = [FoldScores(s.seeds[:1], s.subjects, np.zeros_like(s.by_subject[:1]), s.by_image) for s in scores]
    estimate = within_splits(uncertainty.folds_of(scores, zero))
    return tuple(map(float, (estimate.mean, *np.clip(estimate.interval, 0, 1))))


def _share_above(a, b):
    """For each subject the share of pairs of seeds in which a's score is above b's, `[subjects]`; a tie counts half.

    Args:
      a, b: scores `[seeds, subjects]`.
    """
    return (0.5 * (1 + np.sign(a[:, None] - b[None]))).mean((0, 1))


def _seed_sd(first, second):
    common = set.intersection(*(set(s.seeds) for s in [*first, *second]))
    if len(common) < 2:
        return float("nan")

    def means(scores, seed):
        return np.concatenate([s.by_subject[s.seeds.index(seed)] for s in scores]).mean()

    return float(np.std([means(first, s) - means(second, s) for s in sorted(common)], ddof=1))


def subjects_of(records):
    """{(structure, fold): the subject of each test image}, from the runs that did not diverge."""
    return {(r.configuration.structure, r.configuration.fold): r.subject for r in records if len(r.dice)}


def by_method(records, rule, structure="LV", measure="dice", omit=()):
    """{method: [`FoldScores` of each fold]} of the methods with scores on all folds on which any method has scores.

    Args:
      records: of `scores.collect`.
      rule: of `choice.RULES`, by which rates are chosen.
      structure: its name.
      measure, omit: as of `fold_scores`.
    """
    cell_of, subjects = cells(records, rule), subjects_of(records)
    folds = sorted(fold for s, fold in subjects if s == structure)
    table = {}
    for method in dict.fromkeys(m for m, s, _ in cell_of if s == structure):
        scores = [fold_scores(cell_of[method, structure, k], subjects[structure, k], measure, omit) for k in folds
                  if (method, structure, k) in cell_of]
        if len(scores) == len(folds) and all(s is not None for s in scores):
            table[method] = scores
    return table
