"""The choice of a learning rate for each method and fold, and the method's score there at that rate."""

from dataclasses import dataclass

import numpy as np

# The rules by which the learning rate of a fold is chosen: descriptions by the rules' names in files and on the command
# line, and the names in tables and captions.
RULES = {
    "test": "the paper's rule, which looks at the very scores that it reports",
    "cross-fold": "for each fold the rate best on the mean of the other folds",
    "given": "each method and fold has one rate, chosen elsewhere and taken as it is",
}
RULE_NAMES = {"test": "best on the test fold", "cross-fold": "cross-fold", "given": "taken as given"}


def rules_of(records):
    """The rules that apply to these runs, the primary one first.

    They are 'cross-fold' and 'test' where a method has several rates on a fold; 'given' where each method has one rate
    on each fold, but not the same one everywhere; and 'test', with nothing to choose, where all runs have one rate.
    """
    rates_of_fold = {}
    for c in (r.configuration for r in records):
        rates_of_fold.setdefault((c.method, c.structure, c.fold), set()).add(c.rate)
    if len(set.union(*rates_of_fold.values())) == 1:
        return ("test",)
    return ("cross-fold", "test") if any(len(rates) > 1 for rates in rates_of_fold.values()) else ("given",)


def on_common_rates(records, first, second):
    """The records without those of either method at a rate that the other lacks on the structure.

    The best of more rates is better by chance alone. Further rates, beyond the paper's, are kept.
    """
    if rules_of(records) == ("given",):
        return records
    rates = {}
    for c in (r.configuration for r in records):
        rates.setdefault((c.method, c.structure), set()).add(c.rate)
    other = {first: second, second: first}
    return [r for r in records for c in [r.configuration] if c.method not in other or r.further
            or c.rate in rates.get((other[c.method], c.structure), ())]


def taking_part(records, rule):
    """The records of the rates among which `rule` chooses.

    Rates beyond the paper's take part once all folds of the method have them, and never under 'test'.
    """
    folds = {}
    for c in (r.configuration for r in records):
        for rate in (c.rate, None):
            folds.setdefault((c.method, c.structure, rate), set()).add(c.fold)
    return [r for r in records for c in [r.configuration] if not r.further
            or rule != "test" and folds[c.method, c.structure, c.rate] == folds[c.method, c.structure, None]]


@dataclass(frozen=True)
class Cell:
    """The score of one method on one fold at the chosen rate.

    Attributes:
      rate: the chosen rate.
      dice: DSC of each test image in each seed's run, `[seeds · images]`; 0 for a run that diverged, and empty where
        all of them did.
      seed_means: mean DSC of each seed's run.
      runs, diverged, collapsed: counts over all rates and seeds of this method and fold.
      records: those at the chosen rate, one for each seed.
    """

    method: str
    structure: str
    fold: int
    rate: float
    dice: np.ndarray
    seed_means: tuple
    runs: int
    diverged: int
    collapsed: int
    records: tuple

    @property
    def name(self):
        """The fold's name in tables, as 'LV-1'."""
        return f"{self.structure}-{self.fold}"

    @property
    def n(self):
        """The number of test images."""
        return len(self.dice) // max(1, len(self.seed_means))

    @property
    def mean(self):
        """Mean DSC over images (and seeds), or NaN."""
        return float(self.dice.mean()) if len(self.dice) else float("nan")

    @property
    def std(self):
        """Standard deviation of the DSC over images (and seeds), or NaN."""
        return float(self.dice.std()) if len(self.dice) else float("nan")

    @property
    def seed_sd(self):
        """Standard deviation of the seeds' means, or NaN for a single seed."""
        return float(np.std(self.seed_means, ddof=1)) if len(self.seed_means) > 1 else float("nan")


def cells(records, rule):
    """{(method, structure, fold): `Cell`}, at the learning rates that `rule` chooses.

    The rate with the best mean DSC on the judging folds is chosen: the fold itself under 'test', the structure's other
    folds under 'cross-fold'. The mean is over the seeds that all rates have. A method with one rate on each of its
    folds needs no choice. There is no cell where a judging fold lacks one of the method's rates, or where 'cross-fold'
    has no other fold.

    Under 'test' a cell holds only the seeds on which its rate was chosen. Another seed's score, on which nothing was
    chosen, would stand beside scores that are the best of several.
    """
    records = taking_part(records, rule)
    grid, folds_of_structure = {}, {}
    for record in records:
        c = record.configuration
        folds_of_structure.setdefault(c.structure, set()).add(c.fold)
        grid.setdefault((c.method, c.structure), {}).setdefault(c.fold, {}).setdefault(c.rate, []).append(record)
    table = {}
    for (method, structure), folds in grid.items():
        rates = {rate for by_rate in folds.values() for rate in by_rate}
        one_rate = all(len(by_rate) == 1 for by_rate in folds.values())
        for fold, by_rate in folds.items():
            judges = {fold} if rule == "test" else folds_of_structure[structure] - {fold}
            rate, seeds = (next(iter(by_rate)), set()) if one_rate else _best_rate(
                [folds.get(k, {}) for k in sorted(judges)], rates)
            if rate not in by_rate:
                continue
            used = [r for r in by_rate[rate] if rule != "test" or not seeds or r.configuration.seed in seeds]
            n = max(len(r.dice) for r in used)
            all_runs = [r for runs in by_rate.values() for r in runs]
            table[method, structure, fold] = Cell(
                method, structure, fold, rate, np.concatenate([r.dice if len(r.dice) else np.zeros(n) for r in used]),
                tuple(r.score for r in used), len(all_runs), sum(r.status == "diverged" for r in all_runs),
                sum(r.status == "collapsed" for r in all_runs), tuple(used))
    return table


def _best_rate(judges, rates):
    """(rate, seeds): the rate with the best mean DSC, and the seeds on which it was chosen.

    The rate is None where a judging fold lacks one of the rates. The set of seeds is empty where no seed has all rates,
    and then the mean is over all runs.

    Args:
      judges: {rate: records} of each judging fold.
      rates: all rates of the method.
    """
    if not judges or not all(rates <= set(by_rate) for by_rate in judges):
        return None, set()
    # Only seeds that all rates have: seeds added at the chosen rate alone must not change the choice.
    seeds = set.intersection(*({r.configuration.seed for r in runs} for by_rate in judges for runs in by_rate.values()))

    def score(rate):
        return np.mean([np.mean([r.score for r in by_rate[rate] if r.configuration.seed in seeds or not seeds])
                        for by_rate in judges])

    return max(sorted(rates), key=score), seeds
