"""`python -m figures`: the figures, from run files alone; `python -m figures report`: the report."""

import argparse
import sys
from pathlib import Path

from experiments.analysis import captions, judgements, results, sites, supplement
from experiments.analysis.paper import methods_of
from experiments.papers import paper_of
from figures import examples, forest, gates, learning, predictions, rates, rho
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
    methods = captions.ordered(dict.fromkeys(method for method, _, _ in shown.chosen),
                               methods_of(shown.paper.chosen_tables()))
    runs = [shown.run(key) for key in sorted(shown.chosen, key=lambda key: (methods.index(key[0]), *key[1:]))]
    tested = [run for run in runs if run.test]
    known = {d.checksum: d for d in map(dataset.read, present)} if tested else {}
    pictured = [run for run in tested if len(run.example_truth) or run.configuration.dataset_checksum in known]
    drawn = [examples.draw(folder, pictured, known, about)] if pictured else []
    drawn += _curves(folder, shown, runs, about)
    drawn.append(learning.draw(folder, runs, about))
    if pictured and "predictions" in shown.paper.figures:
        fold = pictured[0].configuration.fold
        drawn.append(predictions.draw(folder, [r for r in runs if r.configuration.fold == fold], known, about))
    drawn += _of_tables(folder, shown)
    if "sites" in shown.paper.figures:
        groups = sites.groups(arguments.results, shown.protocol, datasets, **variants(arguments))
        drawn.append(sites_figure.draw(folder, sites.rows(groups),
                                       captions.about([r for group in groups for r in group.records])))
    return drawn


def _curves(folder, shown, runs, about):
    """The curves of each method's gates, and what a gate is."""
    gated = {}
    # The ILN paper shows LV-1.
    for run in sorted(runs, key=lambda run: (run.configuration.structure != "LV", run.configuration.fold)):
        if run.layers:
            gated.setdefault(run.configuration.method, run)
    example = "iln" if "iln" in gated else next(iter(gated), None)
    curves = []
    for method, run in gated.items():
        ends = shown.ends(method, run.configuration.structure)[..., 0] if run.rho.shape[2] == 1 else None
        curves.append(rho.draw(folder, run, ends, about, "figure3-rho" if method == example else f"rho-{method}"))
    return [gates.draw(folder), *curves] if curves else []


def _of_tables(folder, shown):
    built = supplement.build(shown.records)
    if "rates" in built:
        table, rows = built["rates"]
        yield rates.draw(folder, rows, table.caption)
    usual = not shown.records[0].configuration.variant
    judged = {stem: one for stem, *one in (judgements.build(shown.paper, shown.records, shown.folder) if usual else ())}
    entries = forest.rows(judged["verdicts"][1] if "verdicts" in judged else None,
                        built["differences"][1] if "differences" in built else (), shown.rule)
    if entries:
        yield forest.draw_claims(folder, entries, f"{captions.about_one_seed(shown.records)}"
                                 f"{captions.about(shown.records)} {captions.about_choice(shown.records)}")
    if "best-by-chance" in judged:
        table, rows = judged["best-by-chance"]
        yield forest.draw_chance(folder, rows, table.caption)


if __name__ == "__main__":
    command(main)
