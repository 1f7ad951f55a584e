"""Learning curves: the loss over training, by method."""

import numpy as np

from figures.style import CYCLE, plt, save
from ilnrepro.norms import method as method_row


def window(runs):
    """Steps of the running median of losses: a twenty-fifth of the longest run."""
    return max(1, max(len(run.loss) for run in runs) // 25)


def smoothed(loss, width):
    """(steps, running median over `width` steps) of the finite part of a loss curve.

    A median, for where a rate is too high single losses are many orders of magnitude above all others.
    """
    from scipy.ndimage import median_filter

    finite = loss[np.isfinite(loss)]
    if len(finite) < width:
        return np.arange(len(finite)) + 1, finite
    whole = slice(width // 2, len(finite) - (width - 1) // 2)  # where the window has all its steps
    return np.arange(width, len(finite) + 1), median_filter(finite, width)[whole]


def rate_falls(runs):
    """How the learning rate falls over training, in words; nothing where it stays."""
    protocol = runs[0].configuration.protocol
    return (f"The rate falls {protocol.rate_divisor:g}-fold at every epoch after the first of {protocol.epochs}. "
            if protocol.rate_divisor != 1 else "")


def draw(folder, runs, about):
    """Draws the loss of one run a method and structure.

    Args:
      runs: `Run`s; one panel a structure.
      about: data, protocol, n, rates, seeds and rule in words.
    """
    methods = list(dict.fromkeys(run.configuration.method for run in runs))
    structures = list(dict.fromkeys(run.configuration.structure for run in runs))
    width = window(runs)
    figure, axes = plt.subplots(1, len(structures), figsize=(5.4 * len(structures), 3.4), layout="constrained",
                                squeeze=False, sharey=True)
    for axis, structure in zip(axes[0], structures, strict=True):
        group = [run for run in runs if run.configuration.structure == structure]
        for run in group:
            n = methods.index(run.configuration.method)
            label = method_row(run.configuration.method).title + (" (diverged)" if run.status == "diverged" else "")
            axis.plot(*smoothed(run.loss, width), color=CYCLE[n % len(CYCLE)],
                      linestyle=("-", "--", ":", "-.")[(n + n // len(CYCLE)) % 4], linewidth=1.2,
                      label=f"{label}, rate {run.configuration.rate:g}")
        axis.set(xlabel="step", yscale="log", title=f"{structure}-{group[0].configuration.fold}")
        axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    axes[0, 0].set_ylabel(f"loss ({runs[0].configuration.protocol.loss}), running median")
    return save(figure, folder, "learning-curves",
                f"Learning curves: training loss, running median over {width} steps, each method at its chosen "
                f"rate. {rate_falls(runs)}{about}")
