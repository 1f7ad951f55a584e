"""Learning curves: the loss over training, by method."""

import numpy as np

from figures.style import line_style, plt, save
from ilnrepro.norms import method as method_row


def median_window(runs):
    """The number of steps of the running median of losses: a twenty-fifth of the longest run."""
    return max(1, max(len(run.loss) for run in runs) // 25)


def running_median(loss, width):
    """(steps, running median over `width` steps) of the finite part of a loss curve.

    It is a median because single losses are many orders of magnitude above all others where a rate is too high.
    """
    from scipy.ndimage import median_filter

    finite = loss[np.isfinite(loss)]
    if len(finite) < width:
        return np.arange(len(finite)) + 1, finite
    whole = slice(width // 2, len(finite) - (width - 1) // 2)  # where the window has all its steps
    return np.arange(width, len(finite) + 1), median_filter(finite, width)[whole]


def about_rate(runs):
    """A sentence on how the learning rate falls over training; '' where it stays."""
    protocol = runs[0].configuration.protocol
    return (f"The rate falls {protocol.rate_divisor:g}-fold at each epoch after the first of {protocol.epochs}. "
            if protocol.rate_divisor != 1 else "")


def draw(folder, runs, about):
    """Draws the losses of runs, in a panel for each structure and fold.

    Args:
      runs: `Run`s, one for each method, structure and fold.
      about: text on data, protocol, n, rates, seeds and rule.
    """
    methods = list(dict.fromkeys(run.configuration.method for run in runs))
    structures = sorted({run.configuration.structure for run in runs})
    folds = sorted({run.configuration.fold for run in runs})
    width = median_window(runs)
    figure, axes = plt.subplots(len(structures), len(folds), figsize=(2.9 * len(folds) + 1.8, 3.1 * len(structures)),
                                layout="constrained", squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat:
        axis.set_visible(False)
    for run in sorted(runs, key=lambda run: methods.index(run.configuration.method)):
        c = run.configuration
        axis = axes[structures.index(c.structure), folds.index(c.fold)]
        axis.set_visible(True)
        n, (steps, loss) = methods.index(c.method), running_median(run.loss, width)
        interval = max(1, len(steps) // 6)
        axis.plot(steps, loss, linewidth=1.1, markevery=(n * interval // len(methods), interval), **line_style(n))
        axis.set(xlabel="step", yscale="log", title=f"{c.structure}-{c.fold}")
    for row in axes:
        row[0].set_ylabel(f"loss ({runs[0].configuration.protocol.loss}), running median")
    keys = [plt.Line2D([], [], label=_label(method, [r for r in runs if r.configuration.method == method]),
                       linewidth=1.6, **line_style(n)) for n, method in enumerate(methods)]
    figure.legend(handles=keys, loc="outside right upper", fontsize=7.5, handlelength=3.2)
    return save(figure, folder, "learning-curves",
                f"Learning curves: training loss, running median over {width} steps, each method at its chosen "
                f"rates. {about_rate(runs)}{about}")


def _label(method, runs):
    """'ILN, rates 0.5, 1.5, 0.5': rates in the order of folds, with '(diverged)' where a run did."""
    runs = sorted(runs, key=lambda run: (run.configuration.structure, run.configuration.fold))
    rates = [f"{r.configuration.rate:g}{' (diverged)' if r.status == 'diverged' else ''}" for r in runs]
    shown = rates[0] if len(set(rates)) == 1 else ", ".join(rates)
    return f"{method_row(method).title}, rate{'s'[:len(set(rates)) > 1]} {shown}"
