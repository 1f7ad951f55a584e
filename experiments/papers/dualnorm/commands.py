"""`python -m experiments dualnorm`: does the runs of all modes, measures the modes' cost, and writes Dice by site."""

from pathlib import Path

from experiments.papers.dualnorm import cost
from experiments.papers.dualnorm.modes import plan
from experiments.runs import doing, options
from experiments.runs.showing import show, write_further
from ilnrepro.arguments import add_variants, variants
from ilnrepro.comparison.planning import remaining
from ilnrepro.errors import InputError
from ilnrepro.storage import dataset, files


def add(commands, paper):
    """Adds the command."""
    full, short = list(paper.rates)
    one = commands.add_parser("dualnorm", help=f"{paper.title}: the runs of every mode, their cost, Dice by site")
    add_variants(one)
    one.add_argument("--data", type=Path, required=True, help="data set file that tells sites")
    one.add_argument("--protocol", default=short, help=f"{short} or {full}")
    one.add_argument("--train-sites", nargs="*", help="sites to train on, 'all' for all together (default: all, and "
                     "the first alone)")
    options.add_selection(one)
    options.add_doing(one)
    options.add_results(one)
    one.set_defaults(act=lambda arguments: modes(arguments, paper))


def modes(arguments, paper):
    """Does the runs of all modes, measures the modes' cost, and writes the tables; returns the exit status."""
    changes = variants(arguments)
    for given in {"class_mask", "site"} & set(changes):
        raise InputError(f"--{given.replace('_', '-')}: this command does every mode, on the sites of --train-sites; "
                         "leave it out")
    jobs = plan(arguments.data, arguments.protocol, arguments.rates or paper.rates.get(arguments.protocol),
                arguments.methods, arguments.train_sites, arguments.seeds, arguments.folds, **changes)
    if not arguments.dry_run and remaining(jobs, arguments.results):
        files.check_writable(arguments.results)
        size = dataset.read(arguments.data).images.shape[-1] // jobs[0].configuration.protocol.shrink
        measured = cost.measure(arguments.protocol, size)
        files.write_json(arguments.results / f"{cost.STEM}.json", measured)
    return doing.do(jobs, arguments, lambda: show(write_further(paper, arguments.results, arguments.protocol,
                                                                [arguments.data.stem], changes)))
