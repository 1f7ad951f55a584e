"""How the paper's tables and figures are reproduced, and every method beside them."""

from experiments.runs.reproducing import Recipe, with_own

# At 64 pixels the heart would be a dozen wide, so the small phantoms keep two thirds of the field of view.
_SMALL = ["--size", "64", "--crop", "0.67"]
_SHORT = ("tiny", "quick")


def heart(structure, protocol):
    """(file name, words) of a phantom, small for the short protocols."""
    small = protocol in _SHORT
    return (f"phantom-{structure.lower()}-{64 if small else 256}.h5",
            ["phantom", "--structure", structure, *(_SMALL if small else [])])


def recipes(rates):
    """By name."""
    protocols = with_own(rates)
    return {
        "iln": Recipe("Zhou et al. 2019: Tables 1 to 3, figures, cost", "build/results", protocols,
                      lambda protocol: [heart("LV", protocol), heart("RV", protocol)],
                      measure=lambda protocol, data, methods: ["cost"]),
        # Over one image batch statistics are instance statistics, so the methods that pool over the batch are compared
        # at four. In the short protocols batch renormalization is BN for 100 steps, which its averages remember; in the
        # longer ones for its paper's 5000.
        "family": Recipe("every method of the table at batch 4 on one data set", "build/family", protocols,
                         lambda protocol: [heart("LV", protocol)],
                         defaults={"tables": ["family"], "changes": lambda protocol: {
                             "batch": 4, **({"renorm_steps": 100} if protocol in _SHORT else {})}}, tables=False),
    }
