"""The recipe of `reproduce` for Dice by site in three modes."""

from experiments.runs.reproduction import Recipe, protocol_names


def recipes(rates):
    """{name: `Recipe`} of this paper."""
    full = next(iter(rates))

    def phantoms(protocol):
        size = ["--size", "256"] if protocol == full else ["--size", "64", "--crop", "0.67"]
        return [(f"phantom-sites-{size[1]}.h5", ["phantom", "--structure", "LV", "--sites", "3", *size])]

    return {"dualnorm": Recipe("Xiao et al. 2021: Dice by site in three modes", "build/dualnorm", protocol_names(rates),
                               phantoms, runs=lambda protocol: ["dualnorm"], tables=False, sites=True)}
