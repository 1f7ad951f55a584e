"""Checkpoints: a run in the middle, so that it goes on from there whatever ended it.

They lie beside the run file as `.NAME.step000500.checkpoint`; the last two are kept, in case the newer one was damaged,
and they are removed when the run file is complete.
"""

from pathlib import Path

import h5py

from ilnrepro.errors import DamagedError, InputError
from ilnrepro.storage import hdf5

KEPT = 2


def save(path, configuration, step, arrays, seconds):
    """Saves the state after `step` steps of the run that will be `path`, and drops all but the last two.

    Args:
      arrays: by name, everything that the run needs to go on.
      seconds: training time so far.
    """
    with hdf5.writing(_name(path, step)) as file:
        file.attrs.update(kind="checkpoint", configuration_hash=configuration.hash, step=step)
        for name, values in arrays.items():
            file.create_dataset(f"state/{name}", data=values)
        file.create_group("timing").attrs["training"] = seconds
    for old in _all(path)[:-KEPT]:
        old.unlink(missing_ok=True)


def latest(path, configuration):
    """(step, arrays, seconds) of the newest whole checkpoint of exactly this run, or None.

    Newer ones that are damaged, or of other data under the same name, are removed: `save` would keep them for the sake
    of their steps. An older one, or the start, gives the same run.
    """
    for candidate in reversed(_all(path)):
        try:
            with hdf5.reading(candidate, "checkpoint") as file:
                if file.attrs["configuration_hash"] == configuration.hash:
                    arrays = {}
                    file["state"].visititems(
                        lambda name, item, arrays=arrays: arrays.update({name: item[()]})
                        if isinstance(item, h5py.Dataset) else None)
                    return int(file.attrs["step"]), arrays, float(file["timing"].attrs["training"])
        except (DamagedError, KeyError):
            pass
        except InputError:
            continue  # it cannot be read now
        candidate.unlink(missing_ok=True)
    return None


def remove(path):
    """Removes all checkpoints of the run `path`, and what killed processes left half-written."""
    unfinished = (part for dots in (".", "..") for part in path.parent.glob(f"{dots}{path.name}.*.part"))
    for old in [*_all(path), *unfinished]:
        old.unlink(missing_ok=True)


def _name(path, step):
    return path.parent / f".{path.name}.step{step:08d}.checkpoint"


def _all(path):
    return sorted(Path(path).parent.glob(f".{path.name}.step*.checkpoint"))
