"""The paper Zhou et al., MMMI 2019: U-Net Training with Instance-Layer Normalization. `PAPER` holds all of it."""

from experiments.analysis import cost, judgements, questions
from experiments.analysis.paper import Evidence, Paper
from experiments.papers import acdc, sunnybrook
from experiments.papers.iln import commands, recipes
from experiments.papers.iln.claims import CLAIMS, CRITERIA, FURTHER_CLAIMS, FURTHER_CRITERIA, QUESTIONS
from experiments.papers.iln.stages import FURTHER_RATES, STAGES
from experiments.papers.iln.tables import TABLES, published_cost
from ilnrepro.storage import files

RATES = (1.5, 1.0, 0.5, 0.1, 0.05)  # section 2.2


def further_tables(results, name, datasets, _, records):
    """The tables on claims and open questions for runs with the protocol's defaults, and on cost if it was measured."""
    tables = []
    if not records[0].configuration.variant:
        tables += judgements.build(PAPER, records, results)
        if built := questions.build(PAPER.evidence, results, name, datasets):
            tables.append(("questions", *built))
    if measured := files.read_json(results / cost.FILE):
        tables.append(("cost", *cost.build(measured, PAPER.cost)))
    return tables


PAPER = Paper(
    title="Zhou et al. 2019",
    rates={"paper": RATES, "quick": (0.3,), "lite": RATES, "tiny": (0.3,)},
    tables=TABLES,
    claims=CLAIMS,
    criteria=CRITERIA,
    further_claims=FURTHER_CLAIMS,
    further_criteria=FURTHER_CRITERIA,
    averaged_up_to=1.0,  # at 1.5 some methods diverge, and an average with it would show little else
    evidence=Evidence(STAGES, QUESTIONS, further_rates=FURTHER_RATES),
    omitted=sunnybrook.MISALIGNED,
    preparations=sunnybrook.PREPARATION | acdc.PREPARATION,
    stand_ins=acdc.STAND_IN,
    cost=published_cost(),
    further_tables=further_tables,
    commands=commands.add,
    recipes=recipes.recipes,
)
