"""A paper's claims, each judged by a criterion that was fixed before the runs were made."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.analysis.captions import about, about_one_seed, rules_of
from experiments.analysis.cost import FILE
from ilnrepro.comparison import sheet
from ilnrepro.comparison.choice import RULE_NAMES, cells
from ilnrepro.comparison.intervals import by_method, compare
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.norms import method as method_row
from ilnrepro.norms.rules import undone_on
from ilnrepro.storage import files

# Below this gain a method is not better in any sense that a paper means: half a point of Dice.
HALF_A_POINT = 0.005
# Below this, two gates are alike to the eye in a figure.
ALIKE = 0.01
VERDICTS = ("reproduced", "not reproduced", "cannot tell")


def better(low, high):
    """The verdict on 'first is better than second' from the 95 % interval of the difference."""
    if low > 0:
        return "reproduced"
    return "not reproduced" if high < HALF_A_POINT else "cannot tell"


def differs(low, high):
    """The verdict on 'ρ differs over the layers' from the 95 % interval of the layers' difference."""
    if low > 0:
        return "reproduced"
    return "not reproduced" if high < ALIKE else "cannot tell"


def costs(low, high, published):
    """The verdict on a cost ratio from its 95 % interval."""
    limit = math.ceil(100 * published) / 100
    if high <= limit:
        return "reproduced"
    return "not reproduced" if low > limit else "cannot tell"


def build(paper, records, results):
    """(`Sheet`, tidy rows) of the verdicts from records and the measured cost in `results`; None where the paper makes
    no claims, or the data are synthetic, for those judge none."""
    if not paper.claims or any(r.synthetic for r in records):
        return None
    tidy = [claim.judged(paper, records, results) for claim in paper.claims]
    body = [[r["claim"], r["verdict"], r["paper"], r["ours"], r["smallest"], r["without"], r["test_rule"]]
            for r in tidy]
    given = [r["verdict"] for r in tidy]
    counts = ", ".join(f"{given.count(verdict)} {verdict}" for verdict in VERDICTS)
    names = ", ".join(paper.omitted)
    without = "; ".join(f"{name}, {why}" for name, why in paper.omitted.items())
    table = Sheet("Verdicts", f"The paper's claims and what these runs say: {counts}. {about(records)} "
                  f"{paper.criteria} "
                  "Differences in points of Dice (hundredths), 95 % interval in brackets (bootstrap over subjects and "
                  "seeds); paper: difference of the means over its three folds; detectable (80 % power): the "
                  "true difference that such data would have shown four times in five. "
                  f"{about_one_seed(records)}The last columns repeat the judgement without {without}, and "
                  "with rates chosen on the test fold itself, the paper's rule.",
                  ["claim", "verdict", "paper", "ours", "detectable (80 % power)", f"without {names}",
                   f"rule '{RULE_NAMES['test']}'"], body)
    return table, tidy


def write(paper, records, results):
    """Writes what `build` makes as verdicts.{md,csv,tex} below `results`/tables; returns the table, or None."""
    if (built := build(paper, records, results)) is None:
        return None
    sheet.write(results / "tables", "verdicts", *built)
    return built[0]


def _row(claim, paper="", ours="", smallest="", verdict="cannot tell", without="", test_rule=""):
    return {"claim": claim, "paper": paper, "ours": ours, "smallest": smallest, "verdict": verdict, "without": without,
            "test_rule": test_rule}


class Better(NamedTuple):
    """The claim that `first` scores above `second` on a structure.

    Attributes:
      published: from method and structure to the (means, standard deviations) that the paper prints.
      missing: said where there are no runs on the structure.
    """

    first: str
    second: str
    structure: str
    published: Callable
    words: str
    missing: str = "runs missing"

    def judged(self, paper, records, _):
        """Its tidy row."""
        a, b = (self.published(m, self.structure)[0] for m in (self.first, self.second))
        row = _row(f"{self.words} ({self.structure})", f"{100 * (np.mean(a) - np.mean(b)):+.2f}")
        if self.structure not in {r.configuration.structure for r in records}:
            return row | {"ours": self.missing}
        rules = rules_of(records)
        found = self._compared(records, rules[0])
        if found is None:
            return row | {"ours": "runs missing"}
        row |= {"ours": _interval(found), "smallest": f"{100 * found.smallest_shown:.2f}",
                "verdict": better(found.low, found.high)}
        if any(name in r.subject for r in records for name in paper.omitted):
            without = self._compared(records, rules[0], tuple(paper.omitted))
            row["without"] = f"{_interval(without)} {better(without.low, without.high)}"
        if len(rules) > 1 and (other := self._compared(records, rules[1])):
            row["test_rule"] = f"{_interval(other)} {better(other.low, other.high)}"
        return row

    def _compared(self, records, rule, omit=()):
        table = by_method(records, rule, self.structure, omit=omit)
        if self.first not in table or self.second not in table:
            return None
        return compare(table[self.first], table[self.second], (self.first, self.second))


def _interval(c):
    return f"{100 * c.difference:+.2f} [{100 * c.low:+.2f}, {100 * c.high:+.2f}]"


class Layers(NamedTuple):
    """The claim that a method learns another ρ in different layers, on a structure."""

    method: str
    structure: str
    published: str
    words: str

    def judged(self, _, records, __):
        """Its tidy row: the pair of layers that differs most is chosen on the other folds, so that choosing adds
        nothing."""
        rule = rules_of(records)[0]
        runs = [r for (m, s, _), cell in cells(records, rule).items() if (m, s) == (self.method, self.structure)
                for r in cell.chosen if r.rho is not None and r.status != "diverged"]
        folds = {r.configuration.fold for r in runs}
        row = _row(self.words, self.published)
        if len(folds) < 2:
            return row | {"ours": "runs missing"}
        undone = undone_on(method_row(self.method).rule, runs[0].configuration.protocol.settings)
        differences, frozen = {}, max((abs(float(r.rho[i, 0]) - r.configuration.protocol.rho)
                                       for r in runs for i, c in enumerate(r.channels) if c == undone), default=None)
        for r in runs:
            free = np.array([c != undone for c in r.channels])
            others = np.mean([o.rho[free, 0] for o in runs if o.configuration.fold != r.configuration.fold], axis=0)
            mine = r.rho[free, 0]
            difference = float(mine[others.argmax()] - mine[others.argmin()])
            differences.setdefault(r.configuration.fold, []).append(difference)
        every = [d for of_fold in differences.values() for d in of_fold]
        low, high = _t_interval(every)
        ours = f"{np.mean(every):.3f} [{low:.3f}, {high:.3f}] in ρ, {len(runs)} runs"
        if len(runs) > len(folds):  # seeds of a fold share its images and its rate
            ours += " (over means of {} folds [{:.3f}, {:.3f}])".format(
                len(folds), *_t_interval([np.mean(of_fold) for of_fold in differences.values()]))
        still = "" if frozen is None else f"; {undone} channels: {frozen:.1g}"
        return row | {"ours": f"{ours}{still}", "verdict": differs(low, high)}


def _t_interval(values):
    if len(values) < 2:
        return -math.inf, math.inf
    if np.ptp(values) == 0:
        return values[0], values[0]
    from scipy import stats

    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


class Parameters(NamedTuple):
    """The claim that `first` has so many parameters more than `second`."""

    first: str
    second: str
    more: int
    words: str

    def judged(self, _, records, __):
        """Its tidy row."""
        counts = {r.configuration.method: r.parameters for r in records
                  if r.configuration.method in (self.first, self.second)}
        row = _row(self.words, str(self.more))
        if len(counts) < 2:
            return row | {"ours": "runs missing"}
        more = counts[self.first] - counts[self.second]
        return row | {"ours": str(more), "verdict": "reproduced" if more == self.more else "not reproduced"}


class Cost(NamedTuple):
    """The claim that `first` takes so many times the time of `second`, in one of the forms measured."""

    first: str
    second: str
    form: str
    published: float
    words: str

    def judged(self, _, __, results):
        """Its tidy row."""
        measured = files.read_json(results / FILE)
        row = _row(self.words, f"{self.published:.3f}")
        if measured is None:
            return row | {"ours": "not measured (python -m experiments cost)"}
        rounds = {r["method"]: np.array(r["rounds"]) for r in measured["rows"] if r["form"] == self.form}
        ratios = rounds[self.first] / rounds[self.second]
        low, high = _t_interval(ratios)
        return row | {"ours": f"{np.mean(ratios):.3f} [{low:.3f}, {high:.3f}] on {measured['device']}",
                      "verdict": costs(low, high, self.published)}
