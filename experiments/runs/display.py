"""The tables of a results folder: writing and printing them."""

import shutil

from rich.console import Console

from experiments.analysis import supplement, tables
from experiments.analysis.questions import without_answers
from ilnrepro.arguments import variant, variants
from ilnrepro.comparison import scores, sheet


def show_tables(paper_of, arguments, keys=None, quiet=False):
    """Writes and prints all tables of the selected runs; returns the exit status.

    Args:
      paper_of: paper_of(protocol's name) gives the `Paper`.
      arguments: of the command line, with results, protocol, data, methods, folds, rates, seeds, and changes.
      keys: of the paper's own tables; None takes all.
      quiet: write the tables without printing them.
    """
    datasets = [path.stem for path in arguments.data] or None
    records = scores.collect(arguments.results, arguments.protocol, datasets, variant(arguments),
                             arguments.methods or None, arguments.folds or None, arguments.rates or None,
                             arguments.seeds or None)
    name = records[0].configuration.protocol.name
    paper = paper_of(name)
    records = paper.mark(records)
    if paper.evidence and not arguments.methods:
        records = without_answers(records, paper.evidence.questions)
    folder = arguments.results / "tables"
    screen_tables = [rich for table in paper.select_tables(keys)
                     for rich in tables.write(table, records, folder, arguments.methods or None)]
    supplement.write(records, folder, paper.omitted)
    datasets = sorted({record.configuration.dataset for record in records})
    screen_tables += write_further_tables(paper, arguments.results, name, datasets, variants(arguments), records)
    if quiet:
        return 0
    show(screen_tables)
    print(f"run files: {arguments.results / 'runs'}\ntables:    {arguments.results / 'tables'}\nfigures:   "
          f"{arguments.results / 'figures'} (python -m figures)")
    return 0


def write_further_tables(paper, results, name, datasets, changes, records=()):
    """Writes the tables of `Paper.further_tables`; returns them for the screen."""
    further_tables = paper.further_tables(results, name, datasets, changes, records)
    for stem, table, tidy in further_tables:
        sheet.write(results / "tables", stem, table, tidy)
    return [table.rich() for _, table, _ in further_tables]


def show(screen_tables):
    """Prints tables as wide as the widest needs."""
    width = max(shutil.get_terminal_size().columns, 160)  # a wider table is cut rather than folded
    console = Console(width=width)
    for table in screen_tables:
        console.print(table)
