"""The `ilnrepro` command: one run, and looking at files, methods and the network."""

import argparse
from pathlib import Path

from ilnrepro import __version__, commands
from ilnrepro.arguments import add_variants, integer, seconds
from ilnrepro.console import command
from ilnrepro.networks import NETWORKS
from ilnrepro.norms import METHODS
from ilnrepro.protocols import PROTOCOLS


def parser():
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="ilnrepro", description=__doc__)
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add = top.add_subparsers(dest="command", required=True).add_parser
    run = add("run", help="train and test once, and write one run file")
    run.add_argument("--data", required=True, type=Path, help="data set file (.h5)")
    run.add_argument("--results", required=True, type=Path, help="results folder")
    run.add_argument("--method", required=True, help=f"one of {', '.join(METHODS)}")
    run.add_argument("--fold", required=True, type=int, help="the group tested on")
    run.add_argument("--rate", required=True, type=float, help="initial learning rate")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--protocol", default="paper", help=f"one of {', '.join(PROTOCOLS)}")
    run.add_argument("--keep-weights", action="store_true", help="store the final weights in the run file (7 MB of the "
                     "U-Net's)")
    run.add_argument("--tensorboard", type=Path, metavar="DIR", help="write curves for TensorBoard, a subfolder a run")
    run.add_argument("--progress", choices=("bar", "lines"), default="bar", help="'lines' is for programs")
    run.add_argument("--checkpoint-seconds", type=seconds, default=180, help="seconds between checkpoints")
    add_variants(run)
    predict = add("predict", help="segment images, volumes or data sets")
    predict.add_argument("model", type=Path, help="run file that kept its weights, or exported model")
    predict.add_argument("inputs", type=Path, nargs="+", help="data set, PNG, NIfTI, DICOM, ..., or folders of them")
    predict.add_argument("--output", type=Path, required=True, help="folder for masks and overlays")
    predict.add_argument("--batch", type=integer(1), default=8, help="images at a time; it is part of the result "
                         "of a run with --batch-statistics batch, which was tested with its protocol's")
    export = add("export", help="write a TensorFlow SavedModel that needs nothing of this package")
    export.add_argument("run", type=Path, help="run file that kept its weights")
    export.add_argument("--output", type=Path, required=True, help="folder to write")
    inspect = add("inspect", help="print what a run or data set file holds")
    inspect.add_argument("file", type=Path)
    inspect.add_argument("--all", action="store_true", help="of a run also its configuration, versions and timing")
    inspect.add_argument("--json", action="store_true", help="all of it, for programs")
    inspect.add_argument("--case", type=int, help="draw one test image with truth (red) and prediction (green)")
    inspect.add_argument("--data", type=Path, help="the data set file, for --case")
    inspect.add_argument("--output", type=Path, help="where --case draws (default: case-N.png)")
    verify = add("verify", help="name damaged, incomplete, stale and duplicate run files")
    verify.add_argument("results", type=Path, help="results folder")
    add("methods", help="list the methods")
    summary = add("summary", help="print the network's layers, shapes and parameter counts")
    summary.add_argument("--network", choices=NETWORKS, default="unet")
    summary.add_argument("--method", default="iln")
    summary.add_argument("--size", type=int, default=256)
    return top


def main(argv=None):
    """Runs one command; returns the exit status."""
    arguments = parser().parse_args(argv)
    return getattr(commands, arguments.command)(arguments)


def script():
    """Entry point of the installed `ilnrepro` script."""
    command(main)
