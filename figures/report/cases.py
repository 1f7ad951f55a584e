"""The browser of test cases: the worst thirty and thirty at random, with each method's predictions."""

import base64
import io
from dataclasses import dataclass

import contourpy
import numpy as np
from PIL import Image

from figures.crop import box
from figures.sources import source

NUMBER = 30
_PIXELS = 160  # largest side of a picture


@dataclass
class Case:
    """One test image.

    Attributes:
      name, subject, fold: of the image.
      worst, random: whether it is among the worst thirty, and among thirty at random.
      mean: Dice, mean over the methods that predicted it.
      scores: Dice of each method, None where its run diverged or does not exist.
      words: the scores in words.
      box: (left, top, width, height) of the part that is shown, in pixels.
      picture: the part as a PNG, its grey levels stretched, base64; '' without the data set.
      truth: SVG path of the true mask; '' where it is not known.
      predictions: SVG paths, one for each method.
    """

    name: str
    subject: str
    fold: int
    worst: bool
    random: bool
    mean: float
    scores: list
    words: list
    box: tuple
    picture: str
    truth: str
    predictions: list


def browser_cases(folds, methods, data):
    """The `Case`s that the browser shows of one structure, the worst first.

    Args:
      folds: {fold: {method: `Run`}}.
      methods: in order.
      data: the structure's `DataSet`, or None.
    """
    scored = _scored_cases(folds, methods)
    random = set(np.random.default_rng(0).permutation(len(scored))[:NUMBER].tolist())
    order = _worst_first(scored)
    hardest = set(order[:NUMBER])
    return [_case(folds[scored[k][1]], methods, data, k in hardest, k in random, *scored[k][:4])
            for k in order if k in hardest | random]


def side_by_side(folds, methods, data, number):
    """{heading: `Case`s} of two methods: where both are worst, and where each is furthest above the other.

    `number` is that of the cases below a heading; the other arguments are those of `browser_cases`.
    """
    scored = _scored_cases(folds, methods)
    gap = [dice[0] - dice[1] for _, _, _, dice, _ in scored]
    ahead = sorted(range(len(scored)), key=lambda k: -gap[k])
    places = {"Both at their worst": _worst_first(scored)[:number],
              "The first furthest ahead": [k for k in ahead if gap[k] > 0][:number],
              "The second furthest ahead": [k for k in ahead[::-1] if gap[k] < 0][:number]}
    return {heading: [_case(folds[scored[k][1]], methods, data, True, False, *scored[k][:4]) for k in ks]
            for heading, ks in places.items() if ks}


def _scored_cases(folds, methods):
    """[(mean Dice, fold, case, Dice of each method, pixels of the truth)] of all test images."""
    scored = []
    for fold, runs in sorted(folds.items()):
        scores = np.array([runs[m].dice if m in runs and runs[m].test else _no_scores(runs) for m in methods])
        scored += [(float(np.nanmean(dice)), fold, i, dice, _area(runs, i)) for i, dice in enumerate(scores.T)]
    return scored


def _worst_first(scored):
    """The order of the cases from the worst on; of equally bad ones, the largest structure comes first."""
    return sorted(range(len(scored)), key=lambda k: (scored[k][0], -scored[k][-1]))


def _area(runs, i):
    return int(next(run for run in runs.values() if run.test).test["truth_pixels"][i])


def _no_scores(runs):
    return np.full(len(next(run for run in runs.values() if run.test).dice), np.nan)


def _case(runs, methods, data, worst, random, mean, fold, i, scores):
    run = next(run for run in runs.values() if run.test)
    image, truth = source(run, i, data)
    predicted = [runs[m].masks[i] if m in runs and runs[m].test else None for m in methods]
    if run.masks.ndim == 4:  # a volume: the slice in which most is marked
        marked = sum(np.asarray(mask, int) for mask in (truth, *predicted) if mask is not None)
        k = int(marked.sum((1, 2)).argmax())
        image, truth, *predicted = (None if mask is None else mask[k] for mask in (image, truth, *predicted))
    shown = box([mask for mask in (truth, *predicted) if mask is not None])
    words = ["not run" if m not in runs else f"{score:.3f}" if runs[m].test else "diverged"
             for m, score in zip(methods, scores, strict=True)]
    return Case(str(run.test["name"][i]), str(run.test["subject"][i]), fold, worst, random, mean,
                [None if np.isnan(score) else float(score) for score in scores], words, shown,
                "" if image is None else _png(image, shown), _path(truth), [_path(mask) for mask in predicted])


def _png(image, shown):
    left, top, width, height = shown
    part = image[top:top + height, left:left + width]
    dark, bright = np.percentile(part, [0, 99.5])
    part = Image.fromarray(np.rint(255 * np.clip((part - dark) / max(bright - dark, 1e-6), 0, 1)).astype(np.uint8))
    part.thumbnail((_PIXELS, _PIXELS))
    out = io.BytesIO()
    part.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def _path(mask):
    """The outline of a mask as an SVG path, pixel (0, 0) covering [0, 1]²; '' without a mask or outline."""
    if mask is None or not mask.any():
        return ""
    lines = contourpy.contour_generator(z=np.pad(mask, 1).astype(float)).lines(0.5)
    return "".join("M" + " ".join(f"{x - 0.5:g},{y - 0.5:g}" for x, y in line[:-1]) + "Z" for line in lines)
