"""Figure 3: the gates over training."""

import numpy as np

from figures.style import BLACK, CYCLE, MARKERS, plt, save
from ilnrepro.norms import METHODS, method
from ilnrepro.norms.rules import gated_part, undone_on

DRAWN = 8


def draw(folder, run, about, name="figure3-rho"):
    """Draws the gates of eight layers drawn at random, and of all; for ILN, the layers that the theory freezes marked.

    A gate is ρ itself where a layer has one number, and otherwise the first map's share: a mean over the layer, with a
    band between the quartiles where each channel has its own.

    Args:
      run: a `Run` of a method with gates; the paper shows ILN on LV-1.
      about: data, protocol, n, rates, seeds and rule in words.
    """
    c = run.configuration
    part = gated_part(method(c.method).rule)
    one, each = run.rho.shape[2] == 1, part.gate.shape is None
    first = next((row.title for row in METHODS.values() if row.rule == part.first), "the first map")
    gate, shown = (run.rho[:, :, 0], "ρ") if one else (run.gate, f"share of {first}")
    layers, channels = np.array(run.layers), np.array(run.channels)
    undone = undone_on(method(c.method).rule, c.protocol.settings)
    frozen = channels == (undone or 0)
    drawn = np.sort(np.random.default_rng(0).permutation(len(layers))[:DRAWN])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained", sharey=True)
    every = max(1, len(run.gate_step) // 8)
    for n, i in enumerate(drawn):
        left.plot(run.gate_step, gate[:, i], "--" if frozen[i] else "-", color=CYCLE[n], marker=MARKERS[n],
                  markevery=(n, every), markersize=4, label=f"{layers[i]}" + (f" ({undone} ch.)" if frozen[i] else ""))
        if each:
            left.fill_between(run.gate_step, run.rho[:, i, 1], run.rho[:, i, 3], color=CYCLE[n], alpha=0.12,
                              linewidth=0)
    left.set(xlabel="step", ylabel=shown, title="eight layers drawn at random")
    left.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, len(layers)))
    for i in range(len(layers)):
        if frozen[i]:
            right.plot(run.gate_step, gate[:, i], "--", color=BLACK, linewidth=2, zorder=3)
        else:
            right.plot(run.gate_step, gate[:, i], color=colours[i], linewidth=1)
    right.set(xlabel="step", title=f"all {len(layers)} layers, first (dark) to last (light)")
    if frozen.any():
        right.plot([], [], "--", color=BLACK, linewidth=2, label=f"{frozen.sum()} layers of {undone} channels")
        right.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    change = np.abs(gate - gate[0]).max(axis=0)
    still, moving = change[frozen].max(initial=0), change[~frozen].max(initial=0)
    note = ""
    if each:
        note = "Each channel has its own: mean over a layer's channels, band between their quartiles. "
    elif len(part.gate.shape) == 2:
        note = "The mean of its weight among the means and of that among the variances. "
    if frozen.any():
        note = (f"Layers of {undone} channels (dashed) stay at their start: GN{undone} over {undone} channels is one "
                f"channel a group and undoes the mix, so ρ gets no gradient beyond ε's; largest change measured "
                f"{still:.1e}, against {moving:.2g} in the others. ")
    number = "Figure 3. " if name.startswith("figure3") else "Gates: "
    return save(figure, folder, name,
                f"{number}{shown} over training, method {c.method}, {c.structure}-{c.fold}, rate {c.rate:g}, seed "
                f"{c.seed}. {note}{about}")
