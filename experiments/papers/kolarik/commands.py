"""The command `python -m experiments time`: the time of an epoch and a prediction with each method, for Table 1."""

from pathlib import Path

from experiments.measure import epoch_time
from experiments.papers.kolarik import times
from experiments.papers.kolarik.printed import ROWS
from experiments.runs import options
from experiments.runs.display import show
from ilnrepro.arguments import integer
from ilnrepro.comparison import sheet
from ilnrepro.storage import files


def add(commands, paper):
    """Adds the command to the subparsers `commands`."""
    parser = commands.add_parser("time", help="time an epoch and a prediction of all methods (Kolarik's Table 1)")
    parser.add_argument("--protocol", required=True, choices=list(paper.rates))
    parser.add_argument("--data", type=Path, required=True, help="data set file, whose slabs are counted")
    parser.add_argument("--size", type=integer(1),
                        help="pixels a side of the slabs measured (default: the data set's)")
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--rounds", type=integer(1), default=7)
    options.add_results(parser)
    parser.set_defaults(act=measure_times)


def measure_times(arguments):
    """Measures the times, and writes them and their table; returns the exit status."""
    files.check_writable(arguments.results)
    measured = epoch_time.measure(arguments.protocol, arguments.data, arguments.methods or ROWS, arguments.size,
                                  arguments.rounds)
    show([write(measured, arguments.results)])
    return 0


def write(measured, results):
    """Writes the measurement and its table into `results`; returns the table for the screen."""
    files.write_json(results / f"{times.STEM}.json", measured)
    table, tidy = times.build(measured)
    sheet.write(results / "tables", times.STEM, table, tidy)
    return table.rich()
