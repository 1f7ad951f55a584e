"""`python -m experiments.faults`: kills runs and grids, damages files, fills a disk, and counts what that cost.

Runs lost, finished runs repeated, wrong results, damaged files unnoticed and files left over must all be 0, or it ends
with status 1. The runs are tiny (SYNTHETIC phantoms of 32², 60 steps) and save a checkpoint after every block, so that
kills fall into every act of a run. About a quarter of an hour on two cores.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data_prep.phantom import phantom
from experiments import grid
from experiments.sheet import Sheet
from ilnrepro import checkpoint, dataset, hdf5, runfile, verification
from ilnrepro.errors import InputError, command
from ilnrepro.protocols import protocol

FAULTS = {"lost": "runs lost", "repeated": "finished runs repeated", "wrong": "wrong results",
          "unnoticed": "damaged files unnoticed", "left over": "files left over"}
METHODS, RATE, STEPS = ("none", "in"), 0.3, 30
ALWAYS = ["--checkpoint-seconds", "0"]
HOWS = ("training", "checkpoint", "run file", "training", "start")  # the kills of one run, in turns
# Expected seconds, so that the bar's time left is about right.
_KILL, _GRID_KILL, _CORRUPTION, _DISK = 5, 10, 0.1, 90


@dataclass
class Tally:
    """What was done, and every fault with its story."""

    kills: Counter = field(default_factory=Counter)
    damage: Counter = field(default_factory=Counter)
    harmless: Counter = field(default_factory=Counter)
    disk: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    faults: dict = field(default_factory=lambda: {kind: [] for kind in FAULTS})

    @property
    def counts(self):
        """The number of faults of each kind."""
        return {kind: len(stories) for kind, stories in self.faults.items()}


@dataclass
class Bench:
    """Where and against what faults are tried: a data set, its grid of runs, and each run's content when left alone."""

    folder: Path
    data: Path
    jobs: list
    whole: dict
    tally: Tally
    advance: callable

    def judge(self, job, results, story):
        """Compares a finished run with the one that was left alone; clears nothing away."""
        path = results / job.configuration.path
        if not path.exists():
            self.tally.faults["lost"].append(f"{story}: {path.name} is not there")
        elif content(path) != self.whole[job]:
            self.tally.faults["wrong"].append(f"{story}: {path.name}")

    def leftovers(self, results, story):
        """Notes what a results folder holds beside whole run files."""
        for kind, path, text in verification.problems(results):
            self.tally.faults["left over"].append(f"{story}: {kind}: {path.name}: {text}")


def prepare(folder, seeds, tally, advance):
    """Makes the data set and does every run once, undisturbed."""
    data = folder / "tiny.h5"
    dataset.write(data, phantom("LV", 32, 6, crop=0.5))
    short = protocol("quick", steps_per_epoch=STEPS)
    jobs = grid.plan([data], METHODS, short, [RATE], range(seeds), [1])
    bench = Bench(folder, data, jobs, {}, tally, advance)
    results = folder / "whole"
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(lambda job: _finish(job, results), jobs):
            if done.returncode:
                raise InputError(f"a run that nobody disturbed failed: {done.stderr.strip()}")
            advance(_KILL)
    bench.whole = {job: content(results / job.configuration.path) for job in jobs}
    return bench


def content(path):
    """A checksum of all that must be the same for two identical runs; None for a damaged file."""
    try:
        with hdf5.reading(path, "run") as file:
            return hdf5.checksum(file)
    except InputError:
        return None


def _words(job, results):
    return [*job.command, "--results", str(results), *ALWAYS, "--progress", "lines"]


def _finish(job, results):
    return subprocess.run(_words(job, results), capture_output=True, encoding="utf-8")


# Kills of single runs.


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
            place = _kill(job, results, how, rng)
            finished = _same(bench, path, finished, story)
            if place:
                break
            if finished:  # its run had ended: on with another
                _conclude(bench, job, results, finished, story)
                finished = None
        bench.tally.kills[place or "none, the run had ended"] += 1
        bench.advance(_KILL)
    _conclude(bench, job, results, finished, story)


def _conclude(bench, job, results, finished, story):
    """Lets the run end, judges it, and clears it away."""
    path = results / job.configuration.path
    if _finish(job, results).returncode:
        bench.tally.faults["lost"].append(f"{story}: its command failed")
    _same(bench, path, finished, story)
    bench.judge(job, results, story)
    bench.leftovers(results, story)
    shutil.rmtree(results)


def _same(bench, path, before, story):
    """Notes a finished run that was done again; returns what identifies it, or None while it is not finished."""
    now = _identity(path)
    if before is not None and now != before:
        bench.tally.faults["repeated"].append(f"{story}: {path.name}")
    return now


def _identity(path):
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _kill(job, results, how, rng):
    """Starts a run and kills it; returns in which act it was, or None if it had ended before."""
    path = results / job.configuration.path
    before = set(_parts(path))
    process = subprocess.Popen(_words(job, results), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
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


# Kills of grids.


def kill_grids(bench, number, rng):
    """Kills grid drivers with their process group, and single workers, `number` times; starts the grid again."""
    killed = 0
    for trial in itertools.count():
        results, kept = bench.folder / f"grid{trial}", {}
        while killed < number:
            if _disturb(bench, results, rng):
                killed += 1
                bench.advance(_GRID_KILL)
            _unrepeated(bench, results, kept, f"grid {trial}")
            if all((results / job.configuration.path).exists() for job in bench.jobs):
                break
        done = _grid(bench, results)
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


def _grid(bench, results, data=None):
    """Starts the grid of all runs by its command, in a process group of its own."""
    short = ["--protocol", "quick", "--steps-per-epoch", str(STEPS), "--rates", str(RATE), "--folds", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", "run", "--data", str(data or bench.data), "--results", str(results),
         "--methods", *METHODS, "--seeds", *sorted({str(job.configuration.seed) for job in bench.jobs}), "--quiet",
         "--jobs", "2", *short],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True)


def _disturb(bench, results, rng):
    """Starts a grid and kills its group, or a worker of it; returns whether that came before its end."""
    process = _grid(bench, results)
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
        if (now := _same(bench, path, kept.get(job), story)) is not None:
            kept[job] = now


# Damage.


def flip_bit(raw, rng):
    """One bit, half of the time among the first 16 KiB, where HDF5's own structures lie thick."""
    at = rng.integers(min(len(raw), 1 << 14) if rng.random() < 0.5 else len(raw))
    raw[at] ^= 1 << rng.integers(8)


def flip_bytes(raw, rng):
    """A burst of up to 64 random bytes."""
    at = rng.integers(len(raw))
    end = min(len(raw), at + rng.integers(2, 65))
    raw[at:end] = rng.bytes(end - at)


def truncate(raw, rng):
    """Cut short."""
    del raw[rng.integers(len(raw)):]


def zero_page(raw, rng):
    """A page of zeros, as a file system may leave after a power failure."""
    at = 4096 * rng.integers(-(-len(raw) // 4096))
    end = min(len(raw), at + 4096)
    raw[at:end] = bytes(end - at)


DAMAGES = {"bit flipped": flip_bit, "bytes overwritten": flip_bytes, "cut short": truncate, "page zeroed": zero_page,
           "swapped": None}


def damage_files(bench, number, rng):
    """Damages run files, checkpoints and data sets `number` times, and looks whether reading them notices."""
    reader = _Reader()
    job, other = bench.jobs[0], bench.jobs[-1]
    results = bench.folder / "damaged"
    shutil.copytree(bench.folder / "whole", results)
    another = bench.folder / "another" / bench.data.name
    dataset.write(another, phantom("LV", 32, 6, seed=1, crop=0.5))
    unfinished = [_unfinished(bench, each, bench.folder / "unfinished", rng) for each in (job, other)]
    targets = {
        "run file": (results / job.configuration.path, results / other.configuration.path, _verify_names, results),
        "data set": (_copied(bench.data, bench.folder / "damaged-data"), another, _data_refused, (job, results)),
        "checkpoint": (unfinished[0][-1], unfinished[1][-1], _passed_over,
                       (bench.folder / "unfinished" / job.configuration.path, job.configuration)),
    }
    for (what, target), how in itertools.islice(itertools.cycle(itertools.product(targets.items(), DAMAGES)), number):
        path, swapped, noticed, about = target
        whole = path.read_bytes()
        before = everything(path)
        raw = bytearray(swapped.read_bytes() if how == "swapped" else whole)
        if DAMAGES[how]:
            DAMAGES[how](raw, rng)
        path.write_bytes(raw)
        answer = reader.ask(noticed, path, before, about)
        bench.tally.damage[f"{what}: {how}"] += 1
        if answer == "harmless":
            bench.tally.harmless[f"{what}: {how}"] += 1
        elif answer != "noticed":
            at = next((i for i, (a, b) in enumerate(zip(raw, whole, strict=False)) if a != b), len(raw))
            bench.tally.faults["unnoticed"].append(f"{what}: {how}, from byte {at} of {len(whole)}: {answer}")
        path.write_bytes(whole)
        bench.advance(_CORRUPTION)
    reader.close()
    for damaged, each in zip((3, 2, 1), bench.jobs, strict=False):  # both checkpoints, the newer, the older
        _resume_damaged(bench, each, damaged, rng)


def _copied(path, folder):
    folder.mkdir()
    return Path(shutil.copy(path, folder))


def _unfinished(bench, job, results, rng):
    """Kills a run that has two checkpoints; returns them, the newer last."""
    path = results / job.configuration.path
    while len(found := sorted(path.parent.glob(f".{path.name}.step*.checkpoint"))) < 2:
        _kill(job, results, "training", rng)
        if path.exists():
            shutil.rmtree(results)
    return found


def _resume_damaged(bench, job, damaged, rng):
    """Damages the older checkpoint (1), the newer (2), or both (3); the run must end in the same bits."""
    results = bench.folder / f"resumed{damaged}"
    for bit, path in enumerate(_unfinished(bench, job, results, rng)):
        if damaged & (1 << bit):
            raw = bytearray(path.read_bytes())
            zero_page(raw, rng)
            truncate(raw, rng)
            path.write_bytes(raw)
    if _finish(job, results).returncode:
        bench.tally.faults["lost"].append(f"a run with damaged checkpoints: {job.configuration.path}")
    bench.judge(job, results, "damaged checkpoints")
    bench.leftovers(results, "damaged checkpoints")
    shutil.rmtree(results)


def _verify_names(path, results):
    named = {found for _, found, _ in verification.problems(results)}
    return path in named


def _data_refused(path, about):
    job, results = about
    try:
        jobs = grid.plan([path], [job.configuration.method], job.configuration.protocol, [RATE],
                         [job.configuration.seed], [1])
        runfile.is_done(results / job.configuration.path, jobs[0].configuration)
    except InputError:
        return True
    return False


def _passed_over(path, about):
    run, configuration = about
    found = checkpoint.latest(run, configuration)
    return found is None or found[0] != int(path.name.split(".step")[1].split(".")[0])


def everything(path):
    """All that HDF5 can read of a file, timings included, as bytes and text; None if it cannot be read."""
    found = {}

    def add(name, item):
        found[name] = {key: repr(np.asarray(value).tolist()) for key, value in item.attrs.items()
                       if key not in ("DIMENSION_LIST", "REFERENCE_LIST")}
        if isinstance(item, h5py.Dataset):
            values = item[()]
            found[name]["values"] = (str(item.dtype), item.shape, repr(values.tolist()) if item.dtype == object
                                     else values.tobytes())

    try:
        with h5py.File(path, "r") as file:
            add("/", file)
            file.visititems(add)
    except Exception:  # on damaged bytes HDF5 may say anything
        return None
    return found


def _look(noticed, path, before, about):
    """'noticed'; 'harmless' where nothing readable has changed; or what went wrong."""
    if noticed(path, about):
        return "noticed"
    return "harmless" if everything(path) == before else "nobody noticed"


class _Reader:
    """Reads damaged files in another process, for HDF5's library may crash or never end on them."""

    def __init__(self):
        self.pool = None

    def ask(self, *question):
        if self.pool is None:
            self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            self.pool.submit(os.getpid).result()  # the import of TensorFlow is no part of the answer's time
        asked = self.pool.submit(_look, *question)
        try:
            return asked.result(timeout=120)
        except (BrokenProcessPool, TooLong) as error:
            self.close()
            return "reading it never ends" if isinstance(error, TooLong) else "reading it crashes"
        except Exception as error:
            return f"reading it raises {type(error).__name__}: {error}"

    def close(self):
        if self.pool is not None:
            for process in list(self.pool._processes.values()):
                process.kill()
            self.pool.shutdown(wait=False)
            self.pool = None


# Disks.


def fill_disks(bench):
    """A full, a read-only and a vanished results folder: named in the summary, nothing lost, status not 0."""
    _vanished(bench)
    folder = bench.folder / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=25m", "tmpfs", str(folder)], capture_output=True).returncode:
        bench.tally.skipped.append("full and read-only file systems: mounting one needs root")
        return
    try:
        _full(bench, folder)
        _read_only(bench, folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _named(bench, story, code, said, word):
    bench.tally.disk.append(story)
    if code in (0, -signal.SIGSEGV) or word not in said or "Traceback" in said:
        bench.tally.faults["unnoticed"].append(f"{story}: status {code}: {said.strip()[-300:]}")


def _full(bench, folder):
    """Full while checkpoints are written, then while run files are; with space again the runs go on."""
    job, results = bench.jobs[0], folder / "results"
    done = _finish(job, results)  # a checkpoint takes 17 MB, and two do not fit
    _named(bench, "disk full at a checkpoint", done.returncode, done.stderr, "free space")
    subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
    if _finish(job, results).returncode:
        bench.tally.faults["lost"].append("disk full at a checkpoint: its command failed")
    bench.judge(job, results, "disk full at a checkpoint")
    kept = _identity(results / job.configuration.path)
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    process = _grid(bench, results)
    said = process.communicate()[1]
    jobs = len(bench.jobs)
    _named(bench, "disk full at run files of a grid", process.returncode, said, f"{jobs - 1} of {jobs} runs failed")
    (folder / "filler").unlink()
    process = _grid(bench, results)
    process.communicate()
    if process.returncode:
        bench.tally.faults["lost"].append("disk full at run files of a grid: with space again it failed")
    _same(bench, results / job.configuration.path, kept, "disk full")
    for each in bench.jobs:
        bench.judge(each, results, "disk full at run files of a grid")
    bench.leftovers(results, "disk full")


def _read_only(bench, folder):
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    shown = bench.folder / "another" / bench.data.name
    for story, process in (("read-only results folder, run", subprocess.Popen(
            [*bench.jobs[0].command, "--results", str(folder / "new")], stderr=subprocess.PIPE, encoding="utf-8")),
            ("read-only results folder, grid", _grid(bench, folder / "new", shown if shown.exists() else None))):
        said = process.communicate()[1]
        _named(bench, story, process.returncode, said, "cannot be written")


def _vanished(bench):
    """The results folder goes away under a grid, and comes back after it."""
    story, results = "vanished results folder", bench.folder / "vanishing"
    away = results.with_suffix(".away")
    process = _grid(bench, results)
    while process.poll() is None and not list(results.glob("runs/*/*/*/*.h5")):
        time.sleep(0.1)
    finished = {path.relative_to(results): _identity(path) for path in results.glob("runs/*/*/*/*.h5")}
    results.rename(away)
    said = process.communicate()[1]
    _named(bench, story, process.returncode, said, "its run file is gone")
    shutil.rmtree(results, ignore_errors=True)
    away.rename(results)
    process = _grid(bench, results)
    process.communicate()
    if process.returncode:
        bench.tally.faults["lost"].append(f"{story}: back again, its grid failed")
    for relative, identity in finished.items():
        _same(bench, results / relative, identity, story)
    for job in bench.jobs:
        bench.judge(job, results, story)
    bench.leftovers(results, story)
    shutil.rmtree(results)


def sheet(tally, seed):
    """The counts, for people."""
    body = [[f"killed: {place}", str(n), ""] for place, n in sorted(tally.kills.items())]
    body += [[f"damaged: {what}", str(n), str(tally.harmless[what]) if tally.harmless[what] else ""]
             for what, n in sorted(tally.damage.items())]
    body += [[story, "1", ""] for story in tally.disk]
    body += [[f"**{FAULTS[kind]}**", f"**{n}**", ""] for kind, n in tally.counts.items()]
    skipped = f" Skipped: {'; '.join(tally.skipped)}." if tally.skipped else ""
    return Sheet("Faults", f"What was done to runs, and what it cost. {_kills(tally)} kills (SIGKILL), "
                 f"{sum(tally.damage.values())} damaged files, of which {sum(tally.harmless.values())} read as before "
                 f"(harmless: the damage fell where HDF5 keeps nothing that is read); seed {seed}.{skipped}",
                 ["what", "times", "of them harmless"], body)


def _kills(tally):
    return sum(n for place, n in tally.kills.items() if not place.startswith("none"))


def main(argv=None):
    """Tries the faults; returns 0 if nothing was lost, repeated, wrong or unnoticed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m experiments.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=120, help="a fifth of them on grids")
    parser.add_argument("--corruptions", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3, help="of the grid of runs, for each of two methods")
    parser.add_argument("--no-disks", action="store_true", help="leave full, read-only and vanished folders out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("build/faults.json"))
    arguments = parser.parse_args(argv)
    rng, tally = np.random.default_rng(arguments.seed), Tally()
    of_grids = arguments.kills // 5
    of_runs = arguments.kills - of_grids
    disks = not arguments.no_disks
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=Console(stderr=True),
                                                           speed_estimate_period=600) as bar:
        total = (_KILL * (of_runs + len(METHODS) * arguments.seeds) + _GRID_KILL * of_grids
                 + _CORRUPTION * arguments.corruptions + _DISK * disks)
        task = bar.add_task("runs left alone", total=total)
        bench = prepare(Path(folder), arguments.seeds, tally, lambda seconds: bar.advance(task, seconds))
        for title, part in (("damaged files", lambda: damage_files(bench, arguments.corruptions, rng)),
                            ("killed runs", lambda: kill_runs(bench, of_runs, rng)),
                            ("killed grids", lambda: kill_grids(bench, of_grids, rng)),
                            ("disks", lambda: disks and fill_disks(bench))):
            bar.update(task, description=title)
            part()
        bar.update(task, completed=total)
    return _report(tally, arguments, time.monotonic() - began)


def _report(tally, arguments, seconds):
    found = {"counts": tally.counts, "kills": _kills(tally), "kills_by_place": dict(tally.kills),
             "corruptions": sum(tally.damage.values()), "corruptions_by_kind": dict(tally.damage),
             "harmless": dict(tally.harmless), "disk": tally.disk, "skipped": tally.skipped, "faults": tally.faults,
             "seed": arguments.seed, "seconds": round(seconds)}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    shown = sheet(tally, arguments.seed)
    arguments.output.with_suffix(".md").write_text(shown.markdown(), encoding="utf-8")
    Console(width=160).print(shown.rich())
    for kind, stories in tally.faults.items():
        for story in stories:
            print(f"{FAULTS[kind]}: {story}")
    print(f"faults: {', '.join(f'{FAULTS[kind]} {n}' for kind, n in tally.counts.items())}: {arguments.output}")
    return 1 if any(tally.counts.values()) else 0


if __name__ == "__main__":
    command(main)
