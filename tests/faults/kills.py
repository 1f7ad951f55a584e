"""Kills of single runs at chosen acts, of grids' drivers, and of their workers."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .trial import KILL, finish, same, start_grid, words

HOWS = ("training", "checkpoint", "run file", "training", "start")  # the kills of one run, in turns
GRID_KILL = 10  # seconds that one takes, about


def kill_runs(bench, number, rng):
    """Kills runs `number` times, several times each, lets them end, and compares."""
    chains = [(bench.jobs[i % len(bench.jobs)], bench.folder / f"killed{i}", hows, np.random.default_rng(seed))
              for i, (hows, seed) in enumerate(zip(_chains(number), rng.integers(2**32, size=number), strict=False))]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda chain: _chain(bench, *chain), chains))


def _chains(number):
    """How each kill of each run is to fall: so many kills in all."""
    for i in range(0, number, len(HOWS)):
        yield HOWS[:number - i]


def _chain(bench, job, results, hows, rng):
    path = results / job.configuration.path
    story = f"{path.name} killed in {', '.join(hows)}"
    finished = None
    for how in hows:
        place = None
        for _ in range(5):  # a kill that came too late for its place is drawn again
            place = kill(job, results, how, rng)
            finished = same(bench, path, finished, story)
            if place:
                break
            if finished:  # its run had ended: on with another
                _conclude(bench, job, results, finished, story)
                finished = None
        bench.tally.kills[place or "none, the run had ended"] += 1
        bench.advance(KILL)
    _conclude(bench, job, results, finished, story)


def _conclude(bench, job, results, finished, story):
    """Lets the run end, judges it, and clears it away."""
    path = results / job.configuration.path
    if finish(job, results).returncode:
        bench.tally.faults["lost"].append(f"{story}: its command failed")
    same(bench, path, finished, story)
    bench.judge(job, results, story)
    bench.leftovers(results, story)
    shutil.rmtree(results)


def kill(job, results, how, rng):
    """Starts a run and kills it; returns in which act it was, or None if it had ended before."""
    path = results / job.configuration.path
    before = set(_parts(path))
    process = subprocess.Popen(words(job, results), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               encoding="utf-8")
    said = []
    with process:
        if how == "start":
            time.sleep(rng.uniform(0, 5))
        else:
            said.append(process.stdout.readline())
            if how == "training":
                time.sleep(rng.uniform(0, 1))
            else:
                _await_part(process, path, before, how)
                time.sleep(rng.uniform(0, 0.02))
        process.kill()
        said += process.stdout.readlines()
    if process.returncode != -signal.SIGKILL:
        return None
    new = set(_parts(path)) - before
    if path.exists():
        return "after the run file"
    if new:
        return f"writing the {new.pop()[1]}"
    steps = [line.split()[1:] for line in said if line.startswith("steps ")]
    if not steps:
        return "starting"
    return "testing" if steps[-1][0] == steps[-1][1] else "training"


def _parts(path):
    """(name, 'checkpoint' or 'run file') of every file half-written beside the run file `path`."""
    if path.parent.is_dir():
        for name in os.listdir(path.parent):
            if name.endswith(".part"):
                yield name, "checkpoint" if ".checkpoint." in name else "run file"


def _await_part(process, path, before, kind):
    while process.poll() is None:
        if any(found == kind for _, found in set(_parts(path)) - before):
            return
        time.sleep(0.0005)


def kill_grids(bench, number, rng):
    """Kills grid drivers with their process group, and single workers, `number` times; starts the grid again."""
    killed = 0
    for trial in itertools.count():
        results, kept = bench.folder / f"grid{trial}", {}
        while killed < number:
            if _disturb(bench, results, rng):
                killed += 1
                bench.advance(GRID_KILL)
            _unrepeated(bench, results, kept, f"grid {trial}")
            if all((results / job.configuration.path).exists() for job in bench.jobs):
                break
        done = start_grid(bench, results)
        said = done.communicate()[1]
        if done.returncode:
            bench.tally.faults["lost"].append(f"grid {trial}: its last start failed: {said.strip()[-300:]}")
        _unrepeated(bench, results, kept, f"grid {trial}")
        for job in bench.jobs:
            bench.judge(job, results, f"grid {trial}")
        bench.leftovers(results, f"grid {trial}")
        shutil.rmtree(results)
        if killed >= number:
            return


def _disturb(bench, results, rng):
    """Starts a grid and kills its group, or a worker of it; returns whether that came before its end."""
    process = start_grid(bench, results)
    said = []
    listener = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
    listener.start()
    time.sleep(rng.uniform(2, 20))
    workers = _children(process.pid)
    if workers and rng.random() < 0.5:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
        place = "grid: a worker"
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        place = "grid: the driver's group"
    code = process.wait()
    listener.join()
    process.stdout.close()
    text = "".join(said)
    if place == "grid: a worker":
        if "killed (signal 9)" not in text:
            return False  # the worker had ended before
        if code == 0:
            bench.tally.faults["unnoticed"].append(f"a worker was killed, and the grid ended well: {text[-300:]}")
    elif code != -signal.SIGKILL:
        return False
    bench.tally.kills[place] += 1
    return True


def _children(parent):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _unrepeated(bench, results, kept, story):
    for job in bench.jobs:
        path = results / job.configuration.path
        if (now := same(bench, path, kept.get(job), story)) is not None:
            kept[job] = now
