"""`python -m data_prep`: make data sets, and look at them."""

import argparse
from pathlib import Path

from ilnrepro import dataset
from ilnrepro.errors import command


def parser():
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m data_prep", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    phantom = commands.add_parser("phantom", help="short-axis cardiac MR phantoms (SYNTHETIC)")
    phantom.add_argument("--structure", choices=("LV", "RV"), default="LV")
    phantom.add_argument("--size", type=int, default=256, help="pixels a side")
    phantom.add_argument("--subjects", type=int, help="default: 45 for LV, 37 for RV")
    phantom.add_argument("--sites", type=int, default=1, help="scanners that the subjects come from")
    phantom.add_argument("--seed", type=int, default=0)
    sunnybrook = commands.add_parser("sunnybrook", help="Sunnybrook Cardiac Data, left ventricle")
    sunnybrook.add_argument("--source", type=Path, required=True, help=".npz file, or folder of image and mask PNGs")
    for command_parser in (phantom, sunnybrook):
        command_parser.add_argument("--output", type=Path, required=True, help="data set file to write (.h5)")
    show = commands.add_parser("show", help="draw a montage with contours")
    show.add_argument("file", type=Path)
    show.add_argument("--output", type=Path, help="default: beside the file, .png")
    show.add_argument("--seed", type=int, default=0, help="of the images drawn")
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

        data = phantom(arguments.structure, arguments.size, arguments.subjects, arguments.sites, arguments.seed)
    else:
        from data_prep import sunnybrook

        data = sunnybrook.from_npz(arguments.source)
    dataset.write(arguments.output, data)
    counts = ", ".join(f"fold {k}: {(data.fold == k).sum()}" for k in data.folds)
    print(f"{arguments.output}: {len(data)} images of {len(set(data.subject))} subjects ({counts})")
    return 0


if __name__ == "__main__":
    command(main)
