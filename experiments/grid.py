"""Grids of runs: which are to be done, and doing them side by side, one process a run."""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ilnrepro import dataset, runfile
from ilnrepro.augmentation import epoch_steps
from ilnrepro.cli import check_writable
from ilnrepro.errors import InputError
from ilnrepro.locking import locked
from ilnrepro.protocols import PROTOCOLS, VARIANTS, Configuration


@dataclass(frozen=True)
class Job:
    """One run to be done: its configuration, the data set file, and how many steps it will take."""

    configuration: Configuration
    data: Path
    steps: int

    @property
    def command(self):
        """The command that does it."""
        c = self.configuration
        words = [sys.executable, "-m", "ilnrepro", "run", "--data", str(self.data), "--method", c.method, "--fold",
                 str(c.fold), "--rate", f"{c.rate:g}", "--seed", str(c.seed), "--protocol", c.protocol.name]
        default = PROTOCOLS[c.protocol.name]
        for key in VARIANTS:
            value = getattr(c.protocol, key)
            if value is not None and value is not False and value != getattr(default, key):
                words += [f"--{key.replace('_', '-')}"] + ([] if value is True else [str(value)])
        return words


def plan(data_files, methods, protocol, rates, seeds, folds=None):
    """All runs of a grid, in the order method, data set, fold, rate, seed.

    Args:
      data_files: data set files, one a structure.
      folds: fold numbers; None takes all of each data set.

    Raises:
      InputError: a data set is unsound, lacks a fold, or two have one structure.
    """
    sets = [(Path(path), dataset.read(path)) for path in data_files]
    structures = [data.structure for _, data in sets]
    if len(set(structures)) < len(structures):
        raise InputError(f"data sets: two of them show the structure {structures[0]}; give one a structure")
    for path, data in sets:
        if folds is not None and not set(folds) <= set(data.folds):
            raise InputError(f"{path}: folds: it has {data.folds}, not all of {sorted(folds)}; choose among them")
    jobs = []
    for method, (path, data) in itertools.product(methods, sets):
        for fold, rate, seed in itertools.product(folds or data.folds, rates, seeds):
            configuration = Configuration(path.stem, data.checksum, data.structure, method, fold, rate, seed, protocol)
            training_images = int((data.fold != fold).sum())
            jobs.append(Job(configuration, path, protocol.epochs * epoch_steps(
                training_images, len(configuration.angles), protocol.batch, protocol.steps_per_epoch)))
    return jobs


def run(jobs, results, jobs_at_once=None, options=()):
    """Does the runs that are not done yet, several at once; a failed one does not stop the others.

    Args:
      results: the results folder.
      jobs_at_once: default: cores over threads a run.
      options: further words for every `ilnrepro run` command.

    Returns:
      the failed jobs with their reasons, [(job, reason)].

    Raises:
      InputError: the results folder cannot be written, or holds a run of another configuration.
    """
    check_writable(results)
    with locked(results / ".grid.lock", "at work on a grid in this folder"):
        return _run(jobs, results, jobs_at_once, options)


def _run(jobs, results, jobs_at_once, options):
    to_do = [job for job in jobs if not runfile.is_done(results / job.configuration.path, job.configuration)]
    console = Console(stderr=True)
    console.print(f"{len(jobs)} runs, {len(jobs) - len(to_do)} done before, {len(to_do)} to do")
    if not to_do:
        return []
    workers = jobs_at_once or max(1, (os.cpu_count() or 1) // jobs[0].configuration.protocol.threads)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    failed = []
    with Progress(*columns, console=console, speed_estimate_period=600) as bar, _Processes() as processes:
        everything = bar.add_task(f"runs 0/{len(to_do)}", total=sum(job.steps for job in to_do))
        with ThreadPoolExecutor(min(workers, len(to_do))) as pool:
            waiting = {pool.submit(processes.run, [*job.command, "--results", str(results), *options],
                                   lambda steps: bar.advance(everything, steps), job.steps): job for job in to_do}
            try:
                for finished, done in enumerate(as_completed(waiting), 1):
                    job, reason = waiting[done], done.result()
                    bar.update(everything, description=f"runs {finished}/{len(to_do)}")
                    if reason:
                        failed.append((job, reason))
                        bar.console.print(f"failed: {job.configuration.path}: {reason}", markup=False)
            except KeyboardInterrupt:
                processes.stop()
                pool.shutdown(cancel_futures=True)
                raise
    return failed


class _Processes:
    """The runs under way, so that an interruption ends them too."""

    def __init__(self):
        self.running, self.stopping, self.lock = set(), False, threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        with self.lock:
            self.stopping = True
            for process in self.running:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()

    def run(self, command, advance, steps):
        """Runs one command to its end; returns why it failed, or None."""
        with self.lock:
            if self.stopping:
                return "interrupted"
            process = subprocess.Popen([*command, "--progress", "lines"], stdout=subprocess.PIPE, text=True,
                                       stderr=subprocess.PIPE, start_new_session=True)
            self.running.add(process)
        said = []
        listener = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
        listener.start()
        counted = 0
        for line in process.stdout:
            if line.startswith("steps "):
                done = int(line.split()[1])
                advance(done - counted)
                counted = done
        code = process.wait()
        listener.join()
        with self.lock:
            self.running.discard(process)
        advance(steps - counted)  # a run that ended early leaves no steps to wait for
        if code == 0:
            return None
        last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
        return f"signal {-code}" if code < 0 else last
