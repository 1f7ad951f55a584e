"""Kills of single runs at given points, of grids' drivers, and of their workers."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .trial import KILL, finish, identity, same, start_grid, words

PLACES = ("starting", "training", "writing the checkpoint", "testing", "writing the run file", "after the run file")
DRIVER, WORKER = "grid: the driver's group", "grid: a worker"
TRIES = 5  # for one kill: where a run goes on it may be past the place, or its grid at its end
GRID_KILL = 10  # seconds that one takes, about


def kill_runs(bench, number, rng):
    """Kills runs at each of PLACES `number` times, lets them end, and compares their files with those of undisturbed
    runs."""
    chains = [(bench.jobs[i % len(bench.jobs)], bench.folder / f"killed{i}", np.random.default_rng(seed))
              for i, seed in enumerate(rng.integers(2**32, size=number))]
    with ThreadPoolExecutor(2) as pool:
        for killed in pool.map(lambda chain: _chain(bench, *chain), chains):
            bench.tally.kills.update(killed)


def _chain(bench, job, results, rng):
    """Kills one run at each of PLACES in turn; returns those that it reached."""
    path = results / job.configuration.path
    places = list(PLACES[1:])
    places.insert(rng.integers(len(places)), PLACES[0])
    story, seen = f"{path.name} killed in {', '.join(places)}", []
    for place in places:
        for _ in range(TRIES):
            killed = kill(bench, job, results, place, rng)
            if path.exists():
                _conclude(bench, job, results, story)
            if killed:
                seen.append(place)
                break
        bench.advance(KILL)
    if results.exists():
        _conclude(bench, job, results, story)
    return seen


def _conclude(bench, job, results, story):
    """Gives the command once more, which must finish the run or leave a finished one alone; judges the run and
    removes it.
    """
    path = results / job.configuration.path
    finished = identity(path)
    if finish(job, results).returncode:
        bench.tally.faults["lost"].append(f"{story}: its command failed")
    same(bench, path, finished, story)
    bench.judge(job, results, story)
    bench.leftovers(results, story)
    shutil.rmtree(results)


def kill(bench, job, results, place, rng):
    """Starts a run and kills it at `place`; returns False if it ended without reaching it.

    It is stopped before its fate is decided, so that it cannot leave the place meanwhile.
    """
    path = results / job.configuration.path
    before, said = set(_parts(path)), b""
    process = subprocess.Popen([sys.executable, "-m", f"{__package__}.stopping", *words(job, results)[3:]], bufsize=0,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.set_blocking(process.stdout.fileno(), False)
    pause = rng.uniform(0, bench.seconds / 2)  # most of a tiny run's time goes into its start
    with process:
        try:
            while _stopped(process, pause):
                said += process.stdout.read() or b""
                if _act(path, before, said.decode()) == place and rng.random() < 0.5:  # or later in the same act
                    return True
                process.send_signal(signal.SIGCONT)
                pause = rng.exponential(0.05)
        finally:
            process.kill()
    return False


def _stopped(process, pause):
    """Waits until the process stops, or stops it after `pause` seconds; returns False if it ends instead."""
    until = time.monotonic() + pause
    while process.poll() is None:
        if os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG):
            return True
        if time.monotonic() > until:
            process.send_signal(signal.SIGSTOP)
            until = float("inf")
        time.sleep(0.0005)
    return False


def _act(path, before, said):
    """The one of PLACES at which a run is that has printed `said`; `before` are the half-written files when it
    started."""
    if path.exists():
        return "after the run file"
    if new := set(_parts(path)) - before:
        return f"writing the {new.pop()[1]}"
    steps = [line.split()[1:] for line in said.splitlines() if line.startswith("steps ")]
    if not steps:
        return "starting"
    return "testing" if steps[-1][0] == steps[-1][1] else "training"


def _parts(path):
    """(name, 'checkpoint' or 'run file') of the half-written files beside the run file `path`."""
    if path.parent.is_dir():
        for name in os.listdir(path.parent):
            if name.endswith(".part"):
                yield name, "checkpoint" if ".checkpoint." in name else "run file"


def kill_grids(bench, number, rng):
    """Kills grid drivers with their process group, and single workers, `number` times each; starts the grid again."""
    places = [DRIVER, WORKER] * number
    for trial in range(TRIES * len(places)):
        if not places:
            return
        results, kept = bench.folder / f"grid{trial}", {}
        while places and not all((results / job.configuration.path).exists() for job in bench.jobs):
            killed = _disturb(bench, results, places[0], rng)
            _unrepeated(bench, results, kept, f"grid {trial}")
            if not killed:
                break
            bench.tally.kills[places.pop(0)] += 1
            bench.advance(GRID_KILL)
        done = start_grid(bench, results)
        said = done.communicate()[1]
        if done.returncode:
            bench.tally.faults["lost"].append(f"grid {trial}: its last start failed: {said.strip()[-300:]}")
        _unrepeated(bench, results, kept, f"grid {trial}")
        for job in bench.jobs:
            bench.judge(job, results, f"grid {trial}")
        bench.leftovers(results, f"grid {trial}")
        shutil.rmtree(results)


def _disturb(bench, results, place, rng):
    """Starts a grid and kills its process group or one of its workers; returns whether it had not ended before."""
    process = start_grid(bench, results)
    said = []
    listener = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
    listener.start()
    while process.poll() is None and not _children(process.pid):
        time.sleep(0.05)
    time.sleep(rng.uniform(0, bench.seconds))
    workers = _children(process.pid)
    with contextlib.suppress(ProcessLookupError):
        if place == DRIVER:
            os.killpg(process.pid, signal.SIGKILL)
        elif workers:
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
    code = process.wait()
    listener.join()
    process.stdout.close()
    if place == DRIVER:
        return code == -signal.SIGKILL
    text = "".join(said)
    killed = "killed (signal 9)" in text  # else it had ended before
    if killed and code == 0:
        bench.tally.faults["unnoticed"].append(f"a worker was killed, and the grid ended well: {text[-300:]}")
    return killed


def _children(parent):
    seen = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                seen.append(int(stat.parent.name))
    return seen


def _unrepeated(bench, results, kept, story):
    for job in bench.jobs:
        path = results / job.configuration.path
        if (now := same(bench, path, kept.get(job), story)) is not None:
            kept[job] = now
