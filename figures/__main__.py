"""The command `python -m figures`: the figures, from run files alone; `python -m figures report`: the report."""

import argparse
import sys
from pathlib import Path

from experiments.analysis import captions, judgements, sites, supplement
from experiments.analysis.paper import methods_of
from experiments.analysis.results import read_results
from experiments.papers import paper_of
from figures import examples, forest, gates, learning, predictions, rates, rho
from figures import sites as sites_figure
from figures.report import command as report
from ilnrepro.arguments import add_variants, variant, variants
from ilnrepro.console import command
from ilnrepro.storage import dataset, files


def parser():
    """The parser of the command line, without the report's."""
    top = argparse.ArgumentParser(prog="python -m figures", description=__doc__)
    top.add_argument("--results", type=Path, required=True)
    top.add_argument("--protocol", help="the protocol of the runs, if there are runs of several")
    top.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, for the grey images of figure 2")
    add_variants(top)
    return top


def main(argv=None):
    """Draws the figures, or writes the report; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["report"]:
        return report.main(argv[1:], paper_of)
    arguments = parser().parse_args(argv)
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
    results = read_results(paper_of, arguments.results, arguments.protocol, datasets, variant(arguments))
    folder, about = arguments.results / "figures", captions.about_runs(results.records)
    methods = captions.sort_methods(dict.fromkeys(method for method, _, _ in results.chosen_records),
                                    methods_of(results.paper.select_tables()))
    keys = sorted(results.chosen_records, key=lambda key: (methods.index(key[0]), *key[1:]))
    runs = [results.run(key) for key in keys]
    tested = [run for run in runs if run.test]
    data_by_checksum = {d.checksum: d for d in map(dataset.read, present)} if tested else {}
    with_truth = [run for run in tested
                  if len(run.example_truth) or run.configuration.dataset_checksum in data_by_checksum]
    drawn = [examples.draw(folder, with_truth, data_by_checksum, about)] if with_truth else []
    drawn += _curves(folder, results, runs, about)
    drawn.append(learning.draw(folder, runs, about))
    if with_truth and "predictions" in results.paper.figures:
        fold = with_truth[0].configuration.fold
        of_fold = [r for r in runs if r.configuration.fold == fold]
        drawn.append(predictions.draw(folder, of_fold, data_by_checksum, about))
    drawn += _figures_of_tables(folder, results)
    if "sites" in results.paper.figures:
        groups = sites.groups(arguments.results, results.protocol, datasets, **variants(arguments))
        drawn.append(sites_figure.draw(folder, sites.rows(groups),
                                       captions.about_data([r for group in groups for r in group.records])))
    return drawn


def _curves(folder, results, runs, about):
    """Draws the gate functions, and the curves of each method's gates; returns their paths."""
    gated = {}
    # The ILN paper shows LV-1.
    for run in sorted(runs, key=lambda run: (run.configuration.structure != "LV", run.configuration.fold)):
        if run.layers:
            gated.setdefault(run.configuration.method, run)
    example = "iln" if "iln" in gated else next(iter(gated), None)
    curves = []
    for method, run in gated.items():
        final_rho = results.final_rho(method, run.configuration.structure)[..., 0] if run.rho.shape[2] == 1 else None
        curves.append(rho.draw(folder, run, final_rho, about, "figure3-rho" if method == example else f"rho-{method}"))
    return [gates.draw(folder), *curves] if curves else []


def _figures_of_tables(folder, results):
    """Draws the figures that show tables; yields their paths."""
    built = supplement.build(results.records)
    if "rates" in built:
        table, rows = built["rates"]
        yield rates.draw(folder, rows, table.caption)
    default_protocol = not results.records[0].configuration.variant
    judged = {stem: table for stem, *table in (
        judgements.build(results.paper, results.records, results.folder) if default_protocol else ())}
    entries = forest.rows(judged["verdicts"][1] if "verdicts" in judged else None,
                          built["differences"][1] if "differences" in built else (), results.rule)
    if entries:
        yield forest.draw_claims(folder, entries, f"{captions.about_one_seed(results.records)}"
                                 f"{captions.about_data(results.records)} {captions.about_choice(results.records)}")
    if "best-by-chance" in judged:
        table, rows = judged["best-by-chance"]
        yield forest.draw_chance(folder, rows, table.caption)


if __name__ == "__main__":
    command(main)
