"""`python -m experiments`: the grids of runs behind the papers' tables, and the tables themselves."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console

from experiments import (
    agreement,
    cost,
    coverage,
    dualnorm,
    epoch_time,
    evidence,
    grid,
    planning,
    readme,
    scores,
    secondary,
    selection,
    statistics,
    tables,
    verdicts,
)
from experiments.executors import EXECUTORS
from experiments.papers import RATES, TABLES, methods_of, tables_of
from ilnrepro import cli, dataset, files
from ilnrepro.errors import InputError, command, whole_number
from ilnrepro.norms import kernels
from ilnrepro.norms import method as method_row
from ilnrepro.protocols import PROTOCOLS, protocol


def parser():
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do the runs of some tables, then write the tables")
    run.add_argument("--quiet", action="store_true", help="do not print the tables")
    show = commands.add_parser("tables", help="write the tables from run files alone")
    for one in (run, show):
        cli.add_variants(one)
        one.add_argument("--protocol", required=one is run, help=f"one of {', '.join(PROTOCOLS)}")
        one.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, one a structure")
        one.add_argument("--tables", type=lambda text: int(text) if text.isdigit() else text, nargs="+",
                         choices=TABLES, metavar="N", help="1 2 3 family kolarik (default: the protocol's)")
        one.add_argument("--methods", nargs="*", default=[])
        one.add_argument("--folds", type=int, nargs="*", default=[])
        one.add_argument("--rates", type=float, nargs="*", default=[])
        one.add_argument("--seeds", type=int, nargs="*", default=[])
    proof = commands.add_parser("evidence", help="do the runs of one stage of the evidence on the paper's claims")
    proof.add_argument("--stage", type=int, choices=(1, 2, 3), required=True)
    proof.add_argument("--data", type=Path, nargs="+", required=True, help="data set files, one a structure")
    proof.add_argument("--protocol", default="lite", help=f"one of {', '.join(PROTOCOLS)}")
    dual = commands.add_parser("dualnorm", help="DualNorm-UNet: the runs of every mode, their cost, Dice by site")
    cli.add_variants(dual)
    dual.add_argument("--data", type=Path, required=True, help="data set file that tells sites")
    dual.add_argument("--protocol", default="dualnorm-quick", help="dualnorm-quick or dualnorm")
    dual.add_argument("--train-sites", nargs="*", help="sites to train on, 'all' for all together (default: all, "
                      "and the first alone)")
    dual.add_argument("--methods", nargs="*", default=[])
    dual.add_argument("--folds", type=int, nargs="*", default=[])
    dual.add_argument("--rates", type=float, nargs="*", default=[])
    dual.add_argument("--seeds", type=int, nargs="*", default=[])
    for one in (run, proof, dual):
        one.add_argument("--jobs", type=whole_number(1), help="runs at a time (default: cores over threads a run)")
        one.add_argument("--executor", choices=EXECUTORS, default="local", help="ray: at $ADDRESS, or local")
        one.add_argument("--keep-weights", action="store_true")
        one.add_argument("--tensorboard", type=Path, metavar="DIR", help="write curves for TensorBoard, a subfolder a "
                         "run; with Ray, a folder that every machine sees")
        one.add_argument("--dry-run", action="store_true", help="list the runs still to do as commands")
    measured = commands.add_parser("cost", help="time 200 training iterations of IN and ILN at the paper's size")
    measured.add_argument("--kernels", default="auto", choices=kernels.CHOICES)
    timed = commands.add_parser("time", help="time an epoch and a prediction of every method (Kolarik's Table 1)")
    timed.add_argument("--protocol", required=True, choices=[name for name, row in PROTOCOLS.items() if row.slab])
    timed.add_argument("--data", type=Path, required=True, help="data set file, whose slabs are counted")
    timed.add_argument("--size", type=whole_number(1),
                       help="pixels a side of the slabs measured (default: the data set's)")
    timed.add_argument("--methods", nargs="*", default=[])
    timed.add_argument("--rounds", type=whole_number(1), default=7)
    needed = commands.add_parser("plan", help="how many seeds and subjects would show a difference, from one's runs")
    needed.add_argument("--difference", type=_points, default=0.5, help="in points of Dice (default: 0.5)")
    needed.add_argument("--protocol", help=f"one of {', '.join(PROTOCOLS)}")
    needed.add_argument("--methods", nargs="*", default=[])
    covered = commands.add_parser("coverage", help="simulate how often intervals hold the truth")
    covered.add_argument("--results", type=Path, help="do every cell, and write coverage.{md,csv} there (default: "
                         "every tenth cell, printed)")
    commands.add_parser("readme", help="insert the tables into README.md")
    for one in (run, show, proof, dual, measured, timed, needed):
        one.add_argument("--results", type=Path, required=True)
    return top


def _points(text):
    """A difference in points of Dice above 0."""
    try:
        if 0 < (value := float(text)) < 100:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}' is no difference in points of Dice; give a number above 0, as 0.5")


def main(argv=None):
    """Runs one command; returns the exit status."""
    arguments = parser().parse_args(argv)
    if arguments.command == "readme":
        readme.update("README.md")
        return 0
    if arguments.command == "coverage":
        if arguments.results:
            files.check_writable(arguments.results)
        _print([coverage.write(arguments.results) if arguments.results else coverage.sample()])
        return 0
    if arguments.command == "cost":
        files.check_writable(arguments.results)
        kernels.use(arguments.kernels)
        _print([cost.write(cost.measure(), arguments.results)])
        return 0
    if arguments.command == "evidence":
        return _do(evidence.stage(arguments.stage, arguments.data, arguments.protocol, arguments.results), arguments)
    for name in arguments.methods:
        method_row(name)
    if arguments.command == "dualnorm":
        return _dualnorm(arguments)
    if arguments.command == "plan":
        return _plan(arguments)
    if arguments.command == "time":
        files.check_writable(arguments.results)
        _print([epoch_time.write(epoch_time.measure(arguments.protocol, arguments.data, arguments.size,
                                                    arguments.methods or None, arguments.rounds), arguments.results)])
        return 0
    return _run(arguments) if arguments.command == "run" else _tables(arguments, arguments.tables)


def _run(arguments):
    if not arguments.data:
        raise InputError("--data: no data set; give LV=FILE.h5 or RV=FILE.h5, or make one with `make data`")
    if arguments.protocol.startswith("dualnorm"):
        raise InputError(f"--protocol: {arguments.protocol} has modes, not tables; use `make reproduce-dualnorm`")
    numbers = arguments.tables or tables_of(arguments.protocol)
    jobs = grid.plan(arguments.data, arguments.methods or methods_of(numbers),
                     protocol(arguments.protocol, **cli.variants(arguments)),
                     arguments.rates or RATES[arguments.protocol], arguments.seeds or [0], arguments.folds or None)
    return _do(jobs, arguments, lambda: _tables(arguments, numbers, arguments.quiet))


def _dualnorm(arguments):
    changes = cli.variants(arguments)
    for given in {"class_mask", "site"} & set(changes):
        raise InputError(f"--{given.replace('_', '-')}: this command does every mode, on the sites of --train-sites; "
                         "leave it out")
    jobs = dualnorm.plan(arguments.data, arguments.protocol, arguments.methods, arguments.train_sites, arguments.rates,
                         arguments.seeds, arguments.folds, **changes)
    if not arguments.dry_run and grid.remaining(jobs, arguments.results):
        files.check_writable(arguments.results)
        size = dataset.read(arguments.data).images.shape[-1] // jobs[0].configuration.protocol.shrink
        measured = dualnorm.measure(arguments.protocol, size)
        files.write_json(arguments.results / f"{dualnorm.COST_STEM}.json", measured)
    return _do(jobs, arguments, lambda: _print(dualnorm.write(arguments.results, arguments.protocol,
                                                             [arguments.data.stem], **changes)))


def _plan(arguments):
    records = scores.collect(arguments.results, arguments.protocol, methods=arguments.methods or None)
    table, _ = planning.build(evidence.without_answers(records), arguments.difference / 100)
    _print([table])
    print(table.caption)
    return 0


def _do(jobs, arguments, then=lambda: None):
    """Does the runs, then what is to be done if any succeeded; tells which failed. Returns the exit status."""
    options = ["--keep-weights"] if arguments.keep_weights else []
    if arguments.tensorboard:
        options += ["--tensorboard", str(arguments.tensorboard.absolute())]
        if not arguments.dry_run:
            files.check_writable(arguments.tensorboard)
    if arguments.dry_run:
        return _dry_run(jobs, arguments, options)
    failed = grid.run(jobs, arguments.results, arguments.executor, arguments.jobs, options)
    try:
        if len(failed) < len(jobs):
            then()
    finally:
        for job, reason in failed:
            print(f"failed: {job.configuration.path}: {reason}", file=sys.stderr)
        if failed:
            print(f"{len(failed)} of {len(jobs)} runs failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


def _dry_run(jobs, arguments, options):
    """Lists the runs still to do as commands, for a job array of any scheduler, with an estimate of their time."""
    todo = grid.remaining(jobs, arguments.results, options)
    for job in todo:
        print(shlex.join([*job.command, "--results", str(arguments.results), *options]))
    seconds = grid.estimate(todo, arguments.results)
    time = "no finished run to estimate from" if seconds is None else f"about {seconds / 3600:.1f} hours of one worker"
    print(f"{len(todo)} of {len(jobs)} runs to do: {time}", file=sys.stderr)
    return 0


def _tables(arguments, numbers, quiet=False):
    variant = cli.variant(arguments)
    records = scores.collect(arguments.results, arguments.protocol, [path.stem for path in arguments.data] or None,
                             variant, arguments.methods or None, arguments.folds or None, arguments.rates or None,
                             arguments.seeds or None)
    if not arguments.methods:
        records = evidence.without_answers(records)
    keys = numbers or tables_of(records[0].configuration.protocol.name if records else "")
    shown = [table for key in keys
             for table in tables.write(key, records, arguments.results / "tables", arguments.methods or None)]
    statistics.write(records, arguments.results / "tables")
    datasets = sorted({record.configuration.dataset for record in records})
    if not keys:
        shown += dualnorm.write(arguments.results, records[0].configuration.protocol.name, datasets,
                                **cli.variants(arguments))
    further = [] if variant or not keys or "kolarik" in keys else [  # these judge the ILN paper's claims
        *verdicts.write(records, arguments.results),
        *(made.write(records, arguments.results) for made in (secondary, selection, agreement)),
        evidence.write(arguments.results, records[0].configuration.protocol.name, datasets)]
    shown += [table.rich() for table in further if table]
    if measured := cost.measurement(arguments.results / "cost.json"):
        shown.append(cost.write(measured, arguments.results))
    if measured := cost.measurement(arguments.results / f"{epoch_time.STEM}.json"):
        shown.insert(0, epoch_time.write(measured, arguments.results))
    if quiet:
        return 0
    _print(shown)
    print(f"run files: {arguments.results / 'runs'}\ntables:    {arguments.results / 'tables'}\nfigures:   "
          f"{arguments.results / 'figures'} (make figures)")
    return 0


def _print(shown):
    width = max(shutil.get_terminal_size().columns, 160)  # tables are cut rather than folded when wider than this
    console = Console(width=width)
    for table in shown:
        console.print(table)


if __name__ == "__main__":
    command(main)
