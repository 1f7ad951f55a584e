"""Ensemble files: several trained networks for the same use in one HDF5 file, each a copy of its run file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilnrepro.errors import InputError
from ilnrepro.storage import hdf5, runfile
from ilnrepro.storage.runfile import Run

KIND = "ensemble"
# The settings in which the networks of an ensemble may differ.
_DIFFERING = ("fold", "rate", "seed")


def write(path: str | PathLike[str], run_files: Sequence[str | PathLike[str]], half: bool = False) -> None:
    """Writes the networks of run files to `path`, whole or not at all.

    Args:
      half: whether weights are stored as float16, in half the space; they are read as float32 again.

    Raises:
      InputError: there are fewer than two, one twice, one without weights, or networks of different methods, data or
        protocols; a weight is beyond float16's range.
    """
    runs = [runfile.read(run_file) for run_file in run_files]
    _check(runs, run_files)
    with hdf5.writing(path) as file:
        first = runs[0]
        file.attrs.update(kind=KIND, title=first.title, synthetic=bool(first.synthetic), parameters=sum(
            run.parameters for run in runs))
        for i, run_file in enumerate(run_files):
            with hdf5.reading(run_file, "run") as source:
                _copy(source, file.create_group(f"networks/{i + 1}"), half, run_file)


def _copy(source, group, half, path):
    """Copies an open run file into a group, its weights as float16 where `half`."""
    group.attrs.update(source.attrs)
    for key in source:
        if key != "weights" or not half:
            source.copy(key, group)
            continue
        for name, values in runfile.weights(source).items():
            with np.errstate(over="ignore"):
                stored = values.astype(np.float16)
            if not np.isfinite(stored).all():
                raise InputError(f"{path}: {name} goes up to {np.abs(values).max():.3g}, and float16 to 65504; store "
                                 "it whole")
            group.create_dataset(f"weights/{name}", data=stored)


def _check(runs, run_files):
    if len(runs) < 2:
        raise InputError(f"{run_files[0] if run_files else 'ensemble'}: one network is no ensemble; give two or more")
    settings, seen = shared_settings(runs[0]), {}
    for run, run_file in zip(runs, run_files, strict=True):
        if not run.weights:
            raise InputError(f"{run_file}: holds no weights; run it again with --keep-weights")
        if (other := seen.setdefault(run.configuration.hash, run_file)) != run_file or list(run_files).count(
                run_file) > 1:
            raise InputError(f"{run_file}: the same run as {other}; give each network once")
        own = shared_settings(run)
        differing = [key for key in settings if settings[key] != own[key]]
        if differing:
            key = differing[0]
            raise InputError(f"{run_file}: {key} {own[key]!r} differs from {settings[key]!r} of {run_files[0]}; give "
                             "runs that differ in fold, rate or seed alone")


def shared_settings(run: Run) -> dict[str, Any]:
    """{name: value} of the settings that all networks of an ensemble share."""
    settings = run.configuration.as_dict()
    protocol = settings.pop("protocol")
    return {**{key: value for key, value in settings.items() if key not in _DIFFERING}, **protocol,
            "preparation": str(run.preparation)}


def is_ensemble(path: str | PathLike[str]) -> bool:
    """Whether a file says that it is an ensemble; `read` reports other faults."""
    try:
        hdf5.check_bytes(path)
        with h5py.File(path, "r", locking=False) as file:
            return bool(file.attrs.get("kind") == KIND)
    except (InputError, OSError):
        return False


def read(path: str | PathLike[str]) -> list[Run]:
    """The networks of an ensemble file.

    Raises:
      InputError: it is missing, damaged or of another kind.
    """
    path = Path(path)
    with hdf5.reading(path, KIND) as file:
        try:
            return [runfile.read_group(file["networks"][key]) for key in sorted(file["networks"], key=int)]
        except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: made by another version of this program ({error}); make it again") from error


def networks(path: str | PathLike[str]) -> list[Run]:
    """The networks in the file of a trained model: all of an ensemble, or the one of a run file."""
    return read(path) if is_ensemble(path) else [runfile.read(path)]
