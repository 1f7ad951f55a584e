"""The recipe of `reproduce` for the paper's Tables 1 and 2."""

from experiments.papers.kolarik.printed import ROWS
from experiments.runs.reproduction import Recipe, protocol_names

METHODS = [*ROWS, "ln"]  # the paper's, and LN: the paper's library computes LN by default where it says IN


def recipes(rates):
    """{name: `Recipe`} of this paper."""
    full = next(iter(rates))

    def phantoms(protocol):
        # In 32 pixels of 5 mm an arch would be one pixel wide, so the small phantom shows a part of the field of view.
        small = [] if protocol == full else ["--size", "32", "--slices", "40", "--crop", "0.6"]
        return [(f"phantom-spine-{32 if small else 256}.h5", ["spine-phantom", *small])]

    def time(protocol, data, methods):
        return ["time", "--protocol", protocol, "--data", *data, "--size", "256" if protocol == full else "64",
                "--methods", *methods]

    return {"kolarik": Recipe("Kolarik et al. 2020, 3-D: Tables 1 and 2", "build/kolarik", protocol_names(rates),
                              phantoms, defaults={"methods": METHODS, "folds": [1]}, measure=time)}
