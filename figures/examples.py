"""Figure 2: test cases as each method segments them; truth red, prediction green, overlap yellow; truth outlined."""

import numpy as np
from matplotlib.colors import to_rgb

from figures.crop import box
from figures.sources import source
from figures.style import GREEN, VERMILION, YELLOW, plt, save
from ilnrepro.norms import method as method_row
from ilnrepro.ops.metrics import fullest_slice

HARD, RANDOM = 3, 3
_BLANK = 0.93  # the grey of the background where there is no image


def draw(folder, runs, datasets, about):
    """Draws test cases in rows and methods in columns: the hardest of the run files' examples, and others.

    Args:
      runs: `Run`s, one for each method, structure and fold, whose examples' true masks are known; runs without a test
        are left out.
      datasets: {checksum: `DataSet`}; a run's grey images lie under the masks if its data set is among them.
      about: text on data, protocol, n, rates, seeds and rule.
    """
    methods = list(dict.fromkeys(run.configuration.method for run in runs))
    by_fold = {}
    for run in runs:
        if run.test:
            c = run.configuration
            by_fold.setdefault((c.structure, c.fold), {})[c.method] = run
    cases = select_cases(by_fold)
    figure, axes = plt.subplots(len(cases), len(methods) + 1, figsize=(1.15 * (len(methods) + 1), 1.33 * len(cases)),
                                layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    images = False
    for row, (key, i, hard) in zip(axes, cases, strict=True):
        runs_of_fold = by_fold[key]
        first = next(iter(runs_of_fold.values()))
        case = first.examples[i]
        image, truth = source(first, case, datasets.get(first.configuration.dataset_checksum))
        part = fullest_slice(truth) if truth.ndim == 3 else ...
        image, truth = None if image is None else image[part], truth[part].astype(bool)
        images = images or image is not None
        masks = {method: run.masks[case][part].astype(bool) for method, run in runs_of_fold.items()}
        left, top, width, height = box([truth, *masks.values()])
        shown = slice(top, top + height), slice(left, left + width)
        image = None if image is None else image[shown]
        _show(row[0], image, truth[shown], None)
        row[0].set_title(f"{key[0]}-{key[1]}{', hard' if hard else ''}", fontsize=7, pad=2)
        for axis, method in zip(row[1:], methods, strict=True):
            if method in runs_of_fold:
                _show(axis, image, truth[shown], masks[method][shown])
                axis.set_title(f"{method_row(method).title} {runs_of_fold[method].dice[case]:.2f}", fontsize=7, pad=2)
    slices = " (of each volume the slice that holds most of the structure)" if first.masks.ndim == 4 else ""
    missing = "" if images else " The grey images are not in the run files: name the data sets to see them."
    return save(figure, folder, "figure2-examples",
                f"Figure 2. {len(cases)} test cases{slices} by each method, with their Dice; first those hardest for "
                "the methods together, then others drawn at random. First column: truth. White line: its outline. Red: "
                "truth alone. Green: prediction alone. Yellow: both. Only the part around what is marked is "
                f"shown.{missing} {about}")


def _show(axis, image, truth, predicted):
    """Shows a picture with the truth's outline, by which misses and additions differ in print without colour too."""
    axis.imshow(rgb_picture(image, truth, predicted), interpolation="nearest")
    if truth.any() and not truth.all():
        axis.contour(truth, levels=[0.5], colors="white", linewidths=0.8)


def select_cases(by_fold):
    """[((structure, fold), number of the example, whether it is among the hardest)].

    Args:
      by_fold: {(structure, fold): {method: `Run`}}.
    """
    scored = [(float(np.mean([run.dice[case] for run in runs.values()])), key, i)
              for key, runs in sorted(by_fold.items())
              for i, case in enumerate(next(iter(runs.values())).examples)]
    order = sorted(range(len(scored)), key=lambda k: scored[k][0])
    hard, others = order[:HARD], sorted(order[HARD:])
    random = sorted(np.random.default_rng(0).permutation(len(others))[:RANDOM])
    return [(*scored[k][1:], k in hard) for k in (*hard, *(others[n] for n in random))]


def rgb_picture(image, truth, predicted):
    """An RGB picture of the image, stretched between its percentiles, with the masks over it.

    `image` None shows masks alone, `predicted` None the truth alone.
    """
    if image is None:
        shown, opacity = np.full((*truth.shape, 3), _BLANK), 1.0
    else:
        dark, bright = np.percentile(image, [1, 99])
        shown = np.repeat(np.clip((image - dark) / max(bright - dark, 1e-6), 0, 1)[..., np.newaxis], 3, axis=-1)
        opacity = 0.55
    predicted = np.zeros_like(truth) if predicted is None else predicted
    for mask, colour in ((truth & ~predicted, VERMILION), (predicted & ~truth, GREEN), (truth & predicted, YELLOW)):
        shown[mask] = (1 - opacity) * shown[mask] + opacity * np.array(to_rgb(colour))
    return shown
