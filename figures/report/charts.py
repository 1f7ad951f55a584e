"""Line charts as SVG coordinates, which the template draws."""

from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 36
_POINTS = 300  # largest number of points of a curve; a panel has no pixels for more
TICKS = MaxNLocator(5, steps=[1, 2, 5, 10])
_number = FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−"))


@dataclass
class Series:
    """The name and the style that the curves of one colour share."""

    label: str
    colour: str
    dashes: str = ""


@dataclass
class Panel:
    """One pair of axes.

    Attributes:
      curves: [(number of the series, SVG points)].
      x_ticks, y_ticks: [(position, label)].
    """

    title: str
    curves: list
    x_ticks: list
    y_ticks: list


@dataclass
class Chart:
    """Panels with common axes.

    Attributes:
      name, heading: for ids, and for people.
      of: what a series is, 'layer' or 'method'.
      x_label, y_label: of the axes.
      series, panels: lists of `Series` and `Panel`s.
      final_values: the chart in words, rows (label, text for each panel).
      caption: text below the chart.
      commands: the commands that make the runs that it shows.
    """

    name: str
    heading: str
    of: str
    x_label: str
    y_label: str
    series: list
    panels: list
    final_values: list
    caption: str
    commands: list


def lay_out(name, heading, of, labels, series, lines, final_values, caption, commands, log=False):
    """Lays out a `Chart`.

    Args:
      labels: of the x and the y axis.
      series: list of `Series`.
      lines: {panel title: {number of the series: (x, y)}}.
      final_values: {panel title: {number of the series: text}}.
      log: whether the y axis is logarithmic.
    """
    x_all = np.concatenate([[0], *(x for curves in lines.values() for x, _ in curves.values())])
    y_all = np.concatenate([y for curves in lines.values() for _, y in curves.values()])
    x_axis = Axis(x_all, LEFT, WIDTH - RIGHT, TICKS)
    decades = LogLocator(subs=(1, 2, 5)) if y_all.max() < 1000 * y_all.min() else LogLocator(numticks=6)
    y_axis = Axis(y_all, HEIGHT - BOTTOM, TOP, decades if log else TICKS, log, margin=0.04)
    panels = [Panel(title, [(k, _points(x_axis(x), y_axis(y))) for k, (x, y) in sorted(curves.items())],
                    x_axis.ticks, y_axis.ticks) for title, curves in lines.items()]
    table = [(line.label, [final_values[title].get(k, "") for title in lines]) for k, line in enumerate(series)]
    return Chart(name, heading, of, *labels, series, panels, table, caption, commands)


class Axis:
    """An axis: it maps values to positions, and has ticks [(position, label)]."""

    def __init__(self, values, start, end, locator, log=False, margin=0.0):
        self.scale = np.log10 if log else np.asarray
        low, high = values.min(), values.max()
        if low == high:
            low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
        self.low, self.high = self.scale(low), self.scale(high)
        extra = margin * (self.high - self.low)
        self.low, self.high, self.start, self.end = self.low - extra, self.high + extra, start, end
        ticks = [(float(self(tick)), _number(tick)) for tick in locator.tick_values(low, high)]
        self.ticks = [(p, text) for p, text in ticks if min(start, end) - 0.5 <= p <= max(start, end) + 0.5]

    def __call__(self, values):
        return self.start + (self.scale(values) - self.low) / (self.high - self.low) * (self.end - self.start)


def _points(x, y):
    step = -(-len(x) // _POINTS)
    shown = np.unique(np.append(np.arange(0, len(x), step), len(x) - 1))
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[shown], y[shown], strict=True))
