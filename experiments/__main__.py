"""`python -m experiments`: the grids of runs behind the papers' tables, the tables themselves, and measurements."""

import argparse
from pathlib import Path

from experiments.analysis import readme
from experiments.analysis.paper import methods_of
from experiments.measure.bench import command as bench
from experiments.papers import PAPERS, paper_of
from experiments.runs import doing, options, reproducing
from experiments.runs.showing import show_tables
from ilnrepro.arguments import add_variants, variants
from ilnrepro.comparison import planning
from ilnrepro.console import command
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row
from ilnrepro.protocols import PROTOCOLS, protocol


def parser():
    """The command line's grammar; papers add commands of their own."""
    top = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do the runs of some tables, then write the tables")
    run.add_argument("--quiet", action="store_true", help="do not print the tables")
    show = commands.add_parser("tables", help="write the tables from run files alone")
    keys = ["family", *(key for paper in PAPERS for key in paper.tables)]
    for one in (run, show):
        add_variants(one)
        one.add_argument("--protocol", required=one is run, help=f"one of {', '.join(PROTOCOLS)}")
        one.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, one a structure")
        one.add_argument("--tables", type=lambda text: int(text) if text.isdigit() else text, nargs="+", choices=keys,
                         metavar="N", help=f"of {' '.join(map(str, keys))} (default: the protocol's)")
        options.add_selection(one)
        options.add_results(one)
    options.add_doing(run)
    run.set_defaults(act=_run)
    show.set_defaults(act=lambda arguments: show_tables(paper_of, arguments, arguments.tables))
    for paper in PAPERS:
        paper.commands(commands, paper)
    reproducing.add(commands, {name: recipe for paper in PAPERS for name, recipe in paper.recipes(paper.rates).items()})
    bench.add(commands)
    commands.add_parser("readme", help="insert the tables into README.md").set_defaults(act=_readme)
    return top


def main(argv=None):
    """Runs one command; returns the exit status."""
    arguments = parser().parse_args(argv)
    for name in getattr(arguments, "methods", []):
        method_row(name)
    return arguments.act(arguments)


def _run(arguments):
    if not arguments.data:
        raise InputError("--data: no data set; name one a structure, or use `python -m experiments reproduce`")
    chosen = protocol(arguments.protocol, **variants(arguments))
    paper = paper_of(arguments.protocol)
    tables = paper.chosen_tables(arguments.tables)
    if not tables:
        raise InputError(f"--protocol: {arguments.protocol}: {paper.title} has no such tables; use one of "
                         f"`python -m experiments {'|'.join(paper.recipes(paper.rates))}`")
    jobs = planning.plan(arguments.data, arguments.methods or methods_of(tables), chosen,
                         arguments.rates or paper.rates[arguments.protocol], arguments.seeds or [0],
                         arguments.folds or None)
    return doing.do(jobs, arguments, lambda: show_tables(paper_of, arguments, arguments.tables, arguments.quiet))


def _readme(_):
    readme.update("README.md")
    return 0


if __name__ == "__main__":
    command(main)
