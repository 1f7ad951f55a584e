"""The frame of all command lines: errors as one line, interruptions, and the exit status."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from ilnrepro import set_up
from ilnrepro.errors import InputError

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def one_line(error: object) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def command(main: Callable[[], int]) -> NoReturn:
    """Calls a command line's `main()`, and ends the process with its status.

    An InputError, or a full or read-only disk, gives one line and status 2. Ctrl-C, SIGTERM or a closed terminal gives
    a line on how to go on and status 130. A closed pipe ends the process quietly.
    TensorFlow computes by oneDNN (`ilnrepro.set_up`), and its log is off, unless the environment says otherwise.
    """
    set_up()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    _interrupt_on_signals()
    try:
        status = main()
        sys.stdout.flush()
        sys.exit(status)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be closed
            print("\ninterrupted: finished files are kept; give the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        _end_quietly()
    except OSError as error:
        if error.errno not in _DISK:
            raise
        print(f"error: {error.filename or 'a file'}: cannot be written ({error.strerror}); free space or choose "
              "another folder", file=sys.stderr)
        sys.exit(2)
    except SystemExit as ending:
        if isinstance(ending.__context__, BrokenPipeError):  # Rich answers a closed pipe with status 1
            _end_quietly()
        raise


def stopping_signals() -> list[int]:
    """SIGINT, SIGTERM and SIGHUP, where they exist, without those that this process was started to ignore."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


def _interrupt_on_signals() -> None:
    """Makes the first signal to stop an interruption; after it, only Ctrl-C interrupts.

    So whoever started this process and got the signal too may pass it on without disturbing the end of the work.
    """
    numbers = stopping_signals()

    def interrupt(*_):
        for number in numbers:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


def call(arguments: list[str]) -> int:
    """Runs a command to its end and returns its status; an interruption ends the command too."""
    with subprocess.Popen(arguments) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise


def _end_quietly():
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
    sys.exit(0)
