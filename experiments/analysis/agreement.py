"""The agreement of folds and runs on which layers have the larger gates ρ."""

import math
from typing import NamedTuple

import numpy as np

from experiments.analysis.captions import about_choice, about_data, primary_rule, sort_methods, title_of
from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.norms import method as method_row
from ilnrepro.norms.rules import undone_channels

PERMUTATIONS = 10_000


class Agreement(NamedTuple):
    """The agreement of a method's runs on the layers' ρ, on one structure.

    Attributes:
      w, p: Kendall's W of the layers' ranks over folds, and the p value of its permutation test.
      icc: intraclass correlation, the share of the variance over layers in one run that other runs repeat; NaN for one
        run.
      low, high: the smallest and the largest of the layers' means over runs.
      layers, folds, runs: their numbers.
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
    """(W, p): Kendall's coefficient of concordance of the layers' ranks, and the p value of a permutation test.

    Layers with equal ρ have their mean rank. The permutations shuffle the layers of each fold.

    Args:
      rho: `[folds, layers]`.
      rng: a NumPy generator; None takes seed 0.
    """
    from scipy.stats import rankdata

    ranks = rankdata(rho, axis=1)
    folds, layers = ranks.shape
    # The sum of squares if all folds had the same ranks.
    maximum = (folds * (ranks - ranks.mean(1, keepdims=True)) ** 2).sum()
    if maximum == 0:
        return 0.0, 1.0
    rng = np.random.default_rng(0) if rng is None else rng
    shuffled = rng.permuted(np.broadcast_to(ranks, (PERMUTATIONS, folds, layers)), axis=2)
    by_chance = ((shuffled.sum(1) - ranks.sum() / layers) ** 2).sum(1)
    observed = ((ranks.sum(0) - ranks.sum() / layers) ** 2).sum()
    # The observed ranks are one of the permutations; 1e-9 allows for rounding.
    return observed / maximum, (1 + int((by_chance >= observed - 1e-9).sum())) / (1 + PERMUTATIONS)


def intraclass(rho):
    """The one-way intraclass correlation of single runs: (B − W) / (B + (runs − 1)·W); NaN for one run.

    B is the mean square between layers, W the mean square within layers.

    Args:
      rho: `[runs, layers]`.
    """
    runs, layers = rho.shape
    if runs < 2:
        return math.nan
    between = runs * rho.mean(0).var(ddof=1)
    within = ((rho - rho.mean(0)) ** 2).sum() / (layers * (runs - 1))
    return float((between - within) / (between + (runs - 1) * within)) if between + within > 0 else 0.0


def by_method(records, rule, structure):
    """{method: `Agreement`} of the methods that have runs with gates on several folds, at the chosen rates.

    Layers on which the group normalization after the mix undoes it (with as many channels as groups) are left out,
    because their gates keep their initial value.
    """
    runs = {}
    for (method, s, fold), cell in cells(records, rule).items():
        for r in cell.records:
            if s == structure and r.rho is not None and r.status != "diverged":
                runs.setdefault(method, {}).setdefault(fold, []).append(_learned_rho(r))
    gates = {}
    for method, by_fold in runs.items():
        rho = np.concatenate([np.array(of_fold) for of_fold in by_fold.values()])
        if len(by_fold) > 1 and rho.shape[1] > 1:
            mean = rho.mean(0)
            gates[method] = Agreement(*kendall(np.array([np.mean(of_fold, 0) for of_fold in by_fold.values()])),
                                      intraclass(rho), mean.min(), mean.max(), rho.shape[1], len(by_fold), len(rho))
    return gates


def _learned_rho(record):
    """The first number ρ of each layer whose gate is learned, `[layers]`."""
    configuration = record.configuration
    undone = undone_channels(method_row(configuration.method).rule, configuration.protocol.settings)
    return record.rho[np.array([c != undone for c in record.channels]), 0]


def build(records):
    """(`Sheet`, tidy rows) of all methods with gates; None where there are none."""
    rule = primary_rule(records)
    structures = dict.fromkeys(r.configuration.structure for r in records)
    rows = [(s, m, gates[m]) for s in structures for gates in [by_method(records, rule, s)] for m
            in sort_methods(gates)]
    if not rows:
        return None
    tidy = [{"structure": s, "method": m, **g._asdict()} for s, m, g in rows]
    body = [[s, title_of(m), f"{g.w:.2f}", f"{g.p:.2g}", "" if math.isnan(g.icc) else f"{g.icc:.2f}",
             f"{g.low:.3f} to {g.high:.3f}", f"{g.layers}; {g.folds}, {g.runs}"] for s, m, g in rows]
    return Sheet("ρ over layers", f"Do the layers' ρ differ alike in every fold? {about_data(records)} "
                 f"{about_choice(records)} W: Kendall's concordance of the layers' ranks over folds, each fold's ρ the "
                 "mean over its runs; p: how often folds with shuffled layers agree as well "
                 f"({PERMUTATIONS} permutations); intraclass correlation: the share of the spread over layers in one "
                 "run that other runs repeat, the rest is noise; range: of the layers' means over runs.",
                 ["structure", "Method", "W", "p", "intraclass correlation", "range", "layers; folds, runs"],
                 body), tidy
