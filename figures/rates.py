"""The heat map of Dice by method and learning rate, which shows how robust a method is to the choice of the rate."""

from typing import NamedTuple

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from experiments.analysis.captions import marks, sort_methods, title_of
from figures.style import plt, save

_COLOURS = LinearSegmentedColormap.from_list("blues", plt.get_cmap("Blues")(np.linspace(0.18, 0.95, 256)))


class Grid(NamedTuple):
    """The scores of one structure's runs.

    Attributes:
      methods, rates: of rows and columns.
      dice: mean Dice per image, mean over folds and seeds, `[methods, rates]`; NaN where there is no run.
      marks: texts of `captions.marks`, `[methods][rates]`.
    """

    methods: list
    rates: list
    dice: np.ndarray
    marks: list

    @property
    def limits(self):
        """(low, high) of the colours: from a quarter of Dice below the best, or from the lowest, to the best."""
        dice = self.dice[np.isfinite(self.dice)]
        return max(dice.min(), dice.max() - 0.25), dice.max()


def grids(rows):
    """{structure: `Grid`} of the tidy rows of the table 'rates'."""
    by_structure = {}
    for structure in dict.fromkeys(r["structure"] for r in rows):
        cells = {}
        for r in rows:
            if r["structure"] == structure:
                cells.setdefault((r["method"], r["rate"]), []).append(r)
        methods = sort_methods({method for method, _ in cells})
        rates = sorted({rate for _, rate in cells}, reverse=True)
        table = [[cells.get((method, rate), []) for rate in rates] for method in methods]
        dice = np.array([[np.mean([r["dice"] for r in runs]) if runs else np.nan for runs in row] for row in table])
        folds = len({r["fold"] for r in rows if r["structure"] == structure})
        by_structure[structure] = Grid(methods, rates, dice, [[marks(runs, folds) for runs in row] for row in table])
    return by_structure


def draw(folder, rows, caption):
    """Draws the heat map, a panel for each structure; cells with lost runs are hatched.

    Args:
      rows, caption: tidy rows and caption of the table 'rates'.
    """
    panels = grids(rows)
    height = max(len(grid.methods) for grid in panels.values())
    figure, axes = plt.subplots(1, len(panels), figsize=(max(5.6, 5.2 * len(panels)), 1.3 + 0.4 * height),
                                layout="constrained", squeeze=False)
    for axis, (structure, grid) in zip(axes[0], panels.items(), strict=True):
        low, high = grid.limits
        picture = axis.imshow(grid.dice, cmap=_COLOURS, vmin=low, vmax=max(high, low + 1e-3), aspect="auto")
        for i, j in np.argwhere(np.isfinite(grid.dice)):
            lost = bool(grid.marks[i][j])
            dark = grid.dice[i, j] > low + 0.55 * (high - low)
            if lost:
                axis.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="#EFEFEF", edgecolor="#B5B5B5",
                                             hatch="////", linewidth=0))
            axis.text(j, i, f"{grid.dice[i, j]:.3f}" + (f"\n{grid.marks[i][j]}" if lost else ""), ha="center",
                      va="center", fontsize=7, linespacing=0.95, color="white" if dark and not lost else "black",
                      bbox={"facecolor": "#EFEFEF", "edgecolor": "none", "pad": 0.8} if lost else None)
        axis.set(xlabel="learning rate", title=structure)
        axis.set_xticks(range(len(grid.rates)), [f"{rate:g}" for rate in grid.rates])
        axis.set_yticks(range(len(grid.methods)), [title_of(m) for m in grid.methods])
        axis.grid(False)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        figure.colorbar(picture, ax=axis, label="mean Dice", extend="min" if np.nanmin(grid.dice) < low else "neither",
                        aspect=30)
    return save(figure, folder, "rates", f"{caption} Colours end a quarter of Dice below the best, or at the least; "
                "hatched: runs lost or missing.")
