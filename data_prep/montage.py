"""The montage of a data set: some of its images with the masks' contours."""

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from ilnrepro.ops.metrics import fullest_slice
from ilnrepro.storage import files

SUBJECTS, SLICES = 6, 6


def montage(data, output, seed=0):
    """Draws six random subjects, a row each, with six of their images in order and contours in red.

    A subject with one volume is shown by six of its slices; with several volumes, by the slice with the largest mask of
    each.

    Raises:
      InputError: `output` cannot be written.
    """
    subjects = np.unique(data.subject)
    drawn = np.sort(np.random.default_rng(seed).permutation(subjects)[:SUBJECTS])
    figure, axes = plt.subplots(len(drawn), SLICES, figsize=(1.9 * SLICES, 1.95 * len(drawn) + 0.6), squeeze=False,
                                layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for row, subject in zip(axes, drawn, strict=True):
        indices = np.flatnonzero(data.subject == subject)
        images, masks = data.images[indices], data.masks[indices]
        if images.ndim == 4:
            parts = range(images.shape[1]) if len(images) == 1 else [fullest_slice(mask) for mask in masks]
            which = np.zeros(len(parts), int) if len(images) == 1 else np.arange(len(parts))
            images, masks = images[which, parts], masks[which, parts]
        shown = np.unique(np.linspace(0, len(images) - 1, SLICES).round().astype(int))
        row[0].set_title(f"{subject}, fold {data.fold[indices[0]]}", fontsize=8, loc="left")
        for axis, index in zip(row, shown, strict=False):
            image, mask = images[index], masks[index]
            axis.imshow(image, cmap="gray", vmin=image.min(), vmax=np.percentile(image, 99.5))
            if mask.any() and not mask.all():
                axis.contour(mask, [0.5], colors="red", linewidths=0.8)
    synthetic = "SYNTHETIC: " if data.synthetic else ""
    figure.suptitle(f"{synthetic}{data.title}: {data.size}", fontsize=10)
    try:
        files.write_figure(output, figure, dpi=130)
    finally:
        plt.close(figure)
