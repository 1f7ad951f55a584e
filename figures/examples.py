"""Figure 2: test examples, truth red, prediction green, overlap yellow."""

import numpy as np
from matplotlib.colors import to_rgb

from figures.sources import source
from figures.style import GREEN, VERMILION, YELLOW, plt, save
from ilnrepro.ops.metrics import fullest_slice

EXAMPLES = 8


def draw(folder, runs, datasets, about):
    """Draws eight test examples drawn at random from some runs.

    Args:
      runs: `Run`s of one method, one a structure and fold, whose examples' true masks are known.
      datasets: `DataSet`s by checksum; where a run's is there, its grey images lie under the masks.
      about: data, protocol, n, rates, seeds and rule in words.
    """
    cases = [(run, case) for run in runs for case in run.examples]
    drawn = np.random.default_rng(0).permutation(len(cases))[:EXAMPLES]
    columns = min(EXAMPLES // 2, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2 * columns, 2.2 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, k in zip(axes.flat, sorted(drawn), strict=False):
        run, case = cases[k]
        axis.imshow(_picture(run, case, datasets.get(run.configuration.dataset_checksum)), interpolation="nearest")
        configuration = run.configuration
        axis.set_title(f"{configuration.structure}-{configuration.fold}  DSC {run.dice[case]:.2f}", fontsize=8)
    first = runs[0]
    missing = "" if datasets else " The grey images are not in the run files: name the data sets to see them."
    slices = " (of each volume the slice that holds most of the structure)" if first.masks.ndim == 4 else ""
    caption = (f"Figure 2. {min(EXAMPLES, len(cases))} test examples drawn at random{slices}, method "
               f"{first.configuration.method}. Red: truth. Green: prediction. Yellow: both.{missing} {about}")
    return save(figure, folder, "figure2-examples", caption)


def _picture(run, case, data):
    image, truth = source(run, case, data)
    truth, predicted = truth.astype(bool), run.masks[case].astype(bool)
    part = fullest_slice(truth) if truth.ndim == 3 else ...
    truth, predicted = truth[part], predicted[part]
    picture = np.zeros((*truth.shape, 3))
    opacity = 1.0
    if image is not None:
        picture[:] = image[part][..., np.newaxis]
        opacity = 0.6
    for mask, colour in ((truth & ~predicted, VERMILION), (predicted & ~truth, GREEN), (truth & predicted, YELLOW)):
        picture[mask] = (1 - opacity) * picture[mask] + opacity * np.array(to_rgb(colour))
    return picture
