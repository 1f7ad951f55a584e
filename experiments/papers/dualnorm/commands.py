"""The command `python -m experiments dualnorm`: the runs of all modes, the modes' cost, and Dice by site."""

from pathlib import Path

from experiments.papers.dualnorm import cost
from experiments.papers.dualnorm.modes import plan
from experiments.runs import execution, options
from experiments.runs.display import show, write_further_tables
from ilnrepro.arguments import add_variants, variants
from ilnrepro.comparison.planning import remaining
from ilnrepro.errors import InputError
from ilnrepro.storage import dataset, files


def add(commands, paper):
    """Adds the command to the subparsers `commands`."""
    full, short = list(paper.rates)
    parser = commands.add_parser("dualnorm", help=f"{paper.title}: the runs of every mode, their cost, Dice by site")
    add_variants(parser)
    parser.add_argument("--data", type=Path, required=True, help="data set file that tells sites")
    parser.add_argument("--protocol", default=short, help=f"{short} or {full}")
    parser.add_argument("--train-sites", nargs="*", help="sites to train on, 'all' for all together (default: all, and "
                        "the first alone)")
    options.add_selection(parser)
    options.add_execution(parser)
    options.add_results(parser)
    parser.set_defaults(act=lambda arguments: modes(arguments, paper))


def modes(arguments, paper):
    """Does the runs of all modes, measures the modes' cost, and writes the tables; returns the exit status."""
    changes = variants(arguments)
    for key in {"class_mask", "site"} & set(changes):
        raise InputError(f"--{key.replace('_', '-')}: this command does all modes, on the sites of --train-sites; "
                         "leave it out")
    jobs = plan(arguments.data, arguments.protocol, arguments.rates or paper.rates.get(arguments.protocol),
                arguments.methods, arguments.train_sites, arguments.seeds, arguments.folds, **changes)
    if not arguments.dry_run and remaining(jobs, arguments.results):
        files.check_writable(arguments.results)
        size = dataset.read(arguments.data).images.shape[-1] // jobs[0].configuration.protocol.shrink
        measured = cost.measure(arguments.protocol, size)
        files.write_json(arguments.results / f"{cost.STEM}.json", measured)
    return execution.execute(jobs, arguments, lambda: show(write_further_tables(
        paper, arguments.results, arguments.protocol, [arguments.data.stem], changes)))
