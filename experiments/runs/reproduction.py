"""The command `python -m experiments reproduce`: all commands that reproduce a paper, on phantoms by default."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from experiments.runs import options
from ilnrepro.arguments import add_variants, variants
from ilnrepro.console import call

STEPS = ("data", "runs", "measure", "figures", "tables")
PHANTOMS = Path("build/data")


class Recipe(NamedTuple):
    """The recipe for the commands that reproduce a paper, or a part of it.

    Attributes:
      help: help text of its subcommand.
      results: the default results folder.
      protocols: {name on the command line: protocol}; 'quick' is the short protocol, 'paper' the full one.
      phantoms: phantoms(protocol) gives [(file name, arguments of the `data_prep` command that makes it)].
      runs: runs(protocol) gives the first arguments of the command that does the runs.
      defaults: values of options that a user does not give.
      measure: measure(protocol, data sets, methods) gives the arguments of the command that measures; or None.
      tables: whether a separate command writes the paper's tables.
      sites: whether the command that does the runs has the option --train-sites.
    """

    help: str
    results: str
    protocols: dict
    phantoms: Callable
    runs: Callable = lambda protocol: ["run"]
    defaults: dict = {}
    measure: Callable | None = None
    tables: bool = True
    sites: bool = False


def add(commands, recipes):
    """Adds the command to the subparsers `commands`.

    Args:
      recipes: {name: `Recipe`}.
    """
    top = commands.add_parser("reproduce", help="do all that reproduces a paper, on phantoms where no data are given")
    kinds = top.add_subparsers(dest="recipe", required=True)
    for name, recipe in recipes.items():
        parser = kinds.add_parser(name, help=recipe.help)
        parser.add_argument("--protocol", choices=recipe.protocols, default="quick")
        parser.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, one a structure "
                            "(default: phantoms, SYNTHETIC)")
        parser.add_argument("--results", type=Path, default=Path(recipe.results))
        if recipe.tables:
            parser.add_argument("--tables", nargs="*", default=[], help="of the paper (default: all)")
        if recipe.sites:
            parser.add_argument("--train-sites", nargs="*", default=[],
                                help="sites to train on, 'all' for all together")
        parser.add_argument("--only", nargs="*", choices=STEPS, default=STEPS, metavar="STEP", help="leave out all but "
                            f"some of {', '.join(STEPS)}")
        options.add_selection(parser)
        options.add_execution(parser)
        add_variants(parser)
        parser.set_defaults(**{"tables": [], "train_sites": [], "act": reproduce, "recipe": recipe})


def reproduce(arguments):
    """Runs the commands of a recipe one after another; returns the first exit status that is not 0, or 0."""
    for command in steps(arguments):
        if "--output" in command and Path(command[command.index("--output") + 1]).exists():
            continue  # the phantom exists already
        print(f"$ python -m {shlex.join(command)}", file=sys.stderr)
        if status := call([sys.executable, "-m", *command]):
            return status
    return 0


def steps(arguments):
    """The commands of a recipe, each a list of the arguments after `python -m`."""
    recipe, only = arguments.recipe, arguments.only
    protocol = recipe.protocols[arguments.protocol]
    phantoms = [] if arguments.data else [(PHANTOMS / name, words) for name, words in recipe.phantoms(protocol)]
    data = [str(path) for path in arguments.data or [path for path, _ in phantoms]]
    values = {key: getattr(arguments, key) or recipe.defaults.get(key, []) for key in ("methods", "folds", "tables")}
    run_arguments = ["--protocol", protocol, "--data", *data, "--results", str(arguments.results)]
    change_options = [word for key, value in (recipe.defaults.get("changes", lambda _: {})(protocol)
                                              | variants(arguments)).items() for word in _option(key, value)]
    selection = [word for key in ("methods", "folds", "rates", "seeds")
                 for word in _option(key, values.get(key) or getattr(arguments, key))]
    given_selection = [word for key in ("methods", "folds", "rates", "seeds")
                       for word in _option(key, getattr(arguments, key))]
    tables = _option("tables", values["tables"])
    writes_tables = recipe.tables and "tables" in only
    if "data" in only:
        yield from (["data_prep", *words, "--output", str(path)] for path, words in phantoms)
    if "runs" in only:
        yield ["experiments", *recipe.runs(protocol), *run_arguments, *selection, *tables,
               *_option("train_sites", arguments.train_sites), *_execution_options(arguments), *change_options,
               *(["--quiet"] if writes_tables else [])]
    if arguments.dry_run:
        return
    if recipe.measure and "measure" in only:
        yield ["experiments", *recipe.measure(protocol, data, values["methods"]), "--results", str(arguments.results)]
    if "figures" in only:
        yield ["figures", *run_arguments, *change_options]
    if writes_tables:
        yield ["experiments", "tables", *run_arguments, *given_selection, *tables, *change_options]


def _execution_options(arguments):
    words = _option("jobs", arguments.jobs) + _option("executor", arguments.executor)
    words += _option("tensorboard", arguments.tensorboard)
    return words + [f"--{key.replace('_', '-')}" for key in ("keep_weights", "dry_run") if getattr(arguments, key)]


def _option(key, value):
    """The command-line arguments of an option; none where it has no value."""
    if value is None or value == []:
        return []
    values = value if isinstance(value, list | tuple) else [value]
    return [f"--{key.replace('_', '-')}", *map(str, values)]


def protocol_names(rates):
    """{name: protocol} of a paper's protocols, where 'paper' also names the full one and 'quick' the short one."""
    full, short, *_ = rates
    return {"paper": full, "quick": short, **{name: name for name in rates}}
