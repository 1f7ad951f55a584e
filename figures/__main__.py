"""`python -m figures`: every figure, from run files alone; `python -m figures report`: the report."""

import argparse
import sys
from pathlib import Path

from experiments.analysis import captions, results, sites, supplement
from experiments.analysis.paper import methods_of
from experiments.papers import paper_of
from figures import differences, examples, gates, learning, predictions, rates, rho
from figures import sites as sites_figure
from figures.report import command as report
from ilnrepro.arguments import add_variants, variant, variants
from ilnrepro.console import command
from ilnrepro.storage import dataset, files


def parser():
    """The command line's grammar, but for the report's."""
    top = argparse.ArgumentParser(prog="python -m figures", description=__doc__)
    top.add_argument("--results", type=Path, required=True)
    top.add_argument("--protocol", help="which runs, if there are several protocols'")
    top.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, for the grey images of figure 2")
    add_variants(top)
    return top


def main(argv=None):
    """Draws the figures, or writes the report; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["report"]:
        return report.main(words[1:], paper_of)
    arguments = parser().parse_args(words)
    files.check_writable(arguments.results)
    present = [path for path in arguments.data if path.exists()]
    for path in set(arguments.data) - set(present):
        print(f"warning: {path}: no such data set, so figure 2 shows masks without images", file=sys.stderr)
    drawn = draw(arguments, [path.stem for path in arguments.data] or None, present)
    print(*(f"figure:    {path} (and .pdf)" for path in drawn), sep="\n")
    return 0


def draw(arguments, datasets, present):
    """Draws the figures; returns their paths.

    Args:
      datasets: names of data sets, or None for all.
      present: data set files.
    """
    shown = results.read(paper_of, arguments.results, arguments.protocol, datasets, variant(arguments))
    folder, about = arguments.results / "figures", captions.about_runs(shown.records)
    methods = list(dict.fromkeys(method for method, _, _ in shown.chosen))
    example = next((m for m in ("iln", "in") if m in methods), methods[0])
    tested = [run for run in (shown.run(key) for key in shown.chosen if key[0] == example) if run.test]
    known = {d.checksum: d for d in map(dataset.read, present)} if tested else {}
    pictured = [run for run in tested if len(run.example_truth) or run.configuration.dataset_checksum in known]
    drawn = [examples.draw(folder, pictured, known, about)] if pictured else []
    drawn += _curves(folder, shown, methods, example, about)
    order = captions.ordered(methods, methods_of(shown.paper.chosen_tables()))
    first_folds = {structure: min(fold for _, s, fold in shown.chosen if s == structure)
                   for _, structure, _ in shown.chosen}
    runs = [shown.run(key) for key in sorted(shown.chosen, key=lambda key: order.index(key[0]))
            if key[2] == first_folds[key[1]]]
    drawn.append(learning.draw(folder, runs, about))
    if pictured and "predictions" in shown.paper.figures:
        fold = pictured[0].configuration.fold
        drawn.append(predictions.draw(folder, [r for r in runs if r.configuration.fold == fold], known, about))
    drawn += _of_tables(folder, shown)
    if "sites" in shown.paper.figures:
        found = sites.groups(arguments.results, shown.protocol, datasets, **variants(arguments))
        drawn.append(sites_figure.draw(folder, sites.rows(found),
                                       captions.about([r for group in found for r in group.records])))
    return drawn


def _curves(folder, shown, methods, example, about):
    """The curves of every method's gates, and what a gate is."""
    curves = []
    for method in methods:
        # The ILN paper shows LV-1.
        key = min((key for key in shown.chosen if key[0] == method), key=lambda key: (key[1] != "LV", key[2]))
        first = shown.run(key)
        if first.layers:
            curves.append(rho.draw(folder, first, about, "figure3-rho" if method == example else f"rho-{method}"))
    return [gates.draw(folder), *curves] if curves else []


def _of_tables(folder, shown):
    tables = supplement.build(shown.records)
    if "rates" in tables:
        table, rows = tables["rates"]
        yield rates.draw(folder, rows, table.caption)
    if "differences" in tables:
        yield differences.draw(folder, tables["differences"][1],
                               f"{captions.about_one_seed(shown.records)}{captions.about(shown.records)}")


if __name__ == "__main__":
    command(main)
