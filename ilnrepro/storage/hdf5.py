"""What all HDF5 files of the project share: atomic writing, checksums, and clear errors on opening."""

import contextlib
import hashlib
import io
from pathlib import Path

import h5py
import numpy as np

from ilnrepro.console import one_line
from ilnrepro.errors import DamagedError, InputError
from ilnrepro.storage import files

# These groups hold what may differ between two identical runs, so the checksum of the content leaves them out.
UNCHECKED = ("provenance", "timing")
# The file's first bytes, which HDF5 leaves to its user ("user block"), hold a checksum of all its other bytes.
_BLOCK = 512
_SEAL = b"SHA-256 of all bytes from 512 on: "
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ROWS = 64  # of an HDF5 data set that are read at a time


@contextlib.contextmanager
def writing(path):
    """A context manager: opens a new HDF5 file, which gets the name `path` only when the block ends without an error.

    Raises:
      InputError: the folder cannot be written, or the disk is full; nothing is left behind under `path`.
    """
    # The file is written in memory first, because HDF5's library fails badly when the disk becomes full.
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=("v110", "v110"), userblock_size=_BLOCK) as file:
        yield file
        file.attrs["checksum"] = checksum(file)
    content = memory.getbuffer()[_BLOCK:]
    files.write(path, _user_block([content]), content)


def seal(path):
    """Writes the checksum of all bytes into the user block; for a file that was changed on purpose."""
    with open(path, "rb+") as file:
        file.seek(_BLOCK)
        block = _user_block(_chunks(file))
        file.seek(0)
        file.write(block)


def check_bytes(path):
    """Raises DamagedError where a sealed file's bytes are not those that were written; returns whether it is sealed.

    It is called before HDF5's library reads the file, which may crash or never end on damaged bytes. A file without a
    user block, of an older version or of somebody else, passes.
    """
    try:
        with open(path, "rb") as file:
            block = file.read(_BLOCK)
            if block.startswith(_SIGNATURE) or not (block.startswith(_SEAL) or file.peek(8)[:8] == _SIGNATURE):
                return False
            if block == _user_block(_chunks(file)):
                return True
            if _open_elsewhere(file):
                raise _open_elsewhere_error(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    raise DamagedError(f"{path}: damaged: its bytes do not match their checksum; make it again")


def _open_elsewhere_error(path):
    return InputError(f"{path}: open for writing in another program, or left so by one that crashed; close it there, "
                      "or after a crash mend it with `h5clear -s`")


def _open_elsewhere(file):
    """Whether HDF5's mark of a writing program is set: bit 0 of the flags in the superblock of version 3."""
    file.seek(_BLOCK)
    start = file.read(12)
    return start.startswith(_SIGNATURE) and start[8:9] == b"\3" and bool(start[11] & 1)


def _user_block(parts):
    """The user block for a file with these bytes after it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return (_SEAL + digest.hexdigest().encode() + b"\n").ljust(_BLOCK, b"\0")


def _chunks(file):
    return iter(lambda: file.read(1 << 20), b"")


@contextlib.contextmanager
def reading(path, kind):
    """A context manager: checks that the HDF5 file `path` is whole and of a kind ('data set', 'run', ...); opens it.

    Raises:
      InputError: the file is missing, unreadable, or of another kind.
      DamagedError: it is not HDF5, is cut short, or does not match its checksum.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give an HDF5 {kind} file")
    sealed = check_bytes(path)
    try:
        file = h5py.File(path, "r", locking=False)  # files get their names when whole, and not all systems can lock
    except OSError as error:
        if "already open for write" in str(error):
            raise _open_elsewhere_error(path) from error
        # An error with a number is the system's (no permission, too many files, ...) and says nothing of the content.
        kind_of_error = DamagedError if error.errno is None else InputError
        raise kind_of_error(f"{path}: not a readable HDF5 file ({one_line(error)}); cut short, or of another format: "
                            f"give a {kind} file, or make it again") from error
    with file:
        _check(file, path, kind, sealed)
        yield file


def opened(path):
    """A file that `reading` has checked, open until nobody refers to it."""
    return h5py.File(path, "r", locking=False)


def _check(file, path, kind, sealed):
    try:
        kind_stored, written = file.attrs.get("kind"), file.attrs.get("checksum")
        actual = written if sealed else checksum(file)  # the content's takes hundred times as long as the bytes'
    except Exception as error:  # on damaged bytes HDF5 may say anything
        kind_of_error = InputError if getattr(error, "errno", None) else DamagedError
        raise kind_of_error(f"{path}: damaged ({one_line(error)}); make it again") from error
    if written != actual and (kind_stored == kind or written is not None):
        raise DamagedError(f"{path}: damaged: its content does not match its checksum; make it again")
    if kind_stored != kind:
        what = f"it says kind={kind_stored!r}" if kind_stored is not None else "it has no 'kind' attribute"
        raise InputError(f"{path}: not a {kind} file of this project ({what}); give a {kind} file")


def checksum(file):
    """SHA-256 of the names, types, shapes, attributes and values in an open file, without the UNCHECKED groups."""
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
