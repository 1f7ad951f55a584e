"""The commands that only this paper has: runs on its claims, the cost of ILN, the time of a full grid, a GPU check."""

from pathlib import Path

from experiments.analysis import cost as cost_table
from experiments.analysis.paper import methods_of
from experiments.measure import cost, scale, verify_gpu
from experiments.papers.iln.tables import published_cost
from experiments.runs import options, stages
from experiments.runs.display import show
from ilnrepro.norms import kernels
from ilnrepro.protocols import PROTOCOLS
from ilnrepro.storage import files


def add(commands, paper):
    """Adds the commands to the subparsers `commands`."""
    evidence = commands.add_parser("evidence", help="do the runs of one stage of the evidence on the paper's claims")
    evidence.add_argument("--stage", type=int, choices=paper.evidence.stages, required=True, help="; ".join(
        f"{number}: {stage.purpose}" for number, stage in paper.evidence.stages.items()))
    evidence.add_argument("--data", type=Path, nargs="+", required=True, help="data set files, one a structure")
    evidence.add_argument("--protocol", default="lite", help=f"one of {', '.join(PROTOCOLS)}, for the stages that name "
                          "none (default: lite)")
    evidence.add_argument("--chosen-in", type=Path, metavar="DIR", help="results folder of the runs by which rates are "
                          "chosen (default: --results)")
    options.add_execution(evidence)
    options.add_results(evidence)
    evidence.set_defaults(act=lambda a: stages.do_stage(
        stages.Planner(paper, a.data, a.protocol, a.results, a.chosen_in), a.stage, a))
    cost_parser = commands.add_parser("cost", help="time 200 training iterations of IN and ILN at the paper's size")
    cost_parser.add_argument("--kernels", default="auto", choices=kernels.CHOICES)
    options.add_results(cost_parser)
    cost_parser.set_defaults(act=_cost)
    scale.add(commands, methods_of(paper.select_tables()), paper.rates["paper"])
    verify_gpu.add(commands, write_cost)


def _cost(arguments):
    files.check_writable(arguments.results)
    kernels.use(arguments.kernels)
    show([write_cost(cost.measure(), arguments.results)])
    return 0


def write_cost(measured, results):
    """Writes the measurement and its table into `results`; returns the table for the screen."""
    return cost_table.write(measured, published_cost(), results)
