"""Lock files, which keep two processes from the same work in one results folder."""

import contextlib
import os
from pathlib import Path

from ilnrepro.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no flock: two processes may then do the same work, and the later file stands
    fcntl = None


@contextlib.contextmanager
def locked(path, what):
    """A context manager: holds the lock file `path` during the block, or until the process ends in any way.

    Raises:
      InputError: another process holds it; `what` says what it is doing.
    """
    path = Path(path)
    file = None
    while file is None:
        file = _open_and_lock(path, what)
    with file:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the folder may have become read-only: an unheld lock file bars nobody
                path.unlink()


def _open_and_lock(path, what):
    """The lock file, open and locked; None if its last holder removed it meanwhile, since it then keeps nobody out."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")  # noqa: SIM115  the caller closes it
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written ({error.strerror}); choose another folder") from error
    if fcntl is None:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
    except FileNotFoundError:
        pass
    except BlockingIOError as error:
        file.close()
        raise InputError(f"{path.parent}: another process is {what}; wait for it, or end it") from error
    except OSError as error:
        file.close()
        raise InputError(f"{path.parent}: files there cannot be locked ({error.strerror}); choose another "
                         "folder") from error
    file.close()
    return None
