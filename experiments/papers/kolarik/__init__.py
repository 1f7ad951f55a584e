"""The paper Kolarik, Burget and Riha 2020: normalizations in a 3-D Res-U-Net. `PAPER` holds all that belongs to it."""

from experiments.analysis.paper import Paper, PaperTable
from experiments.papers.kolarik import commands, recipes, times
from experiments.papers.kolarik.printed import ROWS, published_dice
from ilnrepro.storage import files

TABLE = PaperTable(
    "Table 2 of Kolarik et al. 2020", "kolarik-table2", "normalizations at batch 1 in a 3-D Res-U-Net", ROWS,
    ("spine",), (), frozenset(ROWS), published_dice, lambda title, synthetic, folds: True,
    "'published' is the paper's Dice on the CSI 2014 scans at 16×256×256 after 30 epochs at rate 5e-5, its split "
    "of the ten subjects unknown; it does not compare with other data or a shorter training.",
    {"kolarik-quick": "Dice is under-trained here: it shows that everything works, not which method is best."})


def further_tables(results, *_):
    """The paper's Table 1, if the times were measured."""
    measured = files.read_json(results / f"{times.STEM}.json")
    return [(times.STEM, *times.build(measured))] if measured else []


PAPER = Paper(
    title="Kolarik et al. 2020",
    rates={"kolarik": (5e-5,), "kolarik-quick": (1e-3,)},  # section 3.4
    tables={"kolarik": TABLE},
    figures=("predictions",),
    further_tables=further_tables,
    commands=commands.add,
    recipes=recipes.recipes,
)
