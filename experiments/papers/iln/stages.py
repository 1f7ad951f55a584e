"""The runs that judge the paper's claims, in stages. One may stop after any stage.

Within a stage, all folds and rates of a method are done before the next method, so that the finished runs make a table
at any time.
"""

from experiments.analysis.paper import CHOSEN, Runs, Stage
from experiments.papers.iln.claims import QUESTIONS

_TABLE3 = ("in", "iln", "none", "ln", "gn4")
_TABLE1 = ("clip", "sigmoid", "softmax")
_ALL = (*_TABLE3, *_TABLE1)
_HALF = {"shrink": 2}
FURTHER_RATES = (0.02,)  # below the grid's end, which None, LN and GN4 chose

STAGES = {
    1: Stage("all methods at all rates, one seed", (Runs((*_ALL, "bn")),)),
    2: Stage("two further seeds at the chosen rates", (Runs(_ALL, CHOSEN, (1, 2)),), needs=(1,)),
    3: Stage("what the paper leaves open, on one fold",
             tuple(Runs((q.method,), CHOSEN, (0, 1, 2), (1,), q.changes, q.base) for q in QUESTIONS), needs=(1, 2)),
    4: Stage("GN16 alone; baselines tuned fairly; the worst accident of choosing a rate on one seed",
             (Runs(("gn16",)), Runs(("gn16",), CHOSEN, (1, 2)),
              Runs(("none", "ln", "gn4"), FURTHER_RATES, (0, 1, 2)),
              Runs(("iln",), (0.5,), (1, 2), (2,))), needs=(1, 2)),
    5: Stage("the RV columns",
             (Runs(_TABLE3), Runs(_TABLE1, (0.5, 0.1)), Runs(_TABLE1, (1.5, 1.0, 0.05)), Runs(_ALL, CHOSEN, (1, 2))),
             structure="RV"),
    6: Stage("the paper's whole schedule at half resolution: quality or speed?",
             (Runs(_TABLE3, CHOSEN, changes=_HALF), Runs(_TABLE1, CHOSEN, changes=_HALF)),
             protocol="paper", needs=(1,)),
    7: Stage("the paper as printed", (Runs(_ALL, CHOSEN),), protocol="paper", needs=(1,)),
    8: Stage("rates chosen on three seeds",
             (Runs(("in", "iln", "sigmoid", "clip", "softmax"), (1.0, 0.5, 0.1, 0.05), (1, 2)),), needs=(1,)),
}
