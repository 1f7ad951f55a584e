"""`python -m experiments reproduce`: the commands that reproduce a paper, one after another, on phantoms by default."""

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
    """The commands that reproduce a paper, or a part of it.

    Attributes:
      help: the help of its subcommand.
      results: the default results folder.
      protocols: {name that a user gives: protocol}; 'quick' is the short protocol, 'paper' the full one.
      phantoms: phantoms(protocol) gives [(file name, arguments of the `data_prep` command that makes it)].
      runs: runs(protocol) gives the first arguments of the command that does the runs.
      defaults: values of options that a user does not give.
      measure: measure(protocol, data sets, methods) gives the arguments of the command that measures; or None.
      tables: whether a command of its own then writes the paper's tables.
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
    """Adds the command.

    Args:
      commands: the subparsers of a command line.
      recipes: {name: `Recipe`}.
    """
    top = commands.add_parser("reproduce", help="do all that reproduces a paper, on phantoms where no data are given")
    kinds = top.add_subparsers(dest="recipe", required=True)
    for name, recipe in recipes.items():
        one = kinds.add_parser(name, help=recipe.help)
        one.add_argument("--protocol", choices=recipe.protocols, default="quick")
        one.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, one a structure (default: "
                         "phantoms, SYNTHETIC)")
        one.add_argument("--results", type=Path, default=Path(recipe.results))
        if recipe.tables:
            one.add_argument("--tables", nargs="*", default=[], help="of the paper (default: all)")
        if recipe.sites:
            one.add_argument("--train-sites", nargs="*", default=[], help="sites to train on, 'all' for all together")
        one.add_argument("--only", nargs="*", choices=STEPS, default=STEPS, metavar="STEP", help="leave out all but "
                         f"some of {', '.join(STEPS)}")
        options.add_selection(one)
        options.add_doing(one)
        add_variants(one)
        one.set_defaults(**{"tables": [], "train_sites": [], "act": reproduce, "recipe": recipe})


def reproduce(arguments):
    """Runs the commands one after another; returns the first exit status that is not 0, or 0."""
    for words in steps(arguments):
        if "--output" in words and Path(words[words.index("--output") + 1]).exists():
            continue  # a phantom made before
        print(f"$ python -m {shlex.join(words)}", file=sys.stderr)
        if status := call([sys.executable, "-m", *words]):
            return status
    return 0


def steps(arguments):
    """The commands, each a list of what follows `python -m`."""
    recipe, only = arguments.recipe, arguments.only
    protocol = recipe.protocols[arguments.protocol]
    phantoms = [] if arguments.data else [(PHANTOMS / name, words) for name, words in recipe.phantoms(protocol)]
    data = [str(path) for path in arguments.data or [path for path, _ in phantoms]]
    given = {key: getattr(arguments, key) or recipe.defaults.get(key, []) for key in ("methods", "folds", "tables")}
    of_runs = ["--protocol", protocol, "--data", *data, "--results", str(arguments.results)]
    changed = [word for key, value in (recipe.defaults.get("changes", lambda _: {})(protocol)
                                       | variants(arguments)).items() for word in _option(key, value)]
    selection = [word for key in ("methods", "folds", "rates", "seeds")
                 for word in _option(key, given.get(key) or getattr(arguments, key))]
    asked = [word for key in ("methods", "folds", "rates", "seeds") for word in _option(key, getattr(arguments, key))]
    tables = _option("tables", given["tables"])
    writes_tables = recipe.tables and "tables" in only
    if "data" in only:
        yield from (["data_prep", *words, "--output", str(path)] for path, words in phantoms)
    if "runs" in only:
        yield ["experiments", *recipe.runs(protocol), *of_runs, *selection, *tables,
               *_option("train_sites", arguments.train_sites), *_doing(arguments), *changed,
               *(["--quiet"] if writes_tables else [])]
    if arguments.dry_run:
        return
    if recipe.measure and "measure" in only:
        yield ["experiments", *recipe.measure(protocol, data, given["methods"]), "--results", str(arguments.results)]
    if "figures" in only:
        yield ["figures", *of_runs, *changed]
    if writes_tables:
        yield ["experiments", "tables", *of_runs, *asked, *tables, *changed]


def _doing(arguments):
    words = _option("jobs", arguments.jobs) + _option("executor", arguments.executor)
    words += _option("tensorboard", arguments.tensorboard)
    return words + [f"--{key.replace('_', '-')}" for key in ("keep_weights", "dry_run") if getattr(arguments, key)]


def _option(key, value):
    """The command-line words of an option; none where it has no value."""
    if value is None or value == []:
        return []
    values = value if isinstance(value, list | tuple) else [value]
    return [f"--{key.replace('_', '-')}", *map(str, values)]


def with_own(rates):
    """{name: protocol} of a paper's protocols, of which the full one is also 'paper' and the short one 'quick'."""
    full, short, *_ = rates
    return {"paper": full, "quick": short, **{name: name for name in rates}}
