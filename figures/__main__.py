"""`python -m figures`: every figure, from run files alone."""

import argparse
import sys
from pathlib import Path

from experiments.papers import TABLES, methods_of
from experiments.scores import cells, collect
from figures import examples, gates, learning, rho
from ilnrepro import cli, dataset, runfile
from ilnrepro.errors import command


def parser():
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m figures", description=__doc__)
    top.add_argument("--results", type=Path, required=True)
    top.add_argument("--protocol", help="which runs, if there are several protocols'")
    top.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, for the grey images of figure 2")
    cli.add_variants(top)
    return top


def main(argv=None):
    """Draws the figures; returns the exit status."""
    arguments = parser().parse_args(argv)
    cli.check_writable(arguments.results)
    folder = arguments.results / "figures"
    present = [path for path in arguments.data if path.exists()]
    for path in set(arguments.data) - set(present):
        print(f"warning: {path}: no such data set, so figure 2 shows masks without images", file=sys.stderr)
    datasets = [path.stem for path in arguments.data] or None
    records = collect(arguments.results, arguments.protocol, datasets, cli.variant(arguments))
    # One run a cell: the chosen rate by the paper's rule, the first seed.
    chosen = {key: cell.chosen[0].path for key, cell in cells(records, "test").items()}
    drawn = [gates.draw(folder)]
    methods = list(dict.fromkeys(method for method, _, _ in chosen))
    shown = "iln" if "iln" in methods else methods[0]
    runs = [runfile.read(path) for (method, _, _), path in chosen.items() if method == shown]
    tested = [run for run in runs if run.test]
    if tested:
        drawn.append(examples.draw(folder, tested, {d.checksum: d for d in map(dataset.read, present)}))
    for method in methods:
        # The paper shows LV-1.
        key = min((key for key in chosen if key[0] == method), key=lambda key: (key[1] != "LV", key[2]))
        first = runfile.read(chosen[key])
        if first.layers:
            drawn.append(rho.draw(folder, first, "figure3-rho" if method == shown else f"rho-{method}"))
    first_folds = {}
    order = methods_of(TABLES)
    for method, structure, fold in sorted(
            chosen, key=lambda key: (order.index(key[0]) if key[0] in order else len(order), key[2])):
        first_folds.setdefault((structure, method), chosen[method, structure, fold])
    drawn.append(learning.draw(folder, [runfile.read(path) for path in first_folds.values()]))
    print(*(f"figure:    {path} (and .pdf)" for path in drawn), sep="\n")
    return 0


if __name__ == "__main__":
    command(main)
