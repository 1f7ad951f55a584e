"""Whether the gates' ρ differ over the layers: agreement of the layers' ranks over folds, and how much is noise."""

import math
from typing import NamedTuple

import numpy as np

from experiments.analysis.captions import about, about_choice, ordered, primary_rule, title_of
from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.norms import method as method_row
from ilnrepro.norms.rules import undone_on

PERMUTATIONS = 10_000


class Gates(NamedTuple):
    """What the runs of one method and structure say of ρ.

    Attributes:
      w, p: Kendall's W of the layers' ranks over folds, and of its permutation test.
      icc: intraclass correlation of a layer's ρ over runs, the share of one run's spread over layers that other runs
        repeat; NaN for one run.
      low, high: mean over runs of the least and the greatest layer.
      layers, folds, runs: numbers of them.
    """

    w: float
    p: float
    icc: float
    low: float
    high: float
    layers: int
    folds: int
    runs: int


def kendall(rho, rng=None):
    """(W, p) of `rho`, `[folds, layers]`: Kendall's coefficient of concordance of the layers' ranks, ties given their
    mean rank, and how often folds whose layers are shuffled agree as well."""
    from scipy.stats import rankdata

    ranks = rankdata(rho, axis=1)
    folds, layers = ranks.shape
    # What the sum of squares would be if all folds ranked alike.
    most = (folds * (ranks - ranks.mean(1, keepdims=True)) ** 2).sum()
    if most == 0:
        return 0.0, 1.0
    rng = np.random.default_rng(0) if rng is None else rng
    shuffled = rng.permuted(np.broadcast_to(ranks, (PERMUTATIONS, folds, layers)), axis=2)
    by_chance = ((shuffled.sum(1) - ranks.sum() / layers) ** 2).sum(1)
    observed = ((ranks.sum(0) - ranks.sum() / layers) ** 2).sum()
    # The observed one is among the permutations, and sums of halves are not exact.
    return observed / most, (1 + int((by_chance >= observed - 1e-9).sum())) / (1 + PERMUTATIONS)


def intraclass(rho):
    """Of `[runs, layers]`, one-way, of a single run: (MS between layers − MS within) / (MS between + (runs − 1) MS
    within)."""
    runs, layers = rho.shape
    if runs < 2:
        return math.nan
    between = runs * rho.mean(0).var(ddof=1)
    within = ((rho - rho.mean(0)) ** 2).sum() / (layers * (runs - 1))
    return float((between - within) / (between + (runs - 1) * within)) if between + within > 0 else 0.0


def of_layers(records, rule, structure):
    """{method: `Gates`}, of the methods that have runs with gates on several folds at their chosen rates.

    A layer whose mix the rule undoes (as many channels as there are groups after it) is left out, for its gate stays.
    """
    runs = {}
    for (method, s, fold), cell in cells(records, rule).items():
        for r in cell.records:
            if s == structure and r.rho is not None and r.status != "diverged":
                runs.setdefault(method, {}).setdefault(fold, []).append(_free(r))
    found = {}
    for method, by_fold in runs.items():
        every = np.concatenate([np.array(of_fold) for of_fold in by_fold.values()])
        if len(by_fold) > 1 and every.shape[1] > 1:
            mean = every.mean(0)
            found[method] = Gates(*kendall(np.array([np.mean(of_fold, 0) for of_fold in by_fold.values()])),
                                  intraclass(every), mean.min(), mean.max(), every.shape[1], len(by_fold), len(every))
    return found


def _free(record):
    """The first gate number of each layer that can move."""
    configuration = record.configuration
    undone = undone_on(method_row(configuration.method).rule, configuration.protocol.settings)
    return record.rho[np.array([c != undone for c in record.channels]), 0]


def build(records):
    """(`Sheet`, tidy rows) of every gated method; None where there is none."""
    rule = primary_rule(records)
    structures = dict.fromkeys(r.configuration.structure for r in records)
    found = [(s, m, gates[m]) for s in structures for gates in [of_layers(records, rule, s)] for m in ordered(gates)]
    if not found:
        return None
    tidy = [{"structure": s, "method": m, **g._asdict()} for s, m, g in found]
    body = [[s, title_of(m), f"{g.w:.2f}", f"{g.p:.2g}", "" if math.isnan(g.icc) else f"{g.icc:.2f}",
             f"{g.low:.3f} to {g.high:.3f}", f"{g.layers}; {g.folds}, {g.runs}"] for s, m, g in found]
    return Sheet("ρ over layers", f"Do the layers' ρ differ alike in every fold? {about(records)} "
                 f"{about_choice(records)} W: Kendall's concordance of the layers' ranks over folds, each fold's ρ the "
                 "mean over its runs; p: how often folds with shuffled layers agree as well "
                 f"({PERMUTATIONS} permutations); intraclass correlation: the share of the spread over layers in one "
                 "run that other runs repeat, the rest is noise; range: of the layers' means over runs.",
                 ["structure", "Method", "W", "p", "intraclass correlation", "range", "layers; folds, runs"],
                 body), tidy
