"""Checkpoints: the state of an unfinished run, from which it goes on after an interruption of any kind.

They lie beside the run file as `.NAME.step00000500.checkpoint`. The last two are kept, in case the newer one is
damaged; all are removed when the run file is complete.
"""

from pathlib import Path

import h5py

from ilnrepro.errors import DamagedError, InputError
from ilnrepro.storage import hdf5

NUMBER = 2  # of checkpoints that are kept


def save(path, configuration, step, arrays, seconds):
    """Saves the state after `step` steps of the run that will be `path`, and removes all checkpoints but the last two.

    Args:
      arrays: {name: array} of everything that the run needs to go on.
      seconds: training time so far.
    """
    with hdf5.writing(_checkpoint_path(path, step)) as file:
        file.attrs.update(kind="checkpoint", configuration_hash=configuration.hash, step=step)
        for name, values in arrays.items():
            file.create_dataset(f"state/{name}", data=values)
        file.create_group("timing").attrs["training"] = seconds
    for old in _checkpoints(path)[:-NUMBER]:
        old.unlink(missing_ok=True)


def latest(path, configuration):
    """(step, arrays, seconds) of the newest whole checkpoint of exactly this run, or None.

    Newer ones that are damaged, or of another run with the same name, are removed, because `save` would keep them for
    their higher steps. An older checkpoint, or the start, leads to the same run.
    """
    for candidate in reversed(_checkpoints(path)):
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
            continue  # it cannot be read at present
        candidate.unlink(missing_ok=True)
    return None


def remove(path):
    """Removes all checkpoints of the run `path`, and unfinished files that killed processes left."""
    unfinished = (part for dots in (".", "..") for part in path.parent.glob(f"{dots}{path.name}.*.part"))
    for old in [*_checkpoints(path), *unfinished]:
        old.unlink(missing_ok=True)


def _checkpoint_path(path, step):
    return path.parent / f".{path.name}.step{step:08d}.checkpoint"


def _checkpoints(path):
    return sorted(Path(path).parent.glob(f".{path.name}.step*.checkpoint"))
