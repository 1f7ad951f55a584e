"""Figure 1: the Clip and Sigmoid functions."""

import numpy as np
import tensorflow as tf

from figures.style import BLUE, VERMILION, plt, save
from ilnrepro.norms import reference


def draw(folder):
    """Draws Clip(ρ) and Sigmoid(ρ), with the start ρ = 0.5 on each."""
    rho = np.linspace(-4, 4, 801)
    figure, axis = plt.subplots(figsize=(4.5, 3), layout="constrained")
    for name, gate, colour, style in (("Clip(ρ)", reference.clip, VERMILION, "--"),
                                      ("Sigmoid(ρ)", reference.sigmoid, BLUE, "-")):
        axis.plot(rho, gate(tf.constant(rho)), style, color=colour, label=name)
        start = float(gate(tf.constant(0.5)))
        axis.plot(0.5, start, "o", color=colour)
        axis.annotate(f"{start:.3f}", (0.5, start), (8, -10), textcoords="offset points", color=colour)
    axis.set(xlabel="ρ", ylabel="share of instance normalization")
    axis.legend()
    return save(figure, folder, "figure1-gates",
                "Figure 1. The gates Clip(ρ) and Sigmoid(ρ). Dots: the start ρ = 0.5. Clip has kinks at 0 and 1; "
                "Sigmoid is smooth everywhere.")
