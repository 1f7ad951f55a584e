"""Figure 3 of Kolarik et al. 2020: a test slice with each method's prediction and the truth."""

import numpy as np

from figures.sources import source
from figures.style import plt, save
from ilnrepro.norms import method as method_row
from ilnrepro.ops.metrics import fullest_slice


def draw(folder, runs, datasets, about):
    """Draws the slice of a test volume that holds most of the true mask.

    Args:
      runs: `Run`s of volumes, one for each method, all of one fold; at least one has a test with a known truth.
      datasets: {checksum: `DataSet`}; the grey slice comes first if the runs' data set is among them.
      about: text on data, protocol, n, rates, seeds and rule.
    """
    first = next(run for run in runs if run.test)
    case = first.examples[0]
    image, truth = source(first, case, datasets.get(first.configuration.dataset_checksum))
    k = fullest_slice(truth)
    panels = [("truth", truth[k])]
    for run in runs:
        mask = run.masks[case][k] if run.test else np.zeros_like(truth[k])
        score = f"DSC {run.dice[case]:.2f}" if run.test else "diverged"
        panels.insert(-1, (f"{method_row(run.configuration.method).title}\n{score}", mask))
    if image is not None:
        panels.insert(0, ("input", image[k]))
    figure, axes = plt.subplots(1, len(panels), figsize=(1.1 * len(panels), 1.6), layout="constrained")
    for axis, (title, picture) in zip(axes, panels, strict=True):
        axis.imshow(picture, cmap="gray", interpolation="nearest")
        axis.set_title(title, fontsize=7)
        axis.set_axis_off()
    c = first.configuration
    return save(figure, folder, "kolarik-figure3",
                f"Figure 3 of Kolarik et al. 2020: slice {k + 1} of {first.test['name'][case]}, the methods' "
                f"predictions, and the truth; DSC of the whole volume. Fold {c.fold}, seed {c.seed}. {about}")
