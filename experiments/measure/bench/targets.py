"""The benchmark's targets, and whether they are reached."""

from typing import NamedTuple

from experiments.measure.bench import product
from experiments.measure.bench.limits import step_flop

PEERS = ("torch-eager", "torch-compile", "keras", "keras-onednn")
COST = [(implementation, method) for implementation in ("native", "reference") for method in ("in", "iln")]


class Target(NamedTuple):
    """One target.

    Attributes:
      description: the measured quantity in words.
      kind: 'at most' or 'at least'.
      bound, measured: of the quantity.
    """

    description: str
    kind: str
    bound: float
    measured: float

    @property
    def reached(self):
        return self.measured <= self.bound if self.kind == "at most" else self.measured >= self.bound


def targets(results):
    """The `Target`s whose parts have been measured, for two cores and float32."""
    steps, use, volumes = (_ratios(results, part) for part in ("steps", "use", "volumes"))
    wide = "AVX-512" in results["machine"].get("processor", "")
    memory = {(m["network"], m["implementation"], m["method"]): m["mib"] for m in results.get("memory", [])}

    def over_ours(implementations, method, batch=1):
        theirs = [steps[i, method, 256, batch] for i in implementations if (i, method, 256, batch) in steps]
        return _ratio(min(theirs, default=None), steps.get(("native", "iln", 256, batch)))

    def largest_ratio(*sizes):
        return max((r["ratio_to_none"] for r in results.get("methods", []) if r["size"] in sizes
                    and r["method"] != "none"), default=None)

    listed = [
        ("plain tf.nn none as installed over our ILN, 256², batch 1", "at least", 1.2 if wide else 2.5,
         over_ours(["installed"], "none")),
        *((f"best of PyTorch and Keras, none, over our ILN, 256², batch {b}", "at least", 1.15 if wide else 1.3,
           over_ours(PEERS, "none", b)) for b in (1, 8)),
        *((f"best peer's ILN over ours, 256², batch {b}", "at least", 1.8, over_ours(PEERS, "iln", b)) for b in (1, 8)),
        ("any method over our none, 256² and 128², 1 and 2 threads", "at most", 1.03, largest_ratio(256, 128)),
        ("any method over our none, 64², 1 and 2 threads", "at most", 1.06, largest_ratio(64)),
        ("the step's share of the product's rate (ILN, 256², batch 1)", "at least", 0.7, share(results)),
        ("peak memory of the step, ILN over plain none, 256², batch 8", "at most", 0.85,
         _ratio(memory.get(("paper", "native", "iln")), memory.get(("paper", "reference", "none")))),
        ("3-D step, plain tf.nn none with oneDNN over our IN", "at least", 1.25,
         _ratio(1, next((r for key, r in volumes.items() if key[:2] == ("native", "in")), None))),
        *((description, "at most", bound, _ratio(use.get((way, "iln", 256, 1)), use.get((way, "none", 256, 1))))
          for description, bound, way in (("exported ILN over exported none, 256²", 1.45, "exported"),
                                          ("predicting with ILN over with none, native, 256²", 1.05, "predict"))),
        ("200 iterations of IN and ILN, both forms, minutes", "at most", 4, _minutes(results)),
        *((f"real training over the bare step, {r['size']}²", "at least", 0.95, r["training_over_bare"])
          for r in results.get("end_to_end", [])),
    ]
    return [Target(*target) for target in listed if target[-1] is not None]


def share(results, batch=1):
    """The rate of our ILN step at 256² over the faster library's of a matrix product; None if unmeasured."""
    rows = _ratios(results, "steps")
    step = rows.get(("native", "iln", 256, batch))
    fastest = min((r for (i, _, s, b), r in rows.items() if (i, s, b) == ("product", 256, batch)), default=None)
    return None if step is None or fastest is None else batch * step_flop(256) / step / (product.FLOP / fastest)


def _ratios(results, part):
    """{(implementation, method, size, batch): ratio to none} with two threads, in the faster of two memory layouts."""
    ratios = {}
    for row in results.get(part, []):
        key = row["implementation"], row["method"], row["size"], row["batch"]
        if row["threads"] == 2:
            ratios[key] = min(row["ratio_to_none"], ratios.get(key, float("inf")))
    return ratios


def _ratio(a, b):
    return None if a is None or b is None else a / b


def _minutes(results):
    """The time of 200 steps of each method and form of `COST`, minutes; None if unmeasured."""
    ms = {(r["implementation"], r["method"]): r["ms"] for r in results.get("steps", [])
          if (r["size"], r["batch"], r["threads"]) == (256, 1, 2)}
    return sum(ms[key] for key in COST) * 200 / 60000 if all(key in ms for key in COST) else None
