"""How sure a difference between two methods is: paired differences, with intervals over subjects and seeds."""

from dataclasses import dataclass

import numpy as np

from ilnrepro.comparison import uncertainty
from ilnrepro.comparison.choice import cells, on_common_rates
from ilnrepro.comparison.intervals import Estimate, within

MEASURES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "assd": "ASSD"}
LOWER_IS_BETTER = ("hd95", "assd")


@dataclass(frozen=True)
class FoldScores:
    """One method on one fold at its chosen rate.

    Attributes:
      seeds: of the runs, in order.
      subjects: of the test images, each once, sorted.
      by_subject: mean over each subject's images, `[seeds, subjects]`.
      by_image: `[seeds, images]`, in the order of the data set.
    """

    seeds: tuple
    subjects: tuple
    by_subject: np.ndarray
    by_image: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """first − second, paired by subject, over all folds of a structure.

    Attributes:
      difference: mean over subjects of the subject's mean over images and seeds.
      estimate: the same with its standard error over subjects, seeds and splits, see `uncertainty.estimate`.
      median: of the subjects' differences.
      image_difference: the mean over images, mean over seeds first.
      improvement: probability that first is better than second on a subject, over all pairs of seeds, ties half.
      seed_sd: standard deviation over seeds of the difference of the means, for seeds that both have on every fold;
        NaN for fewer than two.
      subjects, seeds: numbers of them (seeds: of the first, the second, each on the fold that has least).
      per_subject: the differences, `{subject: difference}`.
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
        """Of the 95 % interval; NaN where there is none."""
        return float(self.estimate.interval[0])

    @property
    def high(self):
        """Of the 95 % interval; NaN where there is none."""
        return float(self.estimate.interval[1])

    @property
    def upper(self):
        """The one-sided 95 % upper bound; NaN where there is none."""
        return float(self.estimate.upper)

    @property
    def smallest_shown(self):
        """The true difference that such data would have shown (interval above 0) four times in five."""
        return float(self.estimate.smallest_shown)


def fold_scores(cell, subject, measure="dice", omit=()):
    """The `FoldScores` of a `choice.Cell`, or None where no run of the cell has the measure.

    A run that diverged segments nothing: Dice and IoU 0 for every image. It has no distances, and is left out of those.

    Args:
      subject: of each test image of the fold.
      measure: of `MEASURES`.
      omit: subjects to leave out.
    """
    kept = ~np.isin(subject, list(omit))
    runs = sorted((r for r in cell.chosen if len(r.dice) or measure not in LOWER_IS_BETTER),
                  key=lambda r: r.configuration.seed)
    if not runs:
        return None
    by_image = np.array([r.measures[measure] if len(r.dice) else np.zeros(len(subject)) for r in runs])[:, kept]
    subjects, of_image = np.unique(subject[kept], return_inverse=True)
    by_subject = np.array([np.bincount(of_image, row) for row in by_image]) / np.bincount(of_image)
    return FoldScores(tuple(r.configuration.seed for r in runs), tuple(map(str, subjects)), by_subject, by_image)


def compare(first, second, names, measure="dice", of_all=None):
    """The `Comparison` of two methods.

    Args:
      first, second: their `FoldScores`, a list of the same folds each.
      names: of the two.
      of_all: the `uncertainty.Pool` of all methods at hand, without which several folds have no interval.
    """
    for a, b in zip(first, second, strict=True):
        if a.subjects != b.subjects:
            raise ValueError(f"{names}: the folds' subjects differ")
    per_subject = {subject: float(d) for a, b in zip(first, second, strict=True)
                   for subject, d in zip(a.subjects, a.by_subject.mean(0) - b.by_subject.mean(0), strict=True)}
    differences = np.array(list(per_subject.values()))
    images = np.concatenate([a.by_image.mean(0) - b.by_image.mean(0) for a, b in zip(first, second, strict=True)])
    better = np.concatenate([_better(a.by_subject, b.by_subject) for a, b in zip(first, second, strict=True)])
    improvement = float(better.mean())
    return Comparison(*names, float(differences.mean()), uncertainty.estimate(first, second, of_all, names),
                      float(np.median(differences)), float(images.mean()),
                      1 - improvement if measure in LOWER_IS_BETTER else improvement, _seed_sd(first, second),
                      len(differences), tuple(min(len(s.seeds) for s in scores) for scores in (first, second)),
                      per_subject)


def comparisons(records, pairs, rule, structure="LV", measure="dice", omit=()):
    """The `Comparison`s of pairs of methods at rates that both have, of those pairs that have all folds."""
    def whole(of):
        table = by_method(of, rule, structure, measure, omit)
        return table, uncertainty.pool(table, of, rule, structure, measure)

    made = whole(records)
    for pair in pairs:
        shared = on_common_rates(records, *pair)
        table, of_all = made if len(shared) == len(records) else whole(shared)
        if set(pair) <= set(table):
            yield compare(*(table[method] for method in pair), pair, measure, of_all)


def interval(scores):
    """(mean, low, high) over subjects of one method's `FoldScores` list: 95 % over subjects and seeds of these splits;
    with one seed, of the networks trained."""
    zero = [FoldScores(s.seeds[:1], s.subjects, np.zeros_like(s.by_subject[:1]), s.by_image) for s in scores]
    estimate = within(uncertainty.folds_of(scores, zero))
    return tuple(map(float, (estimate.mean, *estimate.interval)))


def _better(a, b):
    """For each subject, how often a's score is above b's over all pairs of seeds, ties half, `[subjects]`."""
    return (0.5 * (1 + np.sign(a[:, None] - b[None]))).mean((0, 1))


def _seed_sd(first, second):
    common = set.intersection(*(set(s.seeds) for s in [*first, *second]))
    if len(common) < 2:
        return float("nan")

    def means(scores, seed):
        return np.concatenate([s.by_subject[s.seeds.index(seed)] for s in scores]).mean()

    return float(np.std([means(first, s) - means(second, s) for s in sorted(common)], ddof=1))


def subjects_of(records):
    """{(structure, fold): the subject of each test image}, from the runs that were tested."""
    return {(r.configuration.structure, r.configuration.fold): r.subject for r in records if len(r.dice)}


def by_method(records, rule, structure="LV", measure="dice", omit=()):
    """{method: `FoldScores` of its folds}, for the methods that have all folds of the structure that any method has."""
    found, subjects = cells(records, rule), subjects_of(records)
    folds = sorted(fold for s, fold in subjects if s == structure)
    table = {}
    for method in dict.fromkeys(m for m, s, _ in found if s == structure):
        scores = [fold_scores(found[method, structure, k], subjects[structure, k], measure, omit) for k in folds
                  if (method, structure, k) in found]
        if len(scores) == len(folds) and all(s is not None for s in scores):
            table[method] = scores
    return table
