"""Figure 2: test examples, truth red, prediction green, overlap yellow."""

import numpy as np
from matplotlib.colors import to_rgb

from figures.style import GREEN, VERMILION, YELLOW, plt, save
from ilnrepro.ops.augmentation import prepare
from ilnrepro.ops.metrics import fullest_slice

EXAMPLES = 8


def draw(folder, runs, datasets, about):
    """Draws eight test examples drawn at random from some runs.

    Args:
      runs: `Run`s of one method, one a structure and fold.
      datasets: `DataSet`s by checksum; where a run's is there, its grey images lie under the masks.
      about: data, protocol, n, rates, seeds and rule in words.
    """
    cases = [(run, i) for run in runs for i in range(len(run.examples))]
    drawn = np.random.default_rng(0).permutation(len(cases))[:EXAMPLES]
    columns = min(EXAMPLES // 2, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2 * columns, 2.2 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, k in zip(axes.flat, sorted(drawn), strict=False):
        run, i = cases[k]
        case = run.examples[i]
        axis.imshow(_picture(run, i, datasets.get(run.configuration.dataset_checksum)), interpolation="nearest")
        configuration = run.configuration
        axis.set_title(f"{configuration.structure}-{configuration.fold}  DSC {run.dice[case]:.2f}", fontsize=8)
    first = runs[0]
    missing = "" if datasets else " The grey images are not in the run files: name the data sets to see them."
    slices = " (of each volume the slice that holds most of the structure)" if first.masks.ndim == 4 else ""
    caption = (f"Figure 2. {min(EXAMPLES, len(cases))} test examples drawn at random{slices}, method "
               f"{first.configuration.method}. Red: truth. Green: prediction. Yellow: both.{missing} {about}")
    return save(figure, folder, "figure2-examples", caption)


def _picture(run, i, data):
    case = run.examples[i]
    truth, predicted = run.example_truth[i].astype(bool), run.masks[case].astype(bool)
    part = fullest_slice(truth) if truth.ndim == 3 else ...
    truth, predicted = truth[part], predicted[part]
    picture = np.zeros((*truth.shape, 3))
    opacity = 1.0
    if data is not None:
        index = run.test["index"][case]
        image, _ = prepare(data.images[index:index + 1], data.masks[index:index + 1], run.configuration.protocol.shrink)
        picture[:] = image[0][part][..., np.newaxis]
        opacity = 0.6
    for mask, colour in ((truth & ~predicted, VERMILION), (predicted & ~truth, GREEN), (truth & predicted, YELLOW)):
        picture[mask] = (1 - opacity) * picture[mask] + opacity * np.array(to_rgb(colour))
    return picture
