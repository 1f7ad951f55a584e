"""The execution of a grid: its runs are done side by side, each in a process of its own."""

import contextlib
import functools

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ilnrepro.comparison.executors import EXECUTORS
from ilnrepro.comparison.planning import remaining
from ilnrepro.storage import checkpoint, files
from ilnrepro.storage.locking import locked


def run(jobs, results, executor="local", jobs_at_once=None, options=(), further=None):
    """Does the runs that are not done yet. A failed run does not stop the others.

    Args:
      jobs: of `planning.plan`.
      results: the results folder.
      executor: a name of `executors.EXECUTORS`.
      jobs_at_once: number of runs side by side; None leaves it to the executor.
      options: further arguments of the `ilnrepro run` commands.
      further: (number, steps, function) of further jobs, which are known only when all others are done: their number,
        the steps that they take together, and a function without arguments that returns them. They are not done if one
        of the others failed.

    Returns:
      [(job, reason)] of the runs that failed.

    Raises:
      InputError: the results folder cannot be written, another grid is at work on it, or it holds a run of another
        configuration.
    """
    files.check_writable(results)
    with locked(results / ".grid.lock", "at work on a grid in this folder"):
        undone = _undone(jobs, results, options)
        more, more_steps, then = further or (0, 0, None)
        if then and not undone:
            jobs, more, more_steps, then = [*jobs, *(later := then())], 0, 0, None
            undone = _undone(later, results, options)
        console = Console(stderr=True)
        count = len(undone) + more
        console.print(f"{len(jobs) + more} runs, {len(jobs) - len(undone)} done before, {count} to do")
        if not count:
            return []
        with progress(console) as bar:
            task = bar.add_task(f"runs 0/{count}", total=sum(job.steps for job in undone) + more_steps)
            do = functools.partial(_execute, results=results, executor=EXECUTORS[executor], jobs_at_once=jobs_at_once,
                                   options=options, bar=bar, task=task, count=count)
            failed = do(undone, 0)
            if then and not failed:
                jobs = [*jobs, *(later := then())]
                left = _undone(later, results, options)
                done_before = sum(job.steps for job in later) - sum(job.steps for job in left)
                bar.advance(task, more_steps - sum(job.steps for job in later) + done_before)
                failed = do(left, count - len(left)) if left else []
        reported = {job for job, _ in failed}
        return failed + [(job, "its run file is gone: was the results folder removed?") for job in jobs
                         if job not in reported and not (results / job.configuration.path).exists()]


def progress(console):
    """A progress bar for runs, in steps, with the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    return Progress(*columns, console=console, speed_estimate_period=600, refresh_per_second=2)


def _undone(jobs, results, options):
    """The jobs that are not done. Removes checkpoints of the others, which killed processes may have left."""
    undone = remaining(jobs, results, options)
    for job in set(jobs) - set(undone):
        checkpoint.remove(results / job.configuration.path)  # of a run killed between its last two acts
    return undone


def _execute(jobs, finished, results, executor, jobs_at_once, options, bar, task, count):
    """Does the runs, as numbers `finished` + 1 to `count` of the progress bar; returns [(job, reason)] of failures."""
    failed = []
    ended = executor(jobs, results, jobs_at_once, options, lambda steps: bar.advance(task, steps))
    with contextlib.closing(ended):
        for finished, (job, reason) in enumerate(ended, finished + 1):  # noqa: B020
            bar.update(task, description=f"runs {finished}/{count}")
            if not bar.console.is_terminal and finished < count:  # a log shows the bar at its end alone
                bar.console.print(bar.get_renderable())
            if reason:
                failed.append((job, reason))
                bar.console.print(f"failed: {job.configuration.path}: {reason}", markup=False)
    return failed
