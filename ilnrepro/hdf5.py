"""HDF5 habits shared by data set and run files: atomic writing, checksums, and clear errors on opening."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import h5py
import numpy as np

from ilnrepro.errors import InputError

# What may differ between two identical runs lies in these groups, so no checksum covers them.
UNCHECKED = ("provenance", "timing")


@contextlib.contextmanager
def writing(path):
    """Opens a new HDF5 file that takes the name `path` only when the block ends well.

    Raises:
      InputError: the folder cannot be written, or the disk is full; nothing is left behind under `path`.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        with h5py.File(temporary, "w", libver=("v110", "v110")) as file:
            yield file
            file.attrs["checksum"] = checksum(file)
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({_reason(error)}); free space or choose another "
                         "folder") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def reading(path, kind):
    """Opens the HDF5 file `path` of the given kind ('data set' or 'run') after checking that it is whole.

    Raises:
      InputError: missing, not HDF5, cut short, of another kind, or with content that its checksum denies.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give an HDF5 {kind} file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({_reason(error)}); it may be cut short: "
                         "make it again") from error
    with file:
        _check(file, path, kind)
        yield file


def _check(file, path, kind):
    try:
        found, written, actual = file.attrs.get("kind"), file.attrs.get("checksum"), checksum(file)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged ({_reason(error)}); make it again") from error
    if found != kind:
        what = f"it says kind={found!r}" if found is not None else "it has no 'kind' attribute"
        raise InputError(f"{path}: not a {kind} file of this project ({what}); give a {kind} file")
    if written != actual:
        raise InputError(f"{path}: damaged: its content does not match its checksum; make it again")


def checksum(file):
    """SHA-256 over names, types, shapes, attributes and values of an open file, but for UNCHECKED groups."""
    digest = hashlib.sha256()

    def add_attributes(name, item):
        for key in sorted(item.attrs):
            if not (name == "/" and key == "checksum") and key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                digest.update(repr((name, key, _plain(item.attrs[key]))).encode())

    def add(name, item):
        if name.split("/")[0] in UNCHECKED:
            return
        add_attributes(name, item)
        if isinstance(item, h5py.Dataset):
            values = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
            digest.update(repr((name, str(item.dtype), item.shape)).encode())
            if isinstance(values, np.ndarray) and values.dtype != object:
                digest.update(np.ascontiguousarray(values).tobytes())
            else:
                digest.update(repr(_plain(values)).encode())

    add_attributes("/", file)
    file.visititems(add)
    return digest.hexdigest()


def _plain(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value


def _reason(error):
    return " ".join(str(error).split())


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
