"""Options that several commands have in common."""

import argparse
from pathlib import Path

from ilnrepro.arguments import integer
from ilnrepro.comparison.executors import EXECUTORS


def add_selection(to):
    """Adds the options that select runs."""
    to.add_argument("--methods", nargs="*", default=[])
    to.add_argument("--folds", type=int, nargs="*", default=[])
    to.add_argument("--rates", type=float, nargs="*", default=[])
    to.add_argument("--seeds", type=int, nargs="*", default=[])


def add_doing(to):
    """Adds the options on how runs are done."""
    to.add_argument("--jobs", type=integer(1), help="runs at a time (default: cores over threads a run)")
    to.add_argument("--executor", choices=EXECUTORS, default="local", help="ray: at $ADDRESS, or local")
    to.add_argument("--keep-weights", action="store_true")
    to.add_argument("--tensorboard", type=Path, metavar="DIR", help="write curves for TensorBoard, a subfolder a "
                    "run; with Ray, a folder that every machine sees")
    to.add_argument("--dry-run", action="store_true", help="list the runs still to do as commands")


def points(text):
    """An argparse type: a difference in points of Dice, above 0."""
    try:
        if 0 < (value := float(text)) < 100:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no difference in points of Dice; give a number above 0, as 0.5")


def add_results(to):
    """Adds the option for the folder of run files and tables."""
    to.add_argument("--results", type=Path, required=True)
