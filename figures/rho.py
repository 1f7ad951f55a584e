"""Figure 3: the gates of one run over training, and the final gates of all runs."""

import numpy as np

from figures.style import BLACK, BLUE, CYCLE, MARKERS, ORANGE, plt, save
from ilnrepro.norms import METHODS, method
from ilnrepro.norms.rules import gated_part, undone_channels

DRAWN = 8


def draw(folder, run, final_rho, about, name="figure3-rho"):
    """Draws gates in two panels: of one run over training, and of all runs at the end of training.

    The left panel has eight layers, chosen at random. The right one has all layers, with mean and range over runs, and
    the one run beside them. Layers whose gates theory freezes (ILN with GN16) are marked.

    A gate is ρ itself where a layer has one number. Otherwise it is the share of the first map: a mean over the layer,
    with a band between the quartiles where each channel has its own.

    Args:
      run: a `Run` of a method with gates; the paper shows ILN on LV-1.
      final_rho: ρ at the end of all runs at their chosen rates, `[runs, layers]`; None where a layer has several
        numbers.
      about: text on data, protocol, n, rates, seeds and rule.
    """
    c = run.configuration
    part = gated_part(method(c.method).rule)
    one, each = run.rho.shape[2] == 1, part.gate.shape is None
    first = next((row.title for row in METHODS.values() if row.rule == part.first), "the first map")
    gate, shown = (run.rho[:, :, 0], "ρ") if one else (run.gate, f"share of {first}")
    undone = undone_channels(method(c.method).rule, c.protocol.settings)
    frozen = np.array(run.channels) == (undone or 0)
    labels = [f"{layer} ({channels})" for layer, channels in zip(run.layers, run.channels, strict=True)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    _curves(left, run, gate, frozen, each)
    left.set(xlabel="step", ylabel=shown, title="one run, eight layers drawn at random")
    _final_gates(right, gate[-1], final_rho, labels, frozen)
    right.set(xlabel=f"{shown} at the end of training", title="all layers (channels)")
    number = "Figure 3. " if name.startswith("figure3") else "Gates: "
    return save(figure, folder, name,
                f"{number}{shown} over training, method {c.method}, {c.structure}-{c.fold}, rate {c.rate:g}, seed "
                f"{c.seed}{'' if final_rho is None else f'; right: mean and range over {len(final_rho)} runs'}. "
                f"{_note(gate, frozen, undone, part)}{about}")


def _curves(axis, run, gate, frozen, each):
    drawn = np.sort(np.random.default_rng(0).permutation(len(run.layers))[:DRAWN])
    interval = max(1, len(run.gate_step) // 8)
    for n, i in enumerate(drawn):
        axis.plot(run.gate_step, gate[:, i], "--" if frozen[i] else "-", color=CYCLE[n], marker=MARKERS[n],
                  markevery=(n, interval), markersize=4, label=run.layers[i])
        if each:
            axis.fill_between(run.gate_step, run.rho[:, i, 1], run.rho[:, i, 3], color=CYCLE[n], alpha=0.12,
                              linewidth=0)
    axis.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def _final_gates(axis, of_run, of_runs, labels, frozen):
    places = np.arange(len(labels))
    if of_runs is not None and len(of_runs) > 1:
        axis.hlines(places, of_runs.min(0), of_runs.max(0), color=BLUE, linewidth=2)
        axis.plot(of_runs.mean(0), places, "o", color=BLUE, markersize=4.5,
                  label=f"mean and range of {len(of_runs)} runs")
    axis.plot(of_run, places, "D", color=ORANGE, markeredgecolor=BLACK, markeredgewidth=0.6, markersize=4,
              label="the run on the left")
    axis.set_yticks(places, [f"{label} *" if still else label for label, still in zip(labels, frozen, strict=True)],
                    fontsize=7)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def _note(gate, frozen, undone, part):
    change = np.abs(gate - gate[0]).max(axis=0)
    if frozen.any():
        return (f"Layers of {undone} channels (dashed, starred) stay at their start: GN{undone} over {undone} channels "
                "is one channel a group and undoes the mix, so ρ gets no gradient beyond ε's; largest change measured "
                f"{change[frozen].max(initial=0):.1e}, against {change[~frozen].max(initial=0):.2g} in the others. ")
    if part.gate.shape is None:
        return "Each channel has its own: mean over a layer's channels, band between their quartiles. "
    if len(part.gate.shape) == 2:
        return "The mean of its weight among the means and of that among the variances. "
    return ""
