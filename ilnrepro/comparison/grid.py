"""Grids of runs, done side by side, one process a run."""

import contextlib

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ilnrepro.comparison.executors import EXECUTORS
from ilnrepro.comparison.planning import remaining
from ilnrepro.storage import checkpoint, files
from ilnrepro.storage.locking import locked


def run(jobs, results, executor="local", jobs_at_once=None, options=()):
    """Does the runs that are not done yet; a failed one does not stop the others.

    Args:
      results: the results folder.
      executor: a name of `executors.EXECUTORS`.
      jobs_at_once: runs side by side.
      options: further words for every `ilnrepro run` command.

    Returns:
      the failed jobs with their reasons, [(job, reason)].

    Raises:
      InputError: the results folder cannot be written, another grid is at work on it, or it holds a run of another
        configuration.
    """
    files.check_writable(results)
    with locked(results / ".grid.lock", "at work on a grid in this folder"):
        todo = remaining(jobs, results, options)
        for job in set(jobs) - set(todo):
            checkpoint.remove(results / job.configuration.path)  # of a run killed between its last two acts
        console = Console(stderr=True)
        console.print(f"{len(jobs)} runs, {len(jobs) - len(todo)} done before, {len(todo)} to do")
        if not todo:
            return []
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                   TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
        failed = []
        with Progress(*columns, console=console, speed_estimate_period=600) as bar:
            everything = bar.add_task(f"runs 0/{len(todo)}", total=sum(job.steps for job in todo))
            ended = EXECUTORS[executor](todo, results, jobs_at_once, options,
                                        lambda steps: bar.advance(everything, steps))
            with contextlib.closing(ended):
                for finished, (job, reason) in enumerate(ended, 1):
                    bar.update(everything, description=f"runs {finished}/{len(todo)}")
                    if not console.is_terminal and finished < len(todo):  # a log shows the bar at its end alone
                        console.print(bar.get_renderable())
                    if reason:
                        failed.append((job, reason))
                        bar.console.print(f"failed: {job.configuration.path}: {reason}", markup=False)
        known = {job for job, _ in failed}
        return failed + [(job, "its run file is gone: was the results folder removed?") for job in jobs
                         if job not in known and not (results / job.configuration.path).exists()]
