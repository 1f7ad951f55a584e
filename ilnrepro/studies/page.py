"""The page that shows a comparison's results: one HTML file that needs no other."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ilnrepro.comparison.differences import MEASURES
from ilnrepro.comparison.planning import protocol_arguments
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row
from ilnrepro.protocols import format_number
from ilnrepro.storage.dataset import DataSet
from ilnrepro.studies import words
from ilnrepro.studies.answer import LEVEL, Pair
from ilnrepro.studies.words import Findings

WIDTH = 480  # of the chart of intervals


def check() -> None:
    """Raises InputError where Jinja2, which makes the page, is not installed; called before the runs."""
    if find_spec("jinja2") is None:
        raise InputError('compare: Jinja2, which makes the page, is not installed; pip install "Jinja2>=3.1"')


def render(findings: Findings, source: DataSet) -> str:
    """The page as HTML text."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html.jinja").render(content(findings, source)).strip() + "\n"


def content(findings: Findings, source: DataSet) -> dict[str, Any]:
    """The values that the template shows, by name."""
    plan, answer = findings.plan, findings.answer
    command = ["ilnrepro", "compare", str(findings.data), "--methods", *plan.methods, "--hours", f"{plan.hours:g}",
               *protocol_arguments(plan.training), "--rates", *map(format_number, plan.rates),
               "--seeds", str(len(plan.seeds)), "--results", str(findings.results), *findings.options]
    train = shlex.join(findings.train)
    return {
        "findings": findings, "plan": plan, "answer": answer, "source": source, "measure": MEASURES["dice"],
        "level": f"{100 * LEVEL:g} %", "title_of": words.title, "words": words,
        "standings": [(s, method_row(s.method).description, findings.costs[s.method]) for s in answer.standings],
        "forest": forest(findings.pairs), "all_pairs": answer.pairs, "width": WIDTH,
        "commands": {"again": shlex.join(command), "train": train,
                     "predict": shlex.join(["ilnrepro", "predict", findings.model, "IMAGE", "--output", "masks"]),
                     "export": shlex.join(["ilnrepro", "export", findings.model, "--output", "model"])},
        "notes": [*findings.needs, *([words.shortening_in_words(plan)] if plan.steps < plan.full else []),
                  *findings.lost_runs],
    }


def forest(pairs: list[Pair]) -> dict[str, Any]:
    """The chart of intervals on one axis, in pixels.

    Returns:
      rows: (pair, low, middle, high); ticks: (position, label); zero: the position of no difference.
    """
    from matplotlib.ticker import MaxNLocator

    ends = [100 * value for p in pairs for value in (p.low, p.difference, p.high) if not np.isnan(value)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.06 * max(high - low, 1.0)
    low, high = low - margin, high + margin

    def position(value):
        return round((value - low) / (high - low) * WIDTH, 1)

    ticks = [(position(t), f"{t:+g}".replace("-", "−") if t else "0")
             for t in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= t <= high]
    rows = [(p, *(position(100 * (p.difference if np.isnan(v) else v)) for v in (p.low, p.difference, p.high)))
            for p in pairs]
    return {"rows": rows, "ticks": ticks, "zero": position(0.0)}
