"""The parts that captions of tables, figures and the report share: data, protocol, rates, seeds and rules."""

import math
import re
from collections import Counter

from ilnrepro.comparison.choice import RULE_NAMES, RULES, cells, rules_of
from ilnrepro.comparison.scores import about_rounding
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row

STRUCTURES = ("RV", "LV")  # of the heart; others follow by name
# From none over single normalizations to mixes; others follow by name.
METHODS = ("none", "in", "ln", "gn4", "iln", "sigmoid", "clip", "softmax")
ABOUT_INTERVALS = (
    "95 % interval in brackets: over new subjects, seeds and splits of what the choice of rates yields; subjects and "
    "seeds from the two methods, what folds add beyond those from all methods with several seeds, and the choice's own "
    "variance from choosing again (t quantiles, Satterthwaite's degrees of freedom). There is none where a method has "
    "one seed, for no rule holds the truth often enough there, nor where rates were chosen on the fold they are judged "
    "on.")

# A sentence ends where a letter follows: "et al. 2020" and "2.21.0" end none.
_SENTENCE_END = re.compile(r"(?<=[.?!]) +(?=['\"A-Za-zρ])")


def sentences(caption):
    """The sentences of a caption; the first says what is shown."""
    return _SENTENCE_END.split(caption)


def sort_methods(methods, order=METHODS):
    """The methods in the order of `order`, and after them the others by name."""
    order = list(order)
    return sorted(methods, key=lambda m: (order.index(m) if m in order else len(order), m))


def title_of(method):
    """The title of a method, as the papers print it."""
    return method_row(method).title


def structures_of(records):
    """The structures of the runs, in the order in which they are shown."""
    present = {r.configuration.structure for r in records}
    return [*(s for s in STRUCTURES if s in present), *sorted(present - set(STRUCTURES))]


def seed_spread(seed_sd, unit=100):
    """The text of a standard deviation over seeds in a table."""
    return "one seed" if math.isnan(seed_sd) else f"{unit * seed_sd:.2f}"


def format_difference(mean, low, high, unit=100):
    """The text of a mean with its interval in a table, or of the mean alone where there is no interval."""
    text = f"{unit * mean:+.2f}"
    return text if math.isnan(low) else f"{text} [{unit * low:+.2f}, {unit * high:+.2f}]"


def marks(runs, folds):
    """The marks of a table's cell: runs that diverged ('2D') or collapsed ('1C'), folds without runs ('1 of 3 folds').

    Args:
      runs: dictionaries with 'status' and 'fold'.
      folds: number of folds that should have runs.
    """
    counts = [(sum(r["status"] == status for r in runs), letter) for status, letter in
              (("diverged", "D"), ("collapsed", "C"))]
    present = len({r["fold"] for r in runs})
    return " ".join([*(f"{count}{letter}" for count, letter in counts if count),
                     *([f"{present} of {folds} folds"] if 0 < present < folds else [])])


def resolution(records):
    """The size of the masks in words, '128×128 pixels'; none is known where all runs diverged."""
    shapes = dict.fromkeys(r.shape for r in records if r.shape)
    words = " or ".join("×".join(map(str, shape)) for shape in shapes)
    return f"{words} pixels" if words else "the resolution of the network"


def about_data(records):
    """Sentences on the data and their number of test images, the protocol and its changes, the rates and the seeds."""
    configurations = [r.configuration for r in records]
    parts = []
    for structure in structures_of(records):
        group = [r for r in records if r.configuration.structure == structure]
        images = {r.configuration.fold: len(r.dice) for r in group if len(r.dice)}
        synthetic = "SYNTHETIC data" if group[0].synthetic else "Data"
        parts.append(f"{synthetic}: {group[0].title}, {sum(images.values())} test images in {len(images)} "
                     f"fold{'s'[:len(images) != 1]}.")
    variants = {c.variant for c in configurations}
    protocol = configurations[0].protocol.name + (variants.pop() if len(variants) == 1 else "")
    parts.append(f"Protocol {protocol}. Rates {rates_in_words(records)}. Seeds {_seeds(records)}.")
    return " ".join(filter(None, [*parts, about_rounding(records)]))


def rates_in_words(records):
    """The rates that most methods have, and those of each method that has others; all rates where none is common."""
    by_method = {}
    for c in (r.configuration for r in records):
        by_method.setdefault((c.structure, c.method), set()).add(c.rate)
    if not set.intersection(*by_method.values()):
        return _rates(set.union(*by_method.values()))
    counts = Counter(map(frozenset, by_method.values()))
    usual, parts = max(counts, key=lambda rates: (counts[rates], sorted(rates))), []
    for rates in (rates for rates in counts if rates != usual):
        methods_of = {s: sort_methods(m for (t, m), own in by_method.items() if t == s and own == rates)
                      for s in structures_of(records)}
        who = ", ".join(f"{s} {', '.join(map(title_of, methods))}" for s, methods in methods_of.items() if methods)
        parts.append(f"{who} {_rates(rates)}")
    return "; ".join([_rates(usual), *parts])


def _rates(rates):
    return ", ".join(f"{rate:g}" for rate in sorted(rates, reverse=True))


def _seeds(records):
    """The seeds that all rates have, and those that only some rates have."""
    by_rate = {}
    for c in (r.configuration for r in records):
        by_rate.setdefault((c.structure, c.method, c.fold, c.rate), set()).add(c.seed)
    common = set.intersection(*by_rate.values())
    further = ", ".join(map(str, sorted(set.union(*by_rate.values()) - common)))
    return "; ".join([*([", ".join(map(str, sorted(common)))] if common else []),
                      *([f"at some rates {further}, which the rule '{RULE_NAMES['test']}' leaves out"]
                        if further else [])])


def about_one_seed(records):
    """A sentence on the methods without an interval because they have one seed; '' where there are none."""
    methods, alone = {r.configuration.method for r in records}, {}
    for rule in rules_of(records):
        if few := {m for (m, _, _), cell in cells(records, rule).items() if len(cell.records) == 1}:
            alone[rule] = "all methods" if few == methods else ", ".join(title_of(m) for m in sort_methods(few))
    if not alone:
        return ""
    if len({r.configuration.seed for r in records}) == 1:
        return "With one seed there is no interval. "
    return ("With one seed, and so without interval: " +
            "; ".join(f"{who} by the rule '{RULE_NAMES[rule]}'" for rule, who in alone.items()) + ". ")


def primary_rule(records):
    """The rule by which single runs are shown: the first of `rules_of` by which a rate can be chosen.

    Raises:
      InputError: there is none.
    """
    for rule in rules_of(records):
        if cells(records, rule):
            return rule
    raise InputError(f"{records[0].path.parent}: no method has all of its learning rates on any fold yet, so that none "
                     "can be chosen; let the runs go on")


def about_runs(records):
    """The sentences of `about_data`, and one on the run that is shown of each method and fold."""
    return f"{about_data(records)} {about_choice(records).rstrip('.')}; the first seed."


def about_choice(records):
    """A sentence on the rule by which the rates of the shown runs were chosen."""
    rules, rule = rules_of(records), primary_rule(records)
    return f"Rate by the rule '{RULE_NAMES[rule]}', {RULES[rule]}." if len(rules) > 1 else about_rules(rules)


def about_rules(rules):
    """A sentence on the rules by which the learning rates were chosen."""
    if rules == ("test",):
        return "One rate, nothing to choose."
    return "Rules: " + "; ".join(f"'{RULE_NAMES[rule]}', {RULES[rule]}" for rule in rules) + "."
