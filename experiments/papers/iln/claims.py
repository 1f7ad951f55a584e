"""What the paper claims, by what that is judged, and what it leaves open."""

from experiments.analysis.paper import Question
from experiments.analysis.verdicts import Better, Cost, Layers, Parameters
from experiments.papers.iln.tables import TABLES, published_cost

CRITERIA = (
    "Criteria, fixed before the runs. A method better than another: the paired difference of Dice, mean over the "
    "subjects of all folds, at the rates chosen by the rule 'cross-fold'; reproduced where its 95 % interval lies "
    "above 0, not reproduced where the interval's upper end is below half a point (0.005), else cannot tell. ρ differs "
    "over layers: the two layers that differ most in the other folds' runs, measured in a fold's own; reproduced where "
    "the 95 % interval over runs lies above 0, not reproduced where its upper end is below 0.01. Cost: reproduced "
    "where the 95 % interval of the ratio (over rounds on one machine) lies below the paper's ratio, rounded up to two "
    "digits, not reproduced where it lies above. Parameters: by equality.")

# First, second, the table that says so.
_BETTER = (
    ("sigmoid", "clip", 1, "Sigmoid is better than Clip"),
    ("sigmoid", "softmax", 1, "Sigmoid is better than Softmax"),
    ("iln", "sigmoid", 2, "GN16 after the mix helps"),
    ("iln", "none", 3, "ILN is better than None"),
    ("iln", "in", 3, "ILN is better than IN"),
    ("iln", "ln", 3, "ILN is better than LN"),
    ("iln", "gn4", 3, "ILN is better than GN4"),
)


def _better(structure, missing):
    return [Better(first, second, structure, TABLES[number].published, words, missing)
            for first, second, number, words in _BETTER]


_RATIO = published_cost()["ILN"]["seconds"] / published_cost()["IN"]["seconds"]
CLAIMS = (
    *_better("LV", "runs missing"),
    Layers("iln", "LV", "figure 3", "ρ is learned differently over the layers"),
    Parameters("iln", "in", 22, "ILN has 22 parameters more than IN"),
    *(Cost("iln", "in", form, _RATIO, f"ILN costs {_RATIO:.2f} times IN, {words}")
      for form, words in (("reference", "composed literally"), ("fused", "as this library computes it"))),
    *_better("RV", "private data"),
)

QUESTIONS = (
    Question("gate frozen at 0 (LN alone)", "iln", "iln", {"frozen_gate": 0.0}),
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
