"""What the benchmark should reach, and whether it did."""

from typing import NamedTuple

BATCHES = (1, 8)


class Target(NamedTuple):
    """One bound: in words, 'at most' or 'at least', the bound, and what was measured."""

    words: str
    kind: str
    bound: float
    measured: float

    @property
    def reached(self):
        return self.measured <= self.bound if self.kind == "at most" else self.measured >= self.bound


def targets(found):
    """The `Target`s that the parts measured so far tell, for two cores and float32."""
    ratios = {}
    for row in found.get("steps", []):
        key = row["implementation"], row["method"], row["size"], row["batch"]
        # Of two memory layouts the better is quoted.
        ratios[key] = min(row["ratio_to_none"], ratios.get(key, float("inf")))

    def ratio(implementation, method, size=256, batch=1):
        return ratios.get((implementation, method, size, batch))

    def worst(size, batch):
        values = [r for (i, m, s, b), r in ratios.items() if (i, s, b) == ("native", size, batch) and m != "none"]
        return max(values, default=None)

    def over_ours(peer, method="iln", batch=1):
        theirs, ours = ratio(peer, method, 256, batch), ratio("native", method, 256, batch)
        return theirs / ours if theirs and ours else None

    def best_peer(method):
        return min((r for p in ("torch-eager", "torch-compile", "keras") if (r := over_ours(p, method))), default=None)

    def first_over_second(first, second, batch):
        a, b = ratio("native", first, 256, batch), ratio("native", second, 256, batch)
        return a / b if a and b else None

    peers = {"torch-eager": ("PyTorch eager", 1.6), "torch-compile": ("torch.compile", 1.4), "keras": ("Keras", 1.6)}
    plain = ratio("torch-eager", "none"), ratio("torch-compile", "none")
    ends = found.get("end_to_end", [])
    listed = [
        *((f"any method, native, 256², batch {b}, over none", "at most", 1.10, worst(256, b)) for b in BATCHES),
        ("any method, native, 128², batch 1, one thread, over none", "at most", 1.12, worst(128, 1)),
        *((f"ILN over IN, native, 256², batch {b}", "at most", 1.03, first_over_second("iln", "in", b))
          for b in BATCHES),
        ("ILN, TensorFlow kernels, 256², over none", "at most", 1.45, ratio("tensorflow", "iln")),
        ("literal ILN over ours, 256²", "at least", 2.2, over_ours("reference")),
        *((f"{title} ILN over ours, 256², batch {b}", "at least", bound, over_ours(peer, batch=b))
          for peer, (title, bound) in peers.items() for b in BATCHES),
        *((f"best peer's {m.upper()} over ours, 256²", "at least", 1.05, best_peer(m)) for m in ("in", "gn4")),
        ("literal IN over none, 256²", "at most", 1.45, ratio("reference", "in")),
        ("plain none over PyTorch's best none, 256²", "at most", 1.05, 1 / min(plain) if all(plain) else None),
        ("the step's share of the matrix product's rate (ILN)", "at least", 0.5, found.get("limits", {}).get("share")),
        ("peak memory of the step, batch 8, ours over literal", "at most", 0.6, found.get("memory", {}).get("ratio")),
        *((f"real training over the bare step, {r['size']}²", "at least", 0.95, r["training_over_bare"])
          for r in ends),
    ]
    return [Target(*one) for one in listed if one[-1] is not None]
