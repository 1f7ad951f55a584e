"""Claims of a paper, their verdicts, and two tables of verdicts: on accuracy by structure, and on all other claims."""

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.analysis import agreement, former
from experiments.analysis.captions import ABOUT_INTERVALS, about_data, about_one_seed, format_difference, resolution
from experiments.analysis.cost import FILE
from experiments.analysis.coverage import about_coverage
from ilnrepro.comparison.choice import RULE_NAMES, rules_of
from ilnrepro.comparison.differences import by_method, comparisons
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.storage import files

# Half a point, in Dice: with a smaller gain, a method is not better in the sense of a paper's claim.
HALF_A_POINT = 0.005
VERDICTS = ("supported", "contradicted", "no gain of half a point", "undecided", "no data")
FURTHER_VERDICTS = ("reproduced", "not reproduced", "cannot tell")


def accuracy_verdict(estimate):
    """The verdict on the claim that a method is better than another, from the `Estimate` of their difference."""
    low, high = estimate.interval
    if low > 0:
        return "supported"
    if high < 0:
        return "contradicted"
    return "no gain of half a point" if estimate.upper < HALF_A_POINT else "undecided"


def cost_verdict(low, high, published):
    """The verdict on a cost ratio from its 95 % interval."""
    limit = math.ceil(100 * published) / 100
    if high <= limit:
        return "reproduced"
    return "not reproduced" if low > limit else "cannot tell"


def build(paper, records):
    """(`Sheet`, tidy rows) of the verdicts on claims on accuracy.

    None where the paper makes no such claims, or the data are synthetic, which judge no claim.
    """
    if not paper.claims or any(r.synthetic for r in records):
        return None
    tidy = [claim.judge(paper, records) for claim in paper.claims]
    keys = ("claim", "verdict", "remark", "before", "paper", "per_image", "ours", "inside", "power", "detectable",
            "without", "test_rule")
    counts = "; ".join(
        f"{structure}: " + ", ".join(f"{n} {verdict}" for verdict, n in numbers.items())
        for structure, numbers in verdict_counts(tidy).items())
    names = ", ".join(paper.omitted)
    without = "; ".join(f"{name}, {why}" for name, why in paper.omitted.items())
    table = Sheet(
        "Verdicts", f"The paper's claims on accuracy and what these runs say. {counts}. {about_data(records)} "
        f"{paper.criteria} Differences in points of Dice (hundredths). {ABOUT_INTERVALS} {about_coverage()}paper: "
        "difference of the means per image over its three folds ± half the 95 % t interval over them; ours per image: "
        f"the same of ours, {_resolution_per_image(records)}; ours: mean over subjects, at {resolution(records)}; "
        "inside: whether the paper's difference lies in our interval; power: the probability that such data would "
        "have shown it (interval above 0) if it were true; detectable (80 % power): the true difference that they "
        f"would have shown four times in five. {about_one_seed(records)}The last columns repeat the judgement without "
        f"{without}, and the difference with rates chosen on the test fold itself, the paper's rule, by which nothing "
        "is judged.",
        ["claim", "verdict", "remark", "before", "paper", "ours per image", "ours", "inside", "power",
         "detectable (80 % power)", f"without {names}", f"rule '{RULE_NAMES['test']}'"],
        [[r[key] for key in keys] for r in tidy])
    return table, tidy


def _image_measure(records):
    """The measure that compares with the paper per image: Dice at the own resolution where all runs have it."""
    return "whole_dice" if all("whole_dice" in r.measures for r in records if len(r.dice)) else "dice"


def _resolution_per_image(records):
    enlarged = _image_measure(records) == "whole_dice"
    return "with masks enlarged to the data set's own resolution" if enlarged else f"at {resolution(records)}"


def verdict_counts(tidy):
    """{structure: {verdict: number of claims}}, in the order of VERDICTS."""
    verdicts = {}
    for r in tidy:
        verdicts.setdefault(r["structure"], []).append(r["verdict"])
    return {structure: {v: n for v in VERDICTS if (n := Counter(values)[v])} for structure, values in verdicts.items()}


def build_further(paper, records, results):
    """(`Sheet`, tidy rows) of the verdicts on all other claims; None as in `build`.

    Args:
      results: the folder with the measured cost.
    """
    if not paper.further_claims or any(r.synthetic for r in records):
        return None
    tidy = [claim.judge(records, results) for claim in paper.further_claims]
    headings = ["claim", "verdict", "paper", "ours"]
    return Sheet("Further claims", f"The paper's claims beside those on accuracy. {about_data(records)} "
                 f"{paper.further_criteria}", headings, [[r[key] for key in headings] for r in tidy]), tidy


class AccuracyClaim(NamedTuple):
    """The claim that `first` scores above `second` on a structure.

    Attributes:
      published: published(method, structure) gives the (means, standard deviations) that the paper prints.
      text: the claim in words.
      seen: protocols whose runs on the structure were done before the present criteria were written. Their verdicts by
        the former criteria are given too.
    """

    first: str
    second: str
    structure: str
    published: Callable
    text: str
    seen: tuple = ()

    @property
    def published_differences(self):
        """The paper's differences first − second on its folds."""
        a, b = (self.published(m, self.structure)[0] for m in (self.first, self.second))
        return np.subtract(a, b)

    def judge(self, paper, records):
        """The tidy row of its verdict."""
        published = self.published_differences
        mean, (low, high) = published.mean(), _t_interval(published)
        row = {"claim": f"{self.text} ({self.structure})", "structure": self.structure, "verdict": "no data",
               "remark": "", "before": "", "paper": f"{100 * mean:+.2f} ± {50 * (high - low):.1f}", "ours": "",
               "per_image": "", "inside": "", "power": "", "detectable": "", "without": "", "test_rule": "",
               "first": self.first, "second": self.second, "difference": math.nan, "low": math.nan, "high": math.nan,
               "paper_difference": float(mean), "paper_low": float(low), "paper_high": float(high)}
        rules, runs = rules_of(records), [r for r in records if r.configuration.structure == self.structure]
        if not runs or (difference := self._comparison(records, rules[0])) is None:
            return row | {"remark": "runs missing" if runs else ""}
        row |= {"verdict": accuracy_verdict(difference.estimate), "ours": _interval(difference),
                "difference": difference.difference, "low": difference.low, "high": difference.high}
        images = self._comparison(records, rules[0], measure=_image_measure(records))
        row["per_image"] = f"{100 * images.image_difference:+.2f}"
        if np.isnan(difference.low):
            row["remark"] = "no interval: one seed"
        else:
            below = row["verdict"] == "supported" and difference.upper < HALF_A_POINT
            row |= {"remark": "by less than half a point" if below else "",
                    "detectable": f"{100 * difference.detectable:.2f}",
                    "inside": "yes" if difference.low <= mean <= difference.high else "no",
                    "power": f"{difference.estimate.power(mean):.2f}"}
        if runs[0].configuration.protocol.name in self.seen:
            table = by_method(records, rules[0], self.structure)
            row["before"] = former.verdict(*former.interval(table[self.first], table[self.second]))
        if any(name in r.subject for r in runs for name in paper.omitted):
            without = self._comparison(records, rules[0], tuple(paper.omitted))
            row["without"] = f"{_interval(without)} {accuracy_verdict(without.estimate)}"
        if len(rules) > 1 and (other := self._comparison(records, rules[1])):
            row["test_rule"] = _interval(other)
        return row

    def _comparison(self, records, rule, omit=(), measure="dice"):
        pairs = [(self.first, self.second)]
        return next(comparisons(records, pairs, rule, self.structure, measure, omit), None)


def _interval(c):
    return format_difference(c.difference, c.low, c.high)


def _row(claim, paper, ours="", verdict="cannot tell"):
    return {"claim": claim, "paper": paper, "ours": ours, "verdict": verdict}


class GateClaim(NamedTuple):
    """The claim that a method learns different ρ in different layers, on a structure."""

    method: str
    structure: str
    published: str
    text: str

    def judge(self, records, _):
        """The tidy row of its verdict, by the agreement of the layers' ranks over the folds."""
        row = _row(self.text, self.published)
        gates = agreement.by_method(records, rules_of(records)[0], self.structure)
        if self.method not in gates:
            return row | {"ours": "runs missing"}
        g = gates[self.method]
        icc = "" if math.isnan(g.icc) else f", intraclass correlation of a layer's ρ over runs {g.icc:.2f}"
        return row | {"ours": f"W {g.w:.2f}, p {g.p:.2g} over {g.folds} folds{icc}, {g.runs} runs",
                      "verdict": "reproduced" if g.p < 0.05 else "cannot tell"}


def _t_interval(values):
    if len(values) < 2:
        return -math.inf, math.inf
    if np.ptp(values) == 0:
        return values[0], values[0]
    from scipy import stats

    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


class ParameterClaim(NamedTuple):
    """The claim that `first` has `more` parameters more than `second`."""

    first: str
    second: str
    more: int
    text: str

    def judge(self, records, _):
        """The tidy row of its verdict."""
        counts = {r.configuration.method: r.parameters for r in records
                  if r.configuration.method in (self.first, self.second)}
        row = _row(self.text, str(self.more))
        if len(counts) < 2:
            return row | {"ours": "runs missing"}
        more = counts[self.first] - counts[self.second]
        return row | {"ours": str(more), "verdict": "reproduced" if more == self.more else "not reproduced"}


class CostClaim(NamedTuple):
    """The claim that `first` takes `published` times as long as `second`, in one of the measured forms."""

    first: str
    second: str
    form: str
    published: float
    text: str

    def judge(self, _, results):
        """The tidy row of its verdict."""
        measured = files.read_json(results / FILE)
        row = _row(self.text, f"{self.published:.3f}")
        if measured is None:
            return row | {"ours": "not measured (python -m experiments cost)"}
        rounds = {r["method"]: np.array(r["rounds"]) for r in measured["rows"] if r["form"] == self.form}
        ratios = rounds[self.first] / rounds[self.second]
        low, high = _t_interval(ratios)
        return row | {"ours": f"{np.mean(ratios):.3f} [{low:.3f}, {high:.3f}] on {measured['device']}",
                      "verdict": cost_verdict(low, high, self.published)}
