"""The executors of a grid's runs: processes on this machine, or tasks of a Ray cluster.

An executor is a generator function with the arguments
  jobs: of `planning.plan`;
  results: the results folder;
  jobs_at_once: how many runs side by side, or None for its default;
  options: further arguments of the runs' commands;
  advance: called as advance(steps) for progress.
As each run ends, it yields (job, None), or (job, reason) if the run failed.
"""

import contextlib
import math
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.storage import files

RETRIES = 3  # of a run whose node is lost
CLEANUP_SECONDS = 15  # for interrupted tasks to end their runs and to remove their folders


def local(jobs, results, jobs_at_once, options, advance):
    """Does each run in a process of its own. By default as many at once as the cores have room for their threads."""
    workers = _workers(jobs_at_once, jobs[0].configuration.protocol.threads)
    # When this block ends early, by an interruption or by the caller, the processes are stopped and then waited for.
    with ThreadPoolExecutor(min(workers, len(jobs))) as pool, _Processes() as processes:
        job_of = {pool.submit(processes.run, [*job.command, "--results", str(results), *options], advance,
                              job.steps): job for job in jobs}
        for done in as_completed(job_of):
            yield job_of[done], done.result()


def _workers(jobs_at_once, threads):
    return jobs_at_once or max(1, (os.cpu_count() or 1) // threads)


def on_ray(jobs, results, jobs_at_once, options, advance):
    """Does each run in a Ray task, on the cluster at $ADDRESS or a local one. Data sets and run files travel by Ray.

    A task takes as many CPUs as the run has threads, and where the cluster has GPUs the share $GPUS of one (default 1).
    Checkpoints lie in the task's own folder and are lost with it, so a run that is stopped, or whose node is lost,
    starts again from its beginning; after the loss of a node, on another, at most RETRIES times. All nodes need
    `ilnrepro` installed for the Python under which their Ray runs.

    Raises:
      InputError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError('--executor ray: Ray is not installed; pip install "ilnrepro[cluster]"') from error
    address = os.environ.get("ADDRESS") or None  # make exports an unset variable as ''
    threads = jobs[0].configuration.protocol.threads
    if not ray.is_initialized():
        cluster = {"address": address} if address else {"address": "local",
                                                        "num_cpus": threads * _workers(jobs_at_once, threads)}
        try:
            ray.init(**cluster, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            raise InputError(f"$ADDRESS: {address}: no Ray cluster answers ({error}); start one: ray start") from error
    gpus = _gpus() if ray.cluster_resources().get("GPU") else 0
    data = {path: ray.put(path.read_bytes()) for path in {job.data for job in jobs}}
    task = ray.remote(max_retries=RETRIES, num_cpus=threads, num_gpus=gpus)(_task)
    job_of = {task.remote(_portable(job.command), list(options), job.data.name, data[job.data],
                          str(job.configuration.path)): job for job in jobs}
    try:
        while job_of:
            (done,), _ = ray.wait(list(job_of), num_returns=1)
            job = job_of.pop(done)
            try:
                content, reason = ray.get(done)
            except ray.exceptions.RayError as error:
                content, reason = None, _ray_reason(error)
            if content is not None:
                try:
                    files.write(results / job.configuration.path, content)
                except InputError as error:
                    reason = str(error)
            advance(job.steps)
            yield job, reason
    finally:  # after an interruption
        for task in job_of:
            ray.cancel(task)
        if job_of:
            ray.wait(list(job_of), num_returns=len(job_of), timeout=CLEANUP_SECONDS)


def _gpus():
    """The share of a GPU that a run takes, from $GPUS."""
    text = os.environ.get("GPUS") or "1"
    try:
        if 0 <= (share := float(text)) < math.inf:
            return share
    except ValueError:
        pass
    raise InputError(f"$GPUS: {text!r} is no share of a GPU; give a number, as 0.5")


def _portable(command):
    """The command with None in place of the path of this machine's Python, which may differ on another machine."""
    return [None if word == sys.executable else word for word in command]


def _task(command, options, name, data, relative):
    """Does one run in a folder of its own; returns (content of the run file, None), or (None, reason) if it failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        command = [sys.executable if word is None else word for word in command]
        words = [*command, "--results", folder, *options, "--progress", "lines"]
        words[words.index("--data") + 1] = str(path)
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                              errors="replace") as process:  # it ends itself when nobody reads its output
            stderr = _stderr_of(process)
        if process.returncode:
            return None, _reason(process.returncode, stderr.splitlines())
        return (Path(folder) / relative).read_bytes(), None


def _stderr_of(process):
    """The standard error of a run, after its end.

    It waits in steps of a second, because Ray's interruption of a task takes effect only between two waits.
    """
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=1)[1]
    except BaseException:
        process.kill()
        raise


def _ray_reason(error):
    """The reason, in one line, why Ray could not return a run's result."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {one_line(cause)[:300]}"


EXECUTORS = {"local": local, "ray": on_ray}


def _reason(code, lines):
    """The reason why a run failed: the signal that ended it, or the last line of its standard error."""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    if code == -9:
        return "killed (signal 9): by hand, or because memory ran out; give the command again, with a smaller --jobs"
    return f"ended by signal {-code}" if code < 0 else last


class _Processes:
    """The processes of the runs that are under way; when the block ends, they are terminated."""

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
        """Runs a command to its end; returns the reason why it failed, or None."""
        with self.lock:
            if self.stopping:
                return "interrupted"
            try:
                process = subprocess.Popen([*command, "--progress", "lines"], stdout=subprocess.PIPE, encoding="utf-8",
                                           stderr=subprocess.PIPE, errors="replace", start_new_session=True)
            except OSError as error:
                return f"cannot be started ({error.strerror}); give the command again, with a smaller --jobs"
            self.running.add(process)
        lines = []
        listener = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
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
        advance(steps - counted)  # of a run that ended early, so that the progress bar does not wait for the rest
        return None if code == 0 else _reason(code, lines)
