"""`python -m experiments`: the grids of runs behind the papers' tables, the tables themselves, and measurements."""

import argparse
from pathlib import Path

from experiments.analysis import coverage as known
from experiments.analysis import needs, readme, results
from experiments.analysis.paper import methods_of
from experiments.measure import coverage, last_steps, winners
from experiments.measure.bench import command as bench
from experiments.papers import PAPERS, paper_of
from experiments.runs import doing, options, reproduction, rescoring
from experiments.runs.showing import show, show_tables
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
    reproduction.add(commands, {name: recipe for paper in PAPERS for name, recipe in paper.recipes(paper.rates).items()})
    bench.add(commands)
    rescoring.add(commands)
    last_steps.add(commands)
    _add_sureness(commands)
    commands.add_parser("readme", help="insert the tables into README.md and docs/").set_defaults(act=_readme)
    return top


def _add_sureness(commands):
    """Adds the commands `plan` and `coverage`, on the intervals of differences."""
    needed = commands.add_parser("plan", help="how many seeds and subjects would show a difference, from one's runs")
    needed.add_argument("--difference", type=options.points, default=0.5, help="in points of Dice (default: 0.5)")
    needed.add_argument("--protocol", help=f"one of {', '.join(PROTOCOLS)}")
    needed.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, one a structure")
    needed.add_argument("--methods", nargs="*", default=[])
    options.add_results(needed)
    needed.set_defaults(act=_plan)
    covered = commands.add_parser("coverage", help="simulate how often intervals hold the truth")
    covered.add_argument("--results", type=Path, help="do every cell, and write coverage.{md,csv} there (default: "
                         "every tenth cell, printed)")
    covered.set_defaults(act=_coverage)
    named = commands.add_parser("winners", help="simulate how often a comparison names a winner, rightly and wrongly")
    named.add_argument("--studies", type=integer(1), default=winners.STUDIES, help=f"of each kind (default: "
                       f"{winners.STUDIES}, ten minutes)")
    named.set_defaults(act=lambda arguments: _winners(arguments.studies))


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


def _plan(arguments):
    shown = results.read(paper_of, arguments.results, arguments.protocol, [p.stem for p in arguments.data] or None,
                         methods=arguments.methods or None)
    table, _ = needs.build(shown.paper, shown.records, arguments.difference / 100)
    show([table.rich()])
    print(table.caption)
    return 0


def _coverage(arguments):
    if arguments.results:
        files.check_writable(arguments.results)
    table = coverage.write(arguments.results) if arguments.results else coverage.sample(known.committed())
    show([table.rich()])
    return 0


def _winners(studies):
    show([winners.measure(studies).rich()])
    return 0


def _readme(_):
    for document in readme.documents(Path()):
        readme.update(document, Path())
    return 0


if __name__ == "__main__":
    command(main)
