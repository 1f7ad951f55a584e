"""The commands of this paper alone: the runs on its claims, the cost of ILN, the time of a full grid, a GPU's check."""

from pathlib import Path

from experiments.analysis import cost as table
from experiments.analysis.paper import methods_of
from experiments.measure import cost, scale, verify_gpu
from experiments.papers.iln.tables import published_cost
from experiments.runs import doing, options
from experiments.runs.showing import show
from experiments.runs.stages import stage
from ilnrepro.norms import kernels
from ilnrepro.protocols import PROTOCOLS
from ilnrepro.storage import files


def add(commands, paper):
    """Adds the commands."""
    proof = commands.add_parser("evidence", help="do the runs of one stage of the evidence on the paper's claims")
    proof.add_argument("--stage", type=int, choices=(1, 2, 3), required=True)
    proof.add_argument("--data", type=Path, nargs="+", required=True, help="data set files, one a structure")
    proof.add_argument("--protocol", default="lite", help=f"one of {', '.join(PROTOCOLS)}")
    options.add_doing(proof)
    options.add_results(proof)
    proof.set_defaults(act=lambda a: doing.do(stage(paper, a.stage, a.data, a.protocol, a.results), a))
    measured = commands.add_parser("cost", help="time 200 training iterations of IN and ILN at the paper's size")
    measured.add_argument("--kernels", default="auto", choices=kernels.CHOICES)
    options.add_results(measured)
    measured.set_defaults(act=_cost)
    scale.add(commands, methods_of(paper.chosen_tables()), paper.rates["paper"])
    verify_gpu.add(commands, write_cost)


def _cost(arguments):
    files.check_writable(arguments.results)
    kernels.use(arguments.kernels)
    show([write_cost(cost.measure(), arguments.results)])
    return 0


def write_cost(measured, results):
    """Writes the measurement and its table into `results`; returns the table for the screen."""
    return table.write(measured, published_cost(), results)
