"""The findings of a comparison in words, which the terminal and the page share."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ilnrepro.comparison.planning import protocol_arguments
from ilnrepro.norms import method as method_row
from ilnrepro.protocols import format_number
from ilnrepro.studies.answer import LEVEL, POINT, Answer, Pair
from ilnrepro.studies.planning import Plan

PAGE = "compare.html"


@dataclass(frozen=True)
class Findings:
    """What a comparison found, what it did, and what it cost.

    Attributes:
      answer, plan: what the runs say, and which runs there are.
      costs: {method: (seconds of a step, bytes of memory)}.
      data, results: the data set file, and the folder of the runs.
      reference: the method that differences are shown against; None takes the best.
      options: further arguments of the commands that train.
    """

    answer: Answer
    plan: Plan
    costs: dict[str, tuple[float, int]]
    data: Path
    results: Path
    reference: str | None = None
    options: Sequence[str] = ()

    @property
    def page(self) -> Path:
        """The page's file."""
        return self.results / PAGE

    @property
    def against(self) -> str:
        """The method that differences are shown against."""
        return self.reference or self.answer.best[0]

    @property
    def pairs(self) -> list[Pair]:
        """The differences that are shown."""
        return self.answer.against(self.against)

    @property
    def learned(self) -> bool:
        """Whether any network has learned to segment."""
        return any(s.diverged + s.collapsed < s.runs for s in self.answer.standings)

    @property
    def verdict(self) -> str:
        """The answer in one sentence or two."""
        if not self.learned:
            return ("No answer: no network has learned to segment. Give more --hours, or other --rates, and another "
                    "folder --results.")
        best, worse = self.answer.best, [s.method for s in self.answer.standings if s.method not in self.answer.best]
        if self.answer.winner:
            return f"{title(best[0])} is better than {_listed(worse)}."
        text = f"No winner: these runs cannot tell {_listed(best)} apart."
        return f"{text} {_listed(worse)} {'is' if len(worse) == 1 else 'are'} worse." if worse else text

    @property
    def needs(self) -> list[str]:
        """Sentences on the seeds or subjects that it would take to tell the best methods apart."""
        best, *others = self.answer.best
        alike: dict[str, list[str]] = {}
        for m in others:
            if need := _need_in_words(self.answer.pair(best, m)):
                alike.setdefault(need, []).append(m)
        return [f"To show a difference of {100 * POINT:g} point between {title(best)} and {_listed(several)} four "
                f"times in five: {need}" for need, several in alike.items()]

    @property
    def lost_runs(self) -> list[str]:
        """Sentences on the runs that diverged or collapsed."""
        sentences = []
        for s in self.answer.standings:
            counts = (s.diverged, "diverged"), (s.collapsed, "segmented next to nothing")
            parts = [f"{n} {what}" for n, what in counts if n]
            if parts:
                sentences.append(f"{title(s.method)}: of {s.runs} runs at all rates {' and '.join(parts)}"
                                 f"{'; a run that diverged counts as Dice 0' if s.diverged else ''}.")
        return sentences

    @property
    def train(self) -> list[str]:
        """The command that trains the best method on all subjects, as a list of arguments."""
        best = next(s for s in self.answer.standings if s.method == self.answer.best[0])
        return ["ilnrepro", "train", str(self.data), "--method", best.method, "--rate", format_number(best.rate),
                *protocol_arguments(self.plan.training), "--results", str(self.results), *self.options, "--output",
                self.model]

    @property
    def model(self) -> str:
        """The name of the file that the command `train` writes."""
        return f"{self.plan.dataset}-{self.answer.best[0]}.h5"

    @property
    def lines(self) -> list[str]:
        """The lines for a terminal."""
        lines = [self.verdict, f"Differences in points of Dice, {100 * LEVEL:g} % intervals for all at once:",
                 *(f"  {pair_in_words(pair)}" for pair in self.pairs), "Cost on this machine:",
                 *(f"  {title(m)}: {cost_in_words(*self.costs[m])}" for m in self.plan.methods),
                 *self.needs, *self.lost_runs]
        if self.plan.steps < self.plan.full:
            lines.append(shortening_in_words(self.plan))
        if not self.learned:
            return lines
        what = "the winner" if self.answer.winner else f"{title(self.answer.best[0])}, the highest mean of those,"
        return [*lines, f"To train {what} on all subjects: {shlex.join(self.train)}"]


def title(method: str) -> str:
    """A method's title."""
    return method_row(method).title


def _listed(methods):
    titles = [title(m) for m in methods]
    return " and ".join([*([", ".join(titles[:-1])] if titles[1:] else []), *titles[-1:]])


def points_in_words(value: float) -> str:
    """A difference in points."""
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", "−")  # no −0.0


def interval_in_words(low: float, high: float) -> str:
    """An interval in points, in brackets."""
    return "no interval" if math.isnan(low) else f"[{points_in_words(low)}, {points_in_words(high)}]"


def verdict_of(pair: Pair) -> str:
    """'better', 'worse', or that the two cannot be told apart."""
    return "not told apart" if pair.better is None else "better" if pair.better == pair.first else "worse"


def pair_in_words(pair: Pair) -> str:
    """A difference with its interval and verdict."""
    text = f"{title(pair.first)} − {title(pair.second)}: {points_in_words(pair.difference)} " \
           f"{interval_in_words(pair.low, pair.high)}, "
    if pair.better or math.isnan(pair.detectable):
        return text + verdict_of(pair)
    return f"{text}not told apart; a difference of {100 * pair.detectable:.1f} would show four times in five"


def cost_in_words(seconds: float, memory: int) -> str:
    """The time of a step, and the memory of a process."""
    text = f"{1000 * seconds:.0f} ms a step"
    return text + (f", {memory / 1e9:.1f} GB of memory" if memory else "")


def _need_in_words(pair: Pair) -> str:
    if pair.better or pair.needed is None:
        return ""
    seeds, subjects = pair.needed.seeds, pair.needed.subjects
    if seeds is None and subjects is None:
        return "neither more seeds nor more subjects would do, for splits and the choice of rates alone make as much."
    ways = [f"{seeds} seeds with these subjects"] if seeds else []
    ways += [f"{subjects} subjects with {pair.needed.subjects_seeds} seeds"] if subjects else []
    return f"{', or '.join(ways)}{'' if seeds else ' (no number of seeds alone)'}."


def shortening_in_words(plan: Plan) -> str:
    """The sentence that says how far training was shortened to fit the budget."""
    return (f"Each network took {100 * plan.steps / plan.full:.0f} % of the steps of full training, for the budget: "
            "methods that learn slowly may come out too low.")


def plan_in_words(plan: Plan) -> str:
    """A plan in a line."""
    several = f"{len(plan.rates)} rates, then {len(plan.seeds)} seeds at the chosen ones" if len(
        plan.rates) > 1 else f"{len(plan.seeds)} seeds"
    share = "" if plan.steps == plan.full else f", {100 * plan.steps / plan.full:.0f} % of full training"
    return (f"plan: {len(plan.methods)} methods on {len(plan.folds)} folds, {several}: {plan.runs} runs of "
            f"{plan.steps} steps{share}, about {duration_in_words(plan.planned)} with {plan.workers} at a time")


def duration_in_words(hours: float) -> str:
    """A time in words."""
    if hours >= 1:
        return f"{hours:.1f} hours"
    minutes = max(1, round(60 * hours))
    return f"{minutes} minute{'s'[:minutes != 1]}"
