"""Line charts as SVG coordinates; the template draws them."""

from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 36
_POINTS = 300  # of a curve, at most: more than a panel has pixels to tell apart
TICKS = MaxNLocator(5, steps=[1, 2, 5, 10])
_number = FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−"))


@dataclass
class Series:
    """What curves of one colour have in common: its name, and how it is drawn."""

    label: str
    colour: str
    dashes: str = ""


@dataclass
class Panel:
    """One pair of axes: `curves` is [(number of the series, SVG points)], ticks are [(position, label)]."""

    title: str
    curves: list
    x_ticks: list
    y_ticks: list


@dataclass
class Chart:
    """Panels with common axes.

    Attributes:
      name: for ids; heading: of the chart; of: what a series is, 'layer' or 'method'.
      x_label, y_label: of the axes.
      series: list of `Series`; panels: list of `Panel`.
      ends: the chart in words, rows (label, text for each panel).
      caption: what it shows.
      commands: that make what it shows.
    """

    name: str
    heading: str
    of: str
    x_label: str
    y_label: str
    series: list
    panels: list
    ends: list
    caption: str
    commands: list


def chart(name, heading, of, labels, series, lines, ends, caption, commands, log=False):
    """Lays out a `Chart`.

    Args:
      labels: of the x and the y axis.
      series: list of `Series`.
      lines: {panel title: {number of the series: (x, y)}}.
      ends: {panel title: {number of the series: text}}.
      log: logarithmic y axis.
    """
    x_all = np.concatenate([[0], *(x for of_panel in lines.values() for x, _ in of_panel.values())])
    y_all = np.concatenate([y for of_panel in lines.values() for _, y in of_panel.values()])
    x_axis = Axis(x_all, LEFT, WIDTH - RIGHT, TICKS)
    decades = LogLocator(subs=(1, 2, 5)) if y_all.max() < 1000 * y_all.min() else LogLocator(numticks=6)
    y_axis = Axis(y_all, HEIGHT - BOTTOM, TOP, decades if log else TICKS, log, margin=0.04)
    panels = [Panel(title, [(k, _points(x_axis(x), y_axis(y))) for k, (x, y) in sorted(of_panel.items())],
                    x_axis.ticks, y_axis.ticks) for title, of_panel in lines.items()]
    table = [(one.label, [ends[title].get(k, "") for title in lines]) for k, one in enumerate(series)]
    return Chart(name, heading, of, *labels, series, panels, table, caption, commands)


class Axis:
    """Values to positions, and the ticks between."""

    def __init__(self, values, start, end, locator, log=False, margin=0.0):
        self.scale = np.log10 if log else np.asarray
        low, high = values.min(), values.max()
        if low == high:
            low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
        self.low, self.high = self.scale(low), self.scale(high)
        wider = margin * (self.high - self.low)
        self.low, self.high, self.start, self.end = self.low - wider, self.high + wider, start, end
        inside = [(float(self(tick)), _number(tick)) for tick in locator.tick_values(low, high)]
        self.ticks = [(p, text) for p, text in inside if min(start, end) - 0.5 <= p <= max(start, end) + 0.5]

    def __call__(self, values):
        return self.start + (self.scale(values) - self.low) / (self.high - self.low) * (self.end - self.start)


def _points(x, y):
    apart = -(-len(x) // _POINTS)
    kept = np.unique(np.append(np.arange(0, len(x), apart), len(x) - 1))
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[kept], y[kept], strict=True))
