"""The paper Xiao et al. 2021: DualNorm-UNet on images of several sites. `PAPER` holds all that belongs to it."""

from experiments.analysis import sites
from experiments.analysis.paper import Paper
from experiments.papers import sunnybrook
from experiments.papers.dualnorm import commands, cost, modes, recipes
from ilnrepro.storage import files


def further_tables(results, name, datasets, changes, _):
    """The table of Dice by site and mode, and the table of the modes' cost if it was measured."""
    groups = sites.groups(results, name, datasets, **changes)
    tidy = sites.rows(groups)
    tables = [("dualnorm", modes.site_table(tidy, [r for group in groups for r in group.records]), tidy)]
    if measured := files.read_json(results / f"{cost.STEM}.json"):
        tables.append((cost.STEM, cost.sheet(measured), measured["rows"]))
    return tables


PAPER = Paper(
    title="DualNorm-UNet",
    rates={"dualnorm": (1e-3,), "dualnorm-quick": (1e-3,)},  # its public code
    omitted=sunnybrook.MISALIGNED,
    preparations=sunnybrook.PREPARATION,
    figures=("sites",),
    further_tables=further_tables,
    commands=commands.add,
    recipes=recipes.recipes,
)
