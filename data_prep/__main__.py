"""The command `python -m data_prep`: makes data sets, and shows them."""

import argparse
import json
import sys
from pathlib import Path

from data_prep import acdc, audit, folder, spine, sunnybrook
from ilnrepro.arguments import integer
from ilnrepro.console import command
from ilnrepro.storage import dataset

# Each has add_arguments(parser), source(arguments) and prepare(arguments, audit); what it is; where to get it.
SOURCES = {
    "sunnybrook": (sunnybrook, "Sunnybrook Cardiac Data, left ventricle",
                   "https://www.cardiacatlas.org/sunnybrook-cardiac-data/ (public domain, CC0 1.0)"),
    "acdc": (acdc, "ACDC, right ventricle, left ventricle or myocardium",
             "https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html (by its terms, which ask to cite the "
             "paper and forbid commerce)"),
    "spine": (spine, "CSI 2014 thoracic spine CT, volumes",
              "the CSI 2014 challenge's organisers, by their terms; public CT of the spine, of other scanners: "
              "https://github.com/anjany/verse (CC BY-SA 4.0)"),
    "folder": (folder, "your own images and masks",
               "your own; for example the prostate MR that DualNorm-UNet was tried on: "
               "https://www.cancerimagingarchive.net/analysis-result/isbi-mr-prostate-2013/ (by the archive's terms)"),
}


def parser():
    """The parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m data_prep", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    phantom = commands.add_parser("phantom", help="short-axis cardiac MR phantoms (SYNTHETIC)")
    phantom.add_argument("--structure", choices=("LV", "RV"), default="LV")
    phantom.add_argument("--size", type=int, default=256, help="pixels a side")
    phantom.add_argument("--subjects", type=int, help="default: 45 for LV, 37 for RV")
    phantom.add_argument("--sites", type=int, default=1, help="scanners that the subjects come from")
    phantom.add_argument("--seed", type=int, default=0)
    phantom.add_argument("--crop", type=float, default=1.0, help="share of the field of view that is kept")
    spines = commands.add_parser("spine-phantom", help="thoracic spine CT phantoms, volumes (SYNTHETIC)")
    spines.add_argument("--size", type=int, default=256, help="pixels a side")
    spines.add_argument("--slices", type=int, default=160, help="over 160 mm")
    spines.add_argument("--subjects", type=int, default=10)
    spines.add_argument("--seed", type=int, default=0)
    spines.add_argument("--crop", type=float, default=1.0, help="share of the field of view that is kept")
    parsers = [phantom, spines]
    for name, (source, what, where) in SOURCES.items():
        parsers.append(commands.add_parser(name, help=what, description=f"{what}. The data: {where}"))
        source.add_arguments(parsers[-1])
        parsers[-1].add_argument("--allow-partial", action="store_true",
                              help="leave damaged cases out, and take less than the whole release")
    for command_parser in parsers:
        command_parser.add_argument("--output", type=Path, required=True, help="data set file to write (.h5)")
    show = commands.add_parser("show", help="draw a montage with contours")
    show.add_argument("file", type=Path)
    show.add_argument("--output", type=Path, help="default: beside the file, .png")
    show.add_argument("--seed", type=integer(0), default=0, help="of the images drawn")
    return top


def main(argv=None):
    """Makes or shows one data set; returns the exit status."""
    arguments = parser().parse_args(argv)
    if arguments.command == "show":
        from data_prep.montage import montage

        output = arguments.output or arguments.file.with_suffix(".png")
        montage(dataset.read(arguments.file), output, arguments.seed)
        print(output)
        return 0
    if arguments.command == "phantom":
        from data_prep.phantom import phantom

        data = phantom(arguments.structure, arguments.size, arguments.subjects, arguments.sites, arguments.seed,
                       arguments.crop)
        dataset.write(arguments.output, data)
    elif arguments.command == "spine-phantom":
        from data_prep.spine_phantom import spine_phantom

        data = spine_phantom(arguments.size, arguments.slices, arguments.subjects, arguments.seed, arguments.crop)
        dataset.write(arguments.output, data)
    else:
        data = _from_source(arguments)
    counts = ", ".join(f"fold {k}: {(data.fold == k).sum()}" for k in data.folds)
    print(f"{arguments.output}: {data.size} ({counts})")
    return 0


def _from_source(arguments):
    """Prepares, audits and writes the data set of one of SOURCES, and prints the audit."""
    from rich.console import Console

    source, _, _ = SOURCES[arguments.command]
    auditor = audit.Audit(source.source(arguments), arguments.allow_partial)
    data = source.prepare(arguments, auditor)
    report = auditor.report(data)
    data.audit = json.dumps(report, ensure_ascii=False)
    dataset.write(arguments.output, data)
    audit.show(report, Console())
    return data


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # a terminal that has no × shows ?
    command(main)
