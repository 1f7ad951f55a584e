"""The command `ilnrepro`: training and comparing, networks for use, and descriptions of files, methods and networks."""

import argparse
import functools
from pathlib import Path

from ilnrepro import __version__, commands
from ilnrepro.arguments import add_variants, integer, seconds
from ilnrepro.console import command
from ilnrepro.networks import NETWORKS
from ilnrepro.norms import METHODS, plugins
from ilnrepro.protocols import PROTOCOLS


def parser():
    """The parser of the command line."""
    top = argparse.ArgumentParser(prog="ilnrepro", description=__doc__)
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers, common = top.add_subparsers(dest="command", required=True), argparse.ArgumentParser(add_help=False)
    common.add_argument("--plugin", type=Path, metavar="FILE.py", help="a file that registers methods of your own")
    add = functools.partial(subparsers.add_parser, parents=[common])
    for add_group in (_add_training, _add_use, _add_descriptions):
        add_group(add)
    return top


def _add_training(add):
    """Adds the commands that train: one run, a comparison, a network for use."""
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
    compare = add("compare", help="which methods are better on your data, within a budget; ends with a page")
    compare.add_argument("data", type=Path, help="data set file (.h5)")
    compare.add_argument("--methods", nargs="+", required=True, help=f"two or more of {', '.join(METHODS)}")
    compare.add_argument("--hours", type=float, default=2.0, help="the budget (default: 2)")
    compare.add_argument("--reference", help="the method that differences are shown against (default: the best)")
    compare.add_argument("--results", type=Path, help="folder for runs and page (default: DATA-comparison)")
    compare.add_argument("--rates", type=float, nargs="+", default=[], help="learning rates to try (default: planned)")
    compare.add_argument("--seeds", type=int, help="how many (default: planned)")
    compare.add_argument("--jobs", type=integer(1), help="runs at a time (default: cores over threads a run)")
    compare.add_argument("--protocol", help=f"one of {', '.join(PROTOCOLS)} (default: one that suits the data)")
    add_variants(compare)
    train = add("train", help="train on all subjects, for use: a network without a test")
    train.add_argument("data", type=Path, help="data set file (.h5)")
    train.add_argument("--method", required=True, help=f"one of {', '.join(METHODS)}")
    train.add_argument("--rate", type=float, help="initial learning rate (default: the best of a comparison in "
                       "--results)")
    train.add_argument("--output", required=True, type=Path, help="file to write (.h5)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--protocol", help=f"one of {', '.join(PROTOCOLS)} (default: the comparison's, or one that "
                       "suits the data)")
    train.add_argument("--results", type=Path, help="folder with runs of the same method, rate and protocol on each "
                       "fold, by which the network's Dice is estimated (default: DATA-comparison, if it exists)")
    add_variants(train)


def _add_use(add):
    """Adds the commands for trained networks."""
    ensemble = add("ensemble", help="put several trained networks into one file: their probabilities are averaged")
    ensemble.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run files that kept their weights, of one "
                          "method, protocol and data set")
    ensemble.add_argument("--output", type=Path, required=True, help="file to write (.h5)")
    ensemble.add_argument("--half", action="store_true", help="store weights as float16, in half the space")
    predict = add("predict", help="segment images, volumes or data sets")
    predict.add_argument("model", type=Path, help="run file that kept its weights, ensemble, exported model, or the "
                         "name of a packaged network")
    predict.add_argument("--with", type=Path, action="append", default=[], dest="further", metavar="MODEL",
                         help="a network of another structure: masks become one label map, in which the first model's "
                         "structure is 1, the next 2, ...; give it again for a third")
    predict.add_argument("inputs", type=Path, nargs="+", help="data set, PNG, NIfTI, DICOM, ..., or folders of them")
    predict.add_argument("--output", type=Path, required=True, help="folder for masks and overlays")
    predict.add_argument("--batch", type=integer(1), default=8, help="images at a time; it is part of the result "
                         "of a run with --batch-statistics batch, which was tested with its protocol's")
    predict.add_argument("--probability", action="store_true", help="write the structure's probability as well")
    export = add("export", help="write a TensorFlow SavedModel, or an ONNX file, that needs nothing of this package")
    export.add_argument("run", type=Path, help="run file that kept its weights, or ensemble")
    export.add_argument("--output", type=Path, required=True, help="folder to write, or a file that ends in .onnx")


def _add_descriptions(add):
    """Adds the commands that print: the content of files, methods, the layers of a network."""
    inspect = add("inspect", help="print what a run or data set file holds")
    inspect.add_argument("file", type=Path, help="file, or the name of a packaged network")
    inspect.add_argument("--all", action="store_true", help="of a run also its configuration, versions and timing")
    inspect.add_argument("--json", action="store_true", help="all of it, for programs")
    inspect.add_argument("--case", type=int, help="draw one test image with truth (red) and prediction (green)")
    inspect.add_argument("--data", type=Path, help="the data set file, for --case")
    inspect.add_argument("--output", type=Path, help="where --case draws (default: case-N.png)")
    verify = add("verify", help="name damaged, incomplete, stale and duplicate run files")
    verify.add_argument("results", type=Path, help="results folder, or one trained network")
    methods = add("methods", help="list the methods")
    methods.add_argument("--check", metavar="METHOD", help="check that a method's rule agrees with its equations, and "
                         "its gradients with finite differences")
    summary = add("summary", help="print the network's layers, shapes and parameter counts")
    summary.add_argument("--network", choices=NETWORKS, default="unet")
    summary.add_argument("--method", default="iln")
    summary.add_argument("--size", type=int, default=256)


def main(argv=None):
    """Runs one command; returns the exit status."""
    arguments = parser().parse_args(argv)
    with plugins.as_input_errors():
        if arguments.plugin:
            plugins.load(arguments.plugin)
        return getattr(commands, arguments.command)(arguments)


def script():
    """Entry point of the installed `ilnrepro` script."""
    command(main)
