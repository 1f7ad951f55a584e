"""Xiao et al. 2021: DualNorm-UNet, on images of several sites. `PAPER` is all that is the paper's own."""

from experiments.analysis import sites
from experiments.analysis.paper import Paper
from experiments.papers import sunnybrook
from experiments.papers.dualnorm import commands, cost, modes, recipes
from ilnrepro.storage import files


def further(results, name, datasets, changes, _):
    """Dice by site in every mode, and what the modes cost if that was measured."""
    found = sites.groups(results, name, datasets, **changes)
    tidy = sites.rows(found)
    made = [("dualnorm", modes.by_site(tidy, [r for group in found for r in group.records]), tidy)]
    if measured := files.read_json(results / f"{cost.STEM}.json"):
        made.append((cost.STEM, cost.sheet(measured), measured["rows"]))
    return made


PAPER = Paper(
    title="DualNorm-UNet",
    rates={"dualnorm": (1e-3,), "dualnorm-quick": (1e-3,)},  # its public code
    omitted=sunnybrook.MISALIGNED,
    preparations=sunnybrook.PREPARATION,
    figures=("sites",),
    further=further,
    commands=commands.add,
    recipes=recipes.recipes,
)
