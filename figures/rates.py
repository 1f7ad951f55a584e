"""The grid method × learning rate: how robust a method is to the choice of the rate."""

from typing import NamedTuple

import numpy as np

from experiments.analysis.captions import marks, ordered, title_of
from figures.style import plt, save


class Grid(NamedTuple):
    """One structure's runs.

    Attributes:
      methods, rates: of rows and columns.
      dice: mean Dice per image, mean over the folds and seeds, `[methods, rates]`; NaN where there is no run.
      marks: of `captions.marks`, `[methods][rates]`.
    """

    methods: list
    rates: list
    dice: np.ndarray
    marks: list

    @property
    def limits(self):
        """(low, high) of the colours: the best, and a quarter of Dice below it or the least if that is more."""
        found = self.dice[np.isfinite(self.dice)]
        return max(found.min(), found.max() - 0.25), found.max()


def grids(rows):
    """{structure: `Grid`} of the tidy rows of the table 'rates'."""
    made = {}
    for structure in dict.fromkeys(r["structure"] for r in rows):
        cells = {}
        for r in rows:
            if r["structure"] == structure:
                cells.setdefault((r["method"], r["rate"]), []).append(r)
        methods = ordered({method for method, _ in cells})
        rates = sorted({rate for _, rate in cells}, reverse=True)
        table = [[cells.get((method, rate), []) for rate in rates] for method in methods]
        dice = np.array([[np.mean([r["dice"] for r in runs]) if runs else np.nan for runs in row] for row in table])
        folds = len({r["fold"] for r in rows if r["structure"] == structure})
        made[structure] = Grid(methods, rates, dice, [[marks(runs, folds) for runs in row] for row in table])
    return made


def draw(folder, rows, caption):
    """Draws the heat map, one panel a structure.

    Args:
      rows: tidy rows of the table 'rates'; caption: its caption.
    """
    found = grids(rows)
    height = max(len(grid.methods) for grid in found.values())
    figure, axes = plt.subplots(1, len(found), figsize=(max(5, 4.6 * len(found)), 1.1 + 0.36 * height),
                                layout="constrained", squeeze=False)
    for axis, (structure, grid) in zip(axes[0], found.items(), strict=True):
        low, high = grid.limits
        axis.imshow(grid.dice, cmap="Blues", vmin=low, vmax=max(high, low + 1e-3), aspect="auto")
        for i, j in np.argwhere(np.isfinite(grid.dice)):
            dark = grid.dice[i, j] > low + 0.6 * (high - low)
            text = f"{grid.dice[i, j]:.3f}" + (f"\n{grid.marks[i][j]}" if grid.marks[i][j] else "")
            axis.text(j, i, text, ha="center", va="center", fontsize=7, linespacing=0.9,
                      color="white" if dark else "black", fontweight="bold" if grid.marks[i][j] else "normal")
        axis.set(xlabel="learning rate", title=structure)
        axis.set_xticks(range(len(grid.rates)), [f"{rate:g}" for rate in grid.rates])
        axis.set_yticks(range(len(grid.methods)), [title_of(m) for m in grid.methods])
        axis.grid(False)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    return save(figure, folder, "rates", caption + " Colours: from a quarter of Dice below the best, or the least.")
