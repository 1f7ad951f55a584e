"""The forest plot: differences with their intervals, beside the paper's differences."""

import math
from typing import NamedTuple

from experiments.analysis.captions import format_difference, title_of
from experiments.analysis.verdicts import HALF_A_POINT
from figures.style import BLACK, BLUE, GREY, plt, save

# Differences beyond this are given in the note, so that they do not stretch the axis.
FAR = 0.10
_NAN = (math.nan,) * 3
_PAPER = {"color": GREY, "marker": "D", "markerfacecolor": "white", "markersize": 5.5}
_OURS = {"color": BLUE, "marker": "o", "markersize": 5.5}


class Row(NamedTuple):
    """One difference first − second in Dice.

    Attributes:
      label, structure: of the difference.
      first, second: the methods.
      paper, ours: (mean, low, high), NaN where there is none.
      verdict: on the claim that it is above 0, or ''.
    """

    label: str
    structure: str
    first: str
    second: str
    paper: tuple
    ours: tuple
    verdict: str

    @property
    def texts(self):
        """(paper's difference, ours) in words."""
        mean, low, high = self.paper
        spread = f" ± {50 * (high - low):.1f}" if math.isfinite(high - low) else ""
        return ("" if math.isnan(mean) else f"{100 * mean:+.2f}{spread}",
                "" if math.isnan(self.ours[0]) else format_difference(*self.ours))


def rows(judged, differences, rule):
    """The `Row`s of a paper's claims where any of them has runs, else of ILN − each other method.

    Args:
      judged: tidy rows of the table 'verdicts', or None.
      differences: tidy rows of the table 'differences'.
      rule: by which learning rates were chosen.
    """
    if judged and any(r["verdict"] != "no data" for r in judged):
        return [Row(r["claim"].removesuffix(f" ({r['structure']})"), r["structure"], r["first"], r["second"],
                    (r["paper_difference"], r["paper_low"], r["paper_high"]), (r["difference"], r["low"], r["high"]),
                    r["verdict"]) for r in judged]
    return [Row(f"ILN − {title_of(r['other'])}", r["structure"], "iln", r["other"], _NAN,
                (r["difference"], r["low"], r["high"]), "") for r in differences
            if r["measure"] == "dice" and not r["without"] and r["rule"] == rule]


def within_axis(entries):
    """The `Row`s that are drawn: those not beyond FAR, or all if all are beyond it."""
    return [r for r in entries if not abs(r.ours[0]) > FAR] or entries


def axis_limits(shown):
    """(low, high) of the axis in points: the ends of the intervals, up to the range of all means beyond these."""
    means = [100 * m for r in shown for m in (r.paper[0], r.ours[0]) if not math.isnan(m)] + [0.0, 100 * HALF_A_POINT]
    ends = [100 * e for r in shown for e in (*r.paper[1:], *r.ours[1:]) if math.isfinite(e)]
    low, high = min(means), max(means)
    reach = max(high - low, 1.0)
    return (max(min([low, *ends]), low - reach) - 0.3, min(max([high, *ends]), high + reach) + 0.3)


def draw(folder, name, entries, labels, caption):
    """Draws differences, a panel for each structure, with their numbers at the right.

    Args:
      entries: `Row`s.
      labels: of the axis, of the paper's values, and of ours.
      caption: text below the figure.
    """
    axis_label, theirs, ours = labels
    shown = within_axis(entries)
    structures = list(dict.fromkeys(r.structure for r in shown))
    counts = [sum(r.structure == s for r in shown) for s in structures]
    figure, axes = plt.subplots(len(structures), 1, figsize=(8, 1.1 + 0.3 * sum(counts) + 0.45 * len(counts)),
                                layout="constrained", sharex=True, squeeze=False, height_ratios=counts)
    columns = {k: heading for k, heading in enumerate(("paper", ours.split(",")[0], "verdict"))
               if any(_texts(r)[k] for r in shown)}
    for axis, structure in zip(axes[:, 0], structures, strict=True):
        _panel(axis, structure, [r for r in shown if r.structure == structure], columns)
    axes[0, 0].set_xlim(axis_limits(shown))
    axes[-1, 0].set_xlabel(axis_label)
    if 0 in columns:
        axes[0, 0].legend(handles=[plt.Line2D([], [], label=theirs, linewidth=0, **_PAPER),
                                   plt.Line2D([], [], label=ours, linewidth=0, **_OURS)],
                          loc="lower right", bbox_to_anchor=(1, 1.0), ncols=2, fontsize=8)
    beyond = ", ".join(f"{r.label} ({r.structure}) {r.texts[1]}" for r in entries if r not in shown)
    return save(figure, folder, name, caption + (f" Beyond the axis: {beyond}." if beyond else ""))


def draw_claims(folder, entries, about):
    """Draws the forest plot of `rows`.

    Args:
      about: text on data, protocol, n, rates, seeds and rule.
    """
    published = any(not math.isnan(r.paper[0]) for r in entries)
    return draw(folder, "forest", entries,
                ("difference in points of Dice; right of 0 the first-named method is the better",
                 "paper ± half its 95 % interval", "these runs, 95 % interval"),
                f"{'The paper’s claims' if published else 'ILN − other'} as differences in Dice, mean over the "
                "subjects of all folds, with 95 % intervals where there are several seeds; dotted: half a point"
                f"{'; diamonds: the paper, over its three folds' if published else ''}. {about}")


def draw_chance(folder, tidy, caption):
    """Draws the gain by chance of the best of several rates.

    Args:
      tidy, caption: tidy rows and caption of the table 'best-by-chance'.
    """
    entries = [Row(r["of"], r["structure"], "", "", (r["paper"], math.nan, math.nan), (r["gain"], r["low"], r["high"]),
                 "") for r in tidy]
    return draw(folder, "best-by-chance", entries,
                ("points of Dice that the best of several rates gives by chance", "the paper's difference",
                 "by chance, 95 % interval"), caption)


def _texts(r):
    return (*r.texts, r.verdict)


def _panel(axis, structure, shown, columns):
    for y, r in enumerate(shown):
        shift = 0.16 if not math.isnan(r.paper[0]) else 0
        _interval(axis, y + shift, r.paper, _PAPER, 1.0)
        _interval(axis, y - shift, r.ours, _OURS, 2.2)
    axis.axvline(0, color=BLACK, linewidth=0.9)
    axis.axvline(100 * HALF_A_POINT, color=BLACK, linewidth=0.9, linestyle=":")
    axis.set_yticks(range(len(shown)), [r.label for r in shown])
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.set_title(structure, loc="left", fontsize=10, fontweight="bold")
    axis.grid(False, axis="y")
    axis.tick_params(axis="y", length=0)
    right, x = axis.get_yaxis_transform(), 1.02
    for k, heading in columns.items():
        axis.text(x, -0.75, heading, transform=right, va="bottom", fontsize=8, color=GREY)
        for y, r in enumerate(shown):
            axis.text(x, y, _texts(r)[k], transform=right, va="center", fontsize=8,
                      fontweight="bold" if k == 2 else "normal")
        x += (0.19, 0.31, 0)[k]


def _interval(axis, y, values, style, width):
    mean, low, high = values
    if math.isfinite(high - low):
        axis.plot([100 * low, 100 * high], [y, y], color=style["color"], linewidth=width, solid_capstyle="butt")
    if not math.isnan(mean):
        axis.plot(100 * mean, y, **style)
