"""The recipes of `reproduce`: one for the paper's tables and figures, one for all methods of the table of methods."""

from experiments.runs.reproduction import Recipe, protocol_names

# In 64 pixels of the whole field of view the heart would be a dozen pixels wide, so the small phantoms show two thirds.
_SMALL = ["--size", "64", "--crop", "0.67"]
_SHORT = ("tiny", "quick")


def phantom(structure, protocol):
    """(file name, arguments of `data_prep`) of a heart phantom, which is small for the short protocols."""
    small = protocol in _SHORT
    return (f"phantom-{structure.lower()}-{64 if small else 256}.h5",
            ["phantom", "--structure", structure, *(_SMALL if small else [])])


def recipes(rates):
    """{name: `Recipe`} of this paper."""
    protocols = protocol_names(rates)
    return {
        "iln": Recipe("Zhou et al. 2019: Tables 1 to 3, figures, cost", "build/results", protocols,
                      lambda protocol: [phantom("LV", protocol), phantom("RV", protocol)],
                      measure=lambda protocol, data, methods: ["cost"]),
        # Statistics over a batch of one image are those of the instance, so methods that pool over the batch are
        # compared at batch 4. Batch renormalization is plain BN for its paper's 5000 steps in the longer protocols, and
        # for 100 in the short ones, about as many as its moving averages span.
        "family": Recipe("all methods of the table at batch 4 on one data set", "build/family", protocols,
                         lambda protocol: [phantom("LV", protocol)],
                         defaults={"tables": ["family"], "changes": lambda protocol: {
                             "batch": 4, **({"renorm_steps": 100} if protocol in _SHORT else {})}}, tables=False),
    }
