"""Damage to run files, checkpoints and data sets, and whether reading them notices."""

import itertools
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import h5py
import numpy as np

from data_prep.phantom import phantom
from ilnrepro.comparison import planning
from ilnrepro.errors import InputError
from ilnrepro.storage import checkpoint, dataset, runfile, verification

from .kills import kill
from .trial import RATE, finish

CORRUPTION = 0.1  # seconds that one takes, about


def flip_bit(raw, rng):
    """Flips one bit, half of the time in the first 16 KiB, where most of HDF5's own structures lie."""
    at = rng.integers(min(len(raw), 1 << 14) if rng.random() < 0.5 else len(raw))
    raw[at] ^= 1 << rng.integers(8)


def flip_bytes(raw, rng):
    """Overwrites up to 64 bytes in a row with random ones."""
    at = rng.integers(len(raw))
    end = min(len(raw), at + rng.integers(2, 65))
    raw[at:end] = rng.bytes(end - at)


def truncate(raw, rng):
    """Cuts the file short."""
    del raw[rng.integers(len(raw)):]


def zero_page(raw, rng):
    """Overwrites a page with zeros, as a file system may after a power failure."""
    at = 4096 * rng.integers(-(-len(raw) // 4096))
    end = min(len(raw), at + 4096)
    raw[at:end] = bytes(end - at)


DAMAGES = {"bit flipped": flip_bit, "bytes overwritten": flip_bytes, "cut short": truncate, "page zeroed": zero_page,
           "swapped": None}


def damage_files(bench, number, rng):
    """Damages run files, checkpoints and data sets `number` times, and notes where reading them does not notice."""
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
        bench.advance(CORRUPTION)
    reader.close()
    for damaged, each in zip((3, 2, 1), bench.jobs, strict=False):  # both checkpoints, the newer, the older
        _resume_damaged(bench, each, damaged, rng)


def _copied(path, folder):
    folder.mkdir()
    return Path(shutil.copy(path, folder))


def _unfinished(bench, job, results, rng):
    """Kills a run that has two checkpoints; returns them, the newer last."""
    path = results / job.configuration.path
    while len(checkpoints := sorted(path.parent.glob(f".{path.name}.step*.checkpoint"))) < 2:
        kill(bench, job, results, "testing", rng)
        if path.exists():
            shutil.rmtree(results)
    return checkpoints


def _resume_damaged(bench, job, damaged, rng):
    """Damages the older checkpoint (1), the newer (2), or both (3), and resumes the run, whose file must be the
    same."""
    results = bench.folder / f"resumed{damaged}"
    for bit, path in enumerate(_unfinished(bench, job, results, rng)):
        if damaged & (1 << bit):
            raw = bytearray(path.read_bytes())
            zero_page(raw, rng)
            truncate(raw, rng)
            path.write_bytes(raw)
    if finish(job, results).returncode:
        bench.tally.faults["lost"].append(f"a run with damaged checkpoints: {job.configuration.path}")
    bench.judge(job, results, "damaged checkpoints")
    bench.leftovers(results, "damaged checkpoints")
    shutil.rmtree(results)


def _verify_names(path, results):
    named = {path for _, path, _ in verification.problems(results)}
    return path in named


def _data_refused(path, about):
    job, results = about
    try:
        jobs = planning.plan([path], [job.configuration.method], job.configuration.protocol, [RATE],
                         [job.configuration.seed], [1])
        runfile.is_done(results / job.configuration.path, jobs[0].configuration)
    except InputError:
        return True
    return False


def _passed_over(path, about):
    run, configuration = about
    latest = checkpoint.latest(run, configuration)
    return latest is None or latest[0] != int(path.name.split(".step")[1].split(".")[0])


def everything(path):
    """All that HDF5 can read of a file, timings included, as bytes and text; None if it cannot be read."""
    content = {}

    def add(name, item):
        content[name] = {key: repr(np.asarray(value).tolist()) for key, value in item.attrs.items()
                       if key not in ("DIMENSION_LIST", "REFERENCE_LIST")}
        if isinstance(item, h5py.Dataset):
            values = item[()]
            content[name]["values"] = (str(item.dtype), item.shape, repr(values.tolist()) if item.dtype == object
                                     else values.tobytes())

    try:
        with h5py.File(path, "r") as file:
            add("/", file)
            file.visititems(add)
    except Exception:  # on damaged bytes HDF5 may say anything
        return None
    return content


def look(noticed, path, before, about):
    """'noticed', 'harmless' where nothing that can be read has changed, or a description of what went wrong."""
    if noticed(path, about):
        return "noticed"
    return "harmless" if everything(path) == before else "nobody noticed"


class _Reader:
    """Reads damaged files in another process, because HDF5's library may crash or hang on them."""

    def __init__(self):
        self.pool = None

    def ask(self, *question):
        if self.pool is None:
            self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            self.pool.submit(os.getpid).result()  # the import of TensorFlow is no part of the answer's time
        asked = self.pool.submit(look, *question)
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
