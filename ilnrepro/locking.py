"""Locks, so that two processes do not do the same work on one results folder."""

import contextlib
from pathlib import Path

from ilnrepro.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no flock: two processes may then do the same work, and the later file stands
    fcntl = None


@contextlib.contextmanager
def locked(path, what):
    """Holds the lock file `path` while the block runs; it goes when the block or the process ends, however that is.

    Raises:
      InputError: another process holds it; `what` says what it is doing.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")  # noqa: SIM115  closed below
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written ({error.strerror}); choose another folder") from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"{path.parent}: another process is {what}; wait for it, or end it") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
