"""The style of all figures: colours that colour-blind readers can tell apart, and sizes that suit print."""

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from ilnrepro.storage import files

# Okabe and Ito's palette.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
GREY = "#8A8A8A"  # for lines, on white, in place of the yellow
# Neighbours differ in hue and in lightness, and so do the two to which `line_style` gives the same dashes.
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, BLACK, SKY, GREY)
DASHES = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2))
MARKERS = "os^Dv<>PXph"

plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
                     "grid.alpha": 0.25, "legend.frameon": False, "lines.linewidth": 1.5, "savefig.dpi": 200,
                     "pdf.fonttype": 42, "svg.hashsalt": "ilnrepro"})


def save(figure, folder, name, caption):
    """Saves a figure as PNG and PDF with its caption below it, and returns the PNG's path."""
    folder = Path(folder)
    width = int(figure.get_size_inches()[0] * 17)
    figure.text(0.01, -0.01, "\n".join(textwrap.wrap(caption, width)), va="top", ha="left", fontsize=7.5)
    for suffix in ("png", "pdf"):
        metadata = {"CreationDate": None} if suffix == "pdf" else {"Description": caption}
        files.write_figure(folder / f"{name}.{suffix}", figure, bbox_inches="tight", pad_inches=0.1, metadata=metadata)
    plt.close(figure)
    return folder / f"{name}.png"


def line_style(n):
    """Colour, dashes and marker of the nth curve; no two of the first 32 share the colour and either of the others."""
    return {"color": CYCLE[n % len(CYCLE)], "dashes": DASHES[(n + n // len(CYCLE)) % len(DASHES)],
            "marker": MARKERS[n % len(MARKERS)], "markersize": 3.5}
