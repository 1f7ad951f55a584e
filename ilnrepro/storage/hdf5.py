"""HDF5 habits shared by data set and run files: atomic writing, checksums, and clear errors on opening."""

import contextlib
import hashlib
import io
from pathlib import Path

import h5py
import numpy as np

from ilnrepro.console import one_line
from ilnrepro.errors import DamagedError, InputError
from ilnrepro.storage import files

# What may differ between two identical runs lies in these groups, so the checksum of the content leaves them out.
UNCHECKED = ("provenance", "timing")
# The file's first bytes, which HDF5 leaves to its user ("user block"), hold a checksum of all its other bytes.
_BLOCK = 512
_SEAL = b"SHA-256 of all bytes from 512 on: "
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ROWS = 64  # of a data set that are read at once


@contextlib.contextmanager
def writing(path):
    """Opens a new HDF5 file that takes the name `path` only when the block ends well.

    Raises:
      InputError: the folder cannot be written, or the disk is full; nothing is left behind under `path`.
    """
    # In memory, for HDF5's library gets into trouble when a disk fills up under it.
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=("v110", "v110"), userblock_size=_BLOCK) as file:
        yield file
        file.attrs["checksum"] = checksum(file)
    content = memory.getbuffer()[_BLOCK:]
    files.write(path, _block([content]), content)


def seal(path):
    """Writes the checksum of all bytes into the user block of a file that was changed on purpose."""
    with open(path, "rb+") as file:
        file.seek(_BLOCK)
        block = _block(_parts(file))
        file.seek(0)
        file.write(block)


def check_bytes(path):
    """Raises DamagedError where a sealed file's bytes are not those that were written.

    It comes before HDF5's library, which on damaged bytes may crash or never end, sees them. A file without a user
    block, of an older version or of somebody else, is let through.
    """
    try:
        with open(path, "rb") as file:
            block = file.read(_BLOCK)
            if block.startswith(_SIGNATURE) or not (block.startswith(_SEAL) or file.peek(8)[:8] == _SIGNATURE):
                return
            if block == _block(_parts(file)):
                return
            if _open_elsewhere(file):
                raise _busy(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    raise DamagedError(f"{path}: damaged: its bytes do not match their checksum; make it again")


def _busy(path):
    return InputError(f"{path}: open for writing in another program, or left so by one that crashed; close it there, "
                      "or after a crash mend it with `h5clear -s`")


def _open_elsewhere(file):
    """Whether HDF5's mark that a program writes a file is set: bit 0 of the flags in the superblock of version 3."""
    file.seek(_BLOCK)
    start = file.read(12)
    return start.startswith(_SIGNATURE) and start[8:9] == b"\3" and bool(start[11] & 1)


def _block(parts):
    """What the user block should hold for these bytes after it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return (_SEAL + digest.hexdigest().encode() + b"\n").ljust(_BLOCK, b"\0")


def _parts(file):
    return iter(lambda: file.read(1 << 20), b"")


@contextlib.contextmanager
def reading(path, kind):
    """Opens the HDF5 file `path` of the given kind ('data set', 'run' or 'checkpoint') after checking that it is whole.

    Raises:
      InputError: missing, unreadable, or of another kind.
      DamagedError: not HDF5, cut short, or with content that its checksum denies.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give an HDF5 {kind} file")
    check_bytes(path)
    try:
        file = h5py.File(path, "r", locking=False)  # files get their names when whole, and not all systems can lock
    except OSError as error:
        if "already open for write" in str(error):
            raise _busy(path) from error
        # An error with a number is the system's (no permission, too many files, ...): it says nothing of the content.
        kind_of_error = DamagedError if error.errno is None else InputError
        raise kind_of_error(f"{path}: not a readable HDF5 file ({one_line(error)}); cut short, or of another format: "
                            f"give a {kind} file, or make it again") from error
    with file:
        _check(file, path, kind)
        yield file


def _check(file, path, kind):
    try:
        kind_stored, written, actual = file.attrs.get("kind"), file.attrs.get("checksum"), checksum(file)
    except Exception as error:  # on damaged bytes HDF5 may say anything
        kind_of_error = InputError if getattr(error, "errno", None) else DamagedError
        raise kind_of_error(f"{path}: damaged ({one_line(error)}); make it again") from error
    if written != actual and (kind_stored == kind or written is not None):
        raise DamagedError(f"{path}: damaged: its content does not match its checksum; make it again")
    if kind_stored != kind:
        what = f"it says kind={kind_stored!r}" if kind_stored is not None else "it has no 'kind' attribute"
        raise InputError(f"{path}: not a {kind} file of this project ({what}); give a {kind} file")


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
            digest.update(repr((name, str(item.dtype), item.shape)).encode())
            if item.ndim and item.dtype != object:
                for start in range(0, len(item), _ROWS):  # a large data set's images need not all be in memory again
                    digest.update(np.ascontiguousarray(item[start:start + _ROWS]).tobytes())
            else:
                values = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
                digest.update(repr(_plain(values)).encode())

    add_attributes("/", file)
    file.visititems(add)
    return digest.hexdigest()


def _plain(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value
