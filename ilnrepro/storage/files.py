"""Writing files whole or not at all, and looking for files."""

import contextlib
import errno
import io
import json
import os
import tempfile
from pathlib import Path

from ilnrepro.console import one_line
from ilnrepro.errors import InputError


def write(path, *parts):
    """Writes `parts`, text or bytes, one after another to a new file, which gets the name `path` when it is complete.

    Raises:
      InputError: the folder cannot be written, or the disk is full; what was at `path` stays, and nothing is left
        beside it.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        short = os.fsencode(path.name)[:200].decode(errors="ignore")  # a legal name leaves no room for more
        handle, temporary = tempfile.mkstemp(prefix=f".{short}.", suffix=".part", dir=path.parent)
        with open(handle, "wb") as file:
            for part in parts:
                file.write(part.encode() if isinstance(part, str) else part)
            file.flush()
            os.fsync(handle)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        remedy = "choose a shorter name" if error.errno == errno.ENAMETOOLONG else "free space or choose another folder"
        raise InputError(f"{path}: cannot be written ({error.strerror or one_line(error)}); {remedy}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # gone already, or the file system has become read-only
                os.unlink(temporary)


def write_json(path, value):
    """Writes a value of plain numbers, text, lists and dictionaries; as `write`."""
    write(path, json.dumps(value, indent=1), "\n")


def read_json(path):
    """The value that `write_json` wrote to `path`; None where there is no such file.

    Raises:
      InputError: the file cannot be read, or is no JSON.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it, and measure again") from error


def write_figure(path, figure, **settings):
    """Writes a Matplotlib figure, with `savefig`'s settings, in the format that the path's ending names.

    Raises:
      InputError: as `write`; or no picture format has that ending.
    """
    picture, kind = io.BytesIO(), Path(path).suffix[1:] or "png"
    try:
        figure.savefig(picture, format=kind, **settings)
    except ValueError as error:
        raise InputError(f"{path}: cannot be written ({one_line(error)}); give it a name that ends in .png") from error
    write(path, picture.getbuffer())


def below(folder):
    """(paths of all files below a folder, paths of links that lead nowhere or back up), both sorted.

    Links to other folders are followed.

    Raises:
      InputError: a folder cannot be read.
    """
    present, dead = [], []

    def refuse(error):
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error

    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        for path in [Path(here, name) for name in folders if Path(here, name).is_symlink()]:
            above = [p.resolve() for p in path.parents if p.is_relative_to(folder)]
            if any(p.is_relative_to(path.resolve()) for p in above):
                folders.remove(path.name)
                dead.append(path)
        for path in (Path(here, name) for name in names):
            (present if path.is_file() else dead).append(path)
    return sorted(present), sorted(dead)


def check_writable(folder):
    """Raises InputError unless files can be written in `folder`, which is created if missing."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
