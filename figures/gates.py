"""Figure 1: the Clip and Sigmoid functions."""

import numpy as np

from figures.style import BLUE, VERMILION, plt, save

GATES = {"Clip(ρ)": lambda rho: np.clip(rho, 0, 1), "Sigmoid(ρ)": lambda rho: 1 / (1 + np.exp(-rho))}


def draw(folder):
    """Draws Clip(ρ) and Sigmoid(ρ), with the start ρ = 0.5 on each."""
    rho = np.linspace(-4, 4, 801)
    figure, axis = plt.subplots(figsize=(4.5, 3), layout="constrained")
    for (name, gate), colour, style in zip(GATES.items(), (VERMILION, BLUE), ("--", "-"), strict=True):
        axis.plot(rho, gate(rho), style, color=colour, label=name)
        start = gate(0.5)
        axis.plot(0.5, start, "o", color=colour)
        axis.annotate(f"{start:.3f}", (0.5, start), (8, -10), textcoords="offset points", color=colour)
    axis.set(xlabel="ρ", ylabel="share of instance normalization")
    axis.legend()
    return save(figure, folder, "figure1-gates",
                "Figure 1. The gates Clip(ρ) and Sigmoid(ρ). Dots: the start ρ = 0.5. Clip has kinks at 0 and 1; "
                "Sigmoid is smooth everywhere.")
