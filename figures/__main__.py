"""`python -m figures`: every figure, from run files alone."""

import argparse
import sys
from pathlib import Path

from experiments.analysis import questions, supplement
from experiments.papers import ordered, tables_of
from experiments.papers.dualnorm import modes
from figures import differences, examples, gates, learning, predictions, rates, rho, sites
from ilnrepro.arguments import add_variants, variant, variants
from ilnrepro.comparison.scores import cells, collect
from ilnrepro.console import command
from ilnrepro.storage import dataset, files, runfile


def parser():
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m figures", description=__doc__)
    top.add_argument("--results", type=Path, required=True)
    top.add_argument("--protocol", help="which runs, if there are several protocols'")
    top.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, for the grey images of figure 2")
    add_variants(top)
    return top


def main(argv=None):
    """Draws the figures; returns the exit status."""
    arguments = parser().parse_args(argv)
    files.check_writable(arguments.results)
    folder = arguments.results / "figures"
    present = [path for path in arguments.data if path.exists()]
    for path in set(arguments.data) - set(present):
        print(f"warning: {path}: no such data set, so figure 2 shows masks without images", file=sys.stderr)
    datasets = [path.stem for path in arguments.data] or None
    records = questions.without_answers(collect(arguments.results, arguments.protocol, datasets, variant(arguments)))
    about = supplement.about_runs(records)
    chosen = {key: cell.chosen[0].path for key, cell in cells(records, supplement.primary_rule(records)).items()}
    drawn = []
    methods = list(dict.fromkeys(method for method, _, _ in chosen))
    shown = next((m for m in ("iln", "in") if m in methods), methods[0])
    runs = [runfile.read(path) for (method, _, _), path in chosen.items() if method == shown]
    tested = [run for run in runs if run.test]
    known = {d.checksum: d for d in map(dataset.read, present)} if tested else {}
    if tested:
        drawn.append(examples.draw(folder, tested, known, about))
    curves = []
    for method in methods:
        # The paper shows LV-1.
        key = min((key for key in chosen if key[0] == method), key=lambda key: (key[1] != "LV", key[2]))
        first = runfile.read(chosen[key])
        if first.layers:
            curves.append(rho.draw(folder, first, about, "figure3-rho" if method == shown else f"rho-{method}"))
    if curves:
        drawn += [gates.draw(folder), *curves]
    order = ordered(methods, tables_of(records[0].configuration.protocol.name))
    first_folds = {structure: min(fold for _, s, fold in chosen if s == structure) for _, structure, _ in chosen}
    runs = [runfile.read(chosen[key]) for key in sorted(chosen, key=lambda key: order.index(key[0]))
            if key[2] == first_folds[key[1]]]
    drawn.append(learning.draw(folder, runs, about))
    if tested and runs[0].configuration.protocol.slab:
        drawn.append(predictions.draw(folder, [r for r in runs if r.configuration.fold == tested[0].configuration.fold],
                                      known, about))
    drawn += _of_tables(folder, records)
    if records[0].configuration.protocol.class_mask:
        name = records[0].configuration.protocol.name
        found = modes.groups(arguments.results, name, datasets, **variants(arguments))
        drawn.append(sites.draw(folder, modes.build(found)[1],
                                supplement.about([r for group in found for r in group.records])))
    print(*(f"figure:    {path} (and .pdf)" for path in drawn), sep="\n")
    return 0


def _of_tables(folder, records):
    tables = supplement.build(records)
    if "rates" in tables:
        table, rows = tables["rates"]
        yield rates.draw(folder, rows, table.caption)
    if "differences" in tables:
        yield differences.draw(folder, tables["differences"][1],
                               f"{supplement.about_one_seed(records)}{supplement.about(records)}")


if __name__ == "__main__":
    command(main)
