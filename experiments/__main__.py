"""The command `python -m experiments`: the grids of runs behind the papers' tables, the tables, and measurements."""

import argparse
from pathlib import Path

from experiments.analysis import needs, readme
from experiments.analysis.coverage import committed_rows
from experiments.analysis.paper import methods_of
from experiments.analysis.results import read_results
from experiments.measure import coverage, last_steps, winners
from experiments.measure.bench import command as bench
from experiments.papers import PAPERS, paper_of, sunnybrook
from experiments.runs import execution, options, packaged, reproduction, rescoring
from experiments.runs.display import show, show_tables
from ilnrepro.arguments import add_variants, integer, variants
from ilnrepro.comparison import planning
from ilnrepro.console import command
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row
from ilnrepro.protocols import PROTOCOLS, protocol
from ilnrepro.storage import files


def parser():
    """The parser of the command line, to which papers add commands of their own."""
    top = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do the runs of some tables, then write the tables")
    run.add_argument("--quiet", action="store_true", help="do not print the tables")
    tables = commands.add_parser("tables", help="write the tables from run files alone")
    keys = ["family", *(key for paper in PAPERS for key in paper.tables)]
    for to in (run, tables):
        add_variants(to)
        to.add_argument("--protocol", required=to is run, help=f"one of {', '.join(PROTOCOLS)}")
        to.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, one a structure")
        to.add_argument("--tables", type=lambda text: int(text) if text.isdigit() else text, nargs="+", choices=keys,
                        metavar="N", help=f"of {' '.join(map(str, keys))} (default: the protocol's)")
        options.add_selection(to)
        options.add_results(to)
    options.add_execution(run)
    run.set_defaults(act=_run)
    tables.set_defaults(act=lambda arguments: show_tables(paper_of, arguments, arguments.tables))
    for paper in PAPERS:
        paper.commands(commands, paper)
    recipes = {name: recipe for paper in PAPERS for name, recipe in paper.recipes(paper.rates).items()}
    reproduction.add(commands, recipes)
    bench.add(commands)
    rescoring.add(commands)
    last_steps.add(commands)
    packaged.add(commands, sunnybrook.PIXEL)
    _add_interval_commands(commands)
    commands.add_parser("readme", help="insert the tables into README.md and docs/").set_defaults(act=_readme)
    return top


def _add_interval_commands(commands):
    """Adds the commands on the intervals of differences: `plan`, `coverage` and `winners`."""
    plan = commands.add_parser("plan", help="how many seeds and subjects would show a difference, by the runs at hand")
    plan.add_argument("--difference", type=options.points, default=0.5, help="in points of Dice (default: 0.5)")
    plan.add_argument("--protocol", help=f"one of {', '.join(PROTOCOLS)}")
    plan.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, one a structure")
    plan.add_argument("--methods", nargs="*", default=[])
    options.add_results(plan)
    plan.set_defaults(act=_plan)
    simulated = commands.add_parser("coverage", help="simulate how often intervals hold the truth")
    simulated.add_argument("--results", type=Path, help="simulate all cells, and write coverage.{md,csv} there "
                           "(default: every tenth cell, printed)")
    simulated.set_defaults(act=_coverage)
    winner = commands.add_parser("winners", help="simulate how often a comparison names a winner, rightly and wrongly")
    winner.add_argument("--studies", type=integer(1), default=winners.STUDIES, help=f"of each kind (default: "
                        f"{winners.STUDIES}, ten minutes)")
    winner.add_argument("--results", type=Path, help="write winners.md there")
    winner.set_defaults(act=_winners)


def main(argv=None):
    """Runs one command; returns the exit status."""
    arguments = parser().parse_args(argv)
    for name in getattr(arguments, "methods", []):
        method_row(name)
    return arguments.act(arguments)


def _run(arguments):
    if not arguments.data:
        raise InputError("--data: no data set; name one a structure, or use `python -m experiments reproduce`")
    training = protocol(arguments.protocol, **variants(arguments))
    paper = paper_of(arguments.protocol)
    tables = paper.select_tables(arguments.tables)
    if not tables:
        raise InputError(f"--protocol: {arguments.protocol}: {paper.title} has no such tables; use one of "
                         f"`python -m experiments {'|'.join(paper.recipes(paper.rates))}`")
    jobs = planning.plan(arguments.data, arguments.methods or methods_of(tables), training,
                         arguments.rates or paper.rates[arguments.protocol], arguments.seeds or [0],
                         arguments.folds or None)
    return execution.execute(jobs, arguments,
                             lambda: show_tables(paper_of, arguments, arguments.tables, arguments.quiet))


def _plan(arguments):
    results = read_results(paper_of, arguments.results, arguments.protocol, [p.stem for p in arguments.data] or None,
                           methods=arguments.methods or None)
    table, _ = needs.build(results.paper, results.records, arguments.difference / 100)
    show([table.rich()])
    print(table.caption)
    return 0


def _coverage(arguments):
    if arguments.results:
        files.check_writable(arguments.results)
    table = coverage.write(arguments.results) if arguments.results else coverage.sample(committed_rows())
    show([table.rich()])
    return 0


def _winners(arguments):
    if arguments.results:
        files.check_writable(arguments.results)
    table = winners.measure(arguments.studies)
    if arguments.results:
        files.write(arguments.results / "winners.md", table.markdown())
    show([table.rich()])
    return 0


def _readme(_):
    for document in readme.documents(Path()):
        readme.update(document, Path())
    return 0


if __name__ == "__main__":
    command(main)
