"""Plug-ins: files with methods of the user's own. `register` adds a method; `load` runs a file that calls it."""

from __future__ import annotations

import contextlib
import hashlib
import re
import runpy
import traceback
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.norms.methods import METHODS, Method

_LOADED: dict[Path, str] = {}  # {plug-in: checksum of its content}
_PARTS = ("parameters", "reference", "affine", "needs_moments")


def register(name: str, rule: Any, title: str | None = None, description: str = "a registered method") -> None:
    """Adds a method to the table, for use under its name wherever a method is asked for.

    Args:
      name: of lower-case letters, digits and '-', a letter first. With `<G>` at its end the method has a number of
        groups.
      rule: a rule as in `rules`, composed of `Mix`, `Cascade` and pools, or of a new class; with `<G>` a function from
        G to a rule.
      title: the method's name in tables.

    Raises:
      InputError: the name is not allowed or taken, or `rule` is no rule.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*(<G>)?", name):
        raise InputError(f"register: {name!r} cannot be a method's name; use lower-case letters, digits and '-'")
    own = next(reversed(_LOADED.values()), "") if _RUNNING else ""
    if name in METHODS and not (own and METHODS[name].plugin):
        raise InputError(f"register: there is a method {name!r} already; choose another name")
    if not name.endswith("<G>"):
        missing = [part for part in _PARTS if not hasattr(rule, part)]
        if missing or not callable(rule):
            raise InputError(f"register: {name}: {rule!r} is no rule, for it has no {', '.join(missing or ['call'])}; "
                             "see ilnrepro.norms.rules")
    METHODS[name] = Method(title or name, rule, description, own)


_RUNNING: list[Path] = []  # the plug-in that `load` runs


def load(path: str | PathLike[str]) -> str:
    """Runs a file that registers methods; returns the checksum of its content, which the runs of its methods carry.

    Raises:
      InputError: there is no such file, it raises an exception, or it registers nothing.
    """
    path = Path(path).resolve()
    if path in _LOADED:
        return _LOADED[path]
    try:
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path of --plugin") from error
    before = dict(METHODS)
    _LOADED[path] = checksum
    _RUNNING.append(path)
    try:
        with as_input_errors():
            runpy.run_path(str(path))
        if before == METHODS:
            raise InputError(f"{path}: registers no method; call ilnrepro.norms.register there")
    except BaseException:
        del _LOADED[path]
        METHODS.clear()
        METHODS.update(before)
        raise
    finally:
        _RUNNING.pop()
    return checksum


@contextlib.contextmanager
def as_input_errors() -> Iterator[None]:
    """A context manager: turns an exception from a plug-in's lines into one line that says where it arose.

    Raises:
      InputError: instead of it.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        where = _line(error)
        if where is None:
            raise
        path, line = where
        raise InputError(f"{path}, line {line}: {type(error).__name__}: {one_line(error)[:200]}; mend the "
                         "plug-in") from error


def _line(error):
    """(plug-in, line) in which an exception was raised, the innermost; None for none."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) in _LOADED:
        return error.filename, error.lineno
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)
             if Path(frame.filename) in _LOADED]
    return frames[-1] if frames else None
