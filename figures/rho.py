"""Figure 3: the gates' parameter ρ over training."""

import numpy as np

from figures.style import BLACK, CYCLE, MARKERS, plt, save

DRAWN = 8


def draw(folder, run):
    """Draws ρ of eight layers drawn at random, and of all, the layers that the theory freezes marked.

    Args:
      run: a `Run` of ILN; the paper shows LV-1's.
    """
    rho = run.rho[:, :, 0]
    layers, channels = np.array(run.layers), np.array(run.channels)
    frozen = channels == 16
    drawn = np.sort(np.random.default_rng(0).permutation(len(layers))[:DRAWN])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained", sharey=True)
    every = max(1, len(run.gate_step) // 8)
    for n, i in enumerate(drawn):
        left.plot(run.gate_step, rho[:, i], "--" if frozen[i] else "-", color=CYCLE[n], marker=MARKERS[n],
                  markevery=(n, every), markersize=4, label=f"{layers[i]}" + (" (16 ch.)" if frozen[i] else ""))
    left.set(xlabel="step", ylabel="ρ", title="eight layers drawn at random")
    left.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, len(layers)))
    for i in range(len(layers)):
        if frozen[i]:
            right.plot(run.gate_step, rho[:, i], "--", color=BLACK, linewidth=2, zorder=3)
        else:
            right.plot(run.gate_step, rho[:, i], color=colours[i], linewidth=1)
    right.set(xlabel="step", title=f"all {len(layers)} layers, first (dark) to last (light)")
    right.plot([], [], "--", color=BLACK, linewidth=2, label=f"{frozen.sum()} layers of 16 channels")
    right.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    change = np.abs(rho - rho[0]).max(axis=0)
    still, moving = change[frozen].max(initial=0), change[~frozen].max(initial=0)
    c = run.configuration
    note = (f"Layers of 16 channels (dashed) stay at their start: GN16 over 16 channels is one channel a group and "
            f"undoes the mix, so ρ gets no gradient beyond ε's; largest change measured {still:.1e}, "
            f"against {moving:.2g} in the others. " if c.method == "iln" else "")
    return save(figure, folder, "figure3-rho",
                f"Figure 3. ρ over training, method {c.method}, {c.structure}-{c.fold}, rate {c.rate:g}, seed "
                f"{c.seed}, protocol {c.protocol.name}, {'SYNTHETIC ' if run.synthetic else ''}data "
                f"({c.dataset}). {note}".strip())
