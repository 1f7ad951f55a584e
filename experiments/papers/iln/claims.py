"""The paper's claims, the criteria that judge them, and the questions that the paper leaves open."""

from experiments.analysis.paper import Question
from experiments.analysis.verdicts import AccuracyClaim, CostClaim, GateClaim, ParameterClaim
from experiments.papers.iln.tables import TABLES, published_cost

CRITERIA = (
    "Verdict, the first that holds: no data; supported, the 95 % interval of the difference lies above 0; "
    "contradicted, below 0; no gain of half a point, the one-sided 95 % upper bound lies below 0.5 (non-superiority, "
    "not equivalence); undecided. The difference: of Dice, mean over the subjects of all folds, at the rates chosen by "
    "the rule 'cross-fold'. "
    "For LV by protocol lite these criteria came after the runs; 'before' is the verdict by the criteria that stood "
    "before them (reproduced: the interval of a bootstrap over subjects and seeds above 0; not reproduced: its upper "
    "end below 0.5; else cannot tell). For all other data the criteria were fixed in advance.")
FURTHER_CRITERIA = (
    "ρ differs over layers: Kendall's W of the layers' ranks over the folds, each fold's ρ the mean over its runs; "
    "reproduced where a permutation test of the ranks gives p < 0.05, else cannot tell. Cost: reproduced where the "
    "95 % interval of the ratio (over rounds on one machine) lies below the paper's ratio, rounded up to two digits, "
    "not reproduced where it lies above. Parameters: by equality.")

# The claims that one method is better than another: (first, second, number of the paper's table, text).
_COMPARISONS = (
    ("sigmoid", "clip", 1, "Sigmoid is better than Clip"),
    ("sigmoid", "softmax", 1, "Sigmoid is better than Softmax"),
    ("iln", "sigmoid", 2, "GN16 after the mix helps"),
    ("iln", "none", 3, "ILN is better than None"),
    ("iln", "in", 3, "ILN is better than IN"),
    ("iln", "ln", 3, "ILN is better than LN"),
    ("iln", "gn4", 3, "ILN is better than GN4"),
)


def _accuracy_claims(structure, seen=()):
    return [AccuracyClaim(first, second, structure, TABLES[number].published, text, seen)
            for first, second, number, text in _COMPARISONS]


CLAIMS = (*_accuracy_claims("LV", ("lite",)), *_accuracy_claims("RV"))
_RATIO = published_cost()["ILN"]["seconds"] / published_cost()["IN"]["seconds"]
FURTHER_CLAIMS = (
    GateClaim("iln", "LV", "figure 3", "ρ is learned differently over the layers"),
    ParameterClaim("iln", "in", 22, "ILN has 22 parameters more than IN"),
    *(CostClaim("iln", "in", form, _RATIO, f"ILN costs {_RATIO:.2f} times IN, {text}")
      for form, text in (("reference", "composed literally"), ("fused", "as this library computes it"))),
)

QUESTIONS = (
    Question("gate frozen at 0 (GN16 of LN, which is GN16)", "iln", "iln", {"frozen_gate": 0.0}),
    Question("gate frozen at 0.5", "iln", "iln", {"frozen_gate": 0.5}),
    Question("gate frozen at 0.622 (its start)", "iln", "iln", {"frozen_gate": 0.622}),
    Question("gate frozen at 1 (IN alone)", "iln", "iln", {"frozen_gate": 1.0}),
    Question("Sigmoid started at gate 0.5, as Clip and Softmax are", "sigmoid", "sigmoid", {"rho": 0.0}),
    Question("4 groups after the mix", "iln4", "iln", {}),
    Question("8 groups after the mix", "iln8", "iln", {}),
    Question("GN divides by the variance", "iln", "iln", {"group_divisor": "variance"}),
    Question("initializer as printed, 2/(3²·C)", "iln", "iln", {"initializer": "printed"}),
    Question("ε 1e-12", "iln", "iln", {"epsilon": 1e-12}),
)
