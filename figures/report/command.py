"""The command `python -m figures report`: one HTML file that needs no other, made from run files alone."""

import argparse
import sys
from pathlib import Path

from experiments.analysis.results import read_results
from figures.report import page
from ilnrepro.arguments import add_variants, variant
from ilnrepro.errors import InputError
from ilnrepro.storage import dataset, files

LIMIT = 10_000_000  # bytes


def parser():
    """The parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m figures report", description=__doc__)
    top.add_argument("--results", type=Path, required=True)
    top.add_argument("--protocol", help="the protocol of the runs, if there are runs of several")
    top.add_argument("--data", type=Path, nargs="*", default=[], help="data set files, for the images of test cases")
    top.add_argument("--output", type=Path, help="the file to write (default: report.html in the results folder)")
    add_variants(top)
    return top


def main(argv, paper_of):
    """Writes the report; returns the exit status.

    Args:
      paper_of: paper_of(protocol's name) gives the `Paper`.
    """
    arguments = parser().parse_args(argv)
    output = arguments.output or arguments.results / "report.html"
    files.check_writable(output.parent)
    present = [path for path in arguments.data if path.exists()]
    for path in set(arguments.data) - set(present):
        print(f"warning: {path}: no such data set, so the report shows no images of it", file=sys.stderr)
    datasets = [path.stem for path in arguments.data] or None
    results = read_results(paper_of, arguments.results, arguments.protocol, datasets, variant(arguments))
    data_files = [(path, dataset.read(path)) for path in present]
    checksums = {r.configuration.dataset_checksum for r in results.records}
    for path, data in data_files:
        if data.checksum not in checksums:
            print(f"warning: {path}: not the data set of these runs, so the report shows no images of it",
                  file=sys.stderr)
    text = page.render(results, {data.checksum: data for _, data in data_files}, [path for path, _ in data_files])
    if len(text.encode()) > LIMIT:
        raise InputError(f"{output}: the report would have {len(text.encode()) / 1e6:.0f} MB, more than "
                         f"{LIMIT / 1e6:.0f}; leave out --data, or choose fewer runs with --protocol")
    files.write(output, text)
    print(f"report:    {output}")
    return 0
