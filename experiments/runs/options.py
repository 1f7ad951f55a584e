"""The command-line options that several commands share."""

import argparse
from pathlib import Path

from ilnrepro.arguments import integer
from ilnrepro.comparison.executors import EXECUTORS


def add_selection(parser):
    """Adds the options that select runs to a parser."""
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--folds", type=int, nargs="*", default=[])
    parser.add_argument("--rates", type=float, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="*", default=[])


def add_execution(parser):
    """Adds the options on the execution of runs to a parser."""
    parser.add_argument("--jobs", type=integer(1), help="runs at a time (default: cores over threads a run)")
    parser.add_argument("--executor", choices=EXECUTORS, default="local", help="ray: at $ADDRESS, or local")
    parser.add_argument("--keep-weights", action="store_true")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write curves for TensorBoard, a subfolder a "
                    "run; with Ray, a folder that all machines see")
    parser.add_argument("--dry-run", action="store_true", help="list the runs still to do as commands")


def points(text):
    """The argparse type of a difference in points of Dice, above 0 and below 100."""
    try:
        if 0 < (value := float(text)) < 100:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no difference in points of Dice; give a number above 0, as 0.5")


def add_results(parser):
    """Adds the option for the folder of run files and tables to a parser."""
    parser.add_argument("--results", type=Path, required=True)
