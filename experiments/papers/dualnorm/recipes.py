"""The recipe of `reproduce` for Dice by site in three modes."""

from experiments.runs.reproduction import Recipe, with_own


def recipes(rates):
    """{name: `Recipe`}."""
    full = next(iter(rates))

    def phantom(protocol):
        size = ["--size", "256"] if protocol == full else ["--size", "64", "--crop", "0.67"]
        return [(f"phantom-sites-{size[1]}.h5", ["phantom", "--structure", "LV", "--sites", "3", *size])]

    return {"dualnorm": Recipe("Xiao et al. 2021: Dice by site in three modes", "build/dualnorm", with_own(rates),
                               phantom, runs=lambda protocol: ["dualnorm"], tables=False, sites=True)}
