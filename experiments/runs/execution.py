"""The execution of a grid of runs, or with `--dry-run` the list of its commands."""

import shlex
import sys

from ilnrepro.comparison import grid, planning
from ilnrepro.storage import files


def execute(jobs, arguments, then=lambda: None):
    """Does the runs, calls `then` if any of them succeeded, and prints which failed.

    Args:
      jobs: of `planning.plan`.
      arguments: of the command line, see `options`.
      then: a function without arguments.

    Returns:
      the exit status.
    """
    options = ["--keep-weights"] if arguments.keep_weights else []
    if arguments.tensorboard:
        options += ["--tensorboard", str(arguments.tensorboard.absolute())]
        if not arguments.dry_run:
            files.check_writable(arguments.tensorboard)
    if arguments.dry_run:
        return _dry_run(jobs, arguments, options)
    failed = grid.run(jobs, arguments.results, arguments.executor, arguments.jobs, options)
    try:
        if len(failed) < len(jobs):
            then()
    finally:
        for job, reason in failed:
            print(f"failed: {job.configuration.path}: {reason}", file=sys.stderr)
        if failed:
            print(f"{len(failed)} of {len(jobs)} runs failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


def _dry_run(jobs, arguments, options):
    """Prints the commands of the runs still to do, for a job array of any scheduler, and an estimate of their time."""
    remaining = planning.remaining(jobs, arguments.results, options)
    for job in remaining:
        print(shlex.join([*job.command, "--results", str(arguments.results), *options]))
    time = time_in_words(remaining, [arguments.results])
    print(f"{len(remaining)} of {len(jobs)} runs to do: {time}", file=sys.stderr)
    return 0


def time_in_words(jobs, folders):
    """The time that jobs will take, in words, estimated from the runs in some results folders."""
    seconds = planning.estimate(jobs, folders)
    return "no finished run to estimate from" if seconds is None else f"about {seconds / 3600:.1f} hours of one worker"
