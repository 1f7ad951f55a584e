"""A breakage, and how it is made: by search and replace within a named function of a source file."""

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

from ilnrepro.errors import InputError


class Breakage(NamedTuple):
    """A small error in the code, as somebody could make it.

    Attributes:
      name: unique, of letters, digits and hyphens.
      what: is wrong then.
      file: below the repository's root.
      function: whose text is changed, dots before what is inside: 'Class.method', 'function.inner'; of C++ also a
        struct, 'AffineColumn.Gradient'.
      search, replace: the former occurs exactly once in the function.
      tests: that catch it, pytest's node ids.
    """

    name: str
    what: str
    file: str
    function: str
    search: str
    replace: str
    tests: tuple

    @property
    def package(self):
        """The package of the file: 'ilnrepro.norms.kernels'."""
        return ".".join(Path(self.file).parent.parts)


def broken(root, breakage):
    """The text of the breakage's file below `root`, with the breakage.

    Raises:
      InputError: there is no such file or function, or the search text does not occur exactly once in it.
    """
    path = Path(root) / breakage.file
    if not path.is_file():
        raise InputError(f"{breakage.name}: {breakage.file}: no such file; let the list follow the code")
    text = path.read_text(encoding="utf-8")
    spans = (_python if path.suffix == ".py" else _cpp)(text, breakage.function)
    if len(spans) != 1:
        raise InputError(f"{breakage.name}: {breakage.file} has {len(spans)} of {breakage.function}, not one; let the "
                         "list follow the code")
    (start, end), = spans
    inside = text[start:end]
    if (n := inside.count(breakage.search)) != 1:
        raise InputError(f"{breakage.name}: {breakage.search!r} occurs {n} times in {breakage.function} of "
                         f"{breakage.file}, not once; let the list follow the code")
    text_broken = text[:start] + inside.replace(breakage.search, breakage.replace) + text[end:]
    if path.suffix == ".py":
        ast.parse(text_broken)  # a breakage is a slip in what the code does
    return text_broken


def _python(text, name):
    """[(start, end)] of the functions or classes of that name in Python text."""
    nodes = [_parsed(text)]
    for part in name.split("."):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        nodes = [inner for node in nodes for inner in ast.walk(node)
                 if inner is not node and isinstance(inner, kinds) and inner.name == part]
    line_starts = [0]
    for line in text.split("\n"):
        line_starts.append(line_starts[-1] + len(line) + 1)
    return [(line_starts[node.lineno - 1], line_starts[node.end_lineno]) for node in nodes]


@functools.cache
def _parsed(text):
    return ast.parse(text)


def _cpp(text, name):
    """[(start, end)] of the functions or structs of that name in C++ text, whose braces in literals are balanced."""
    spans = [(0, len(text))]
    for part in name.split("."):
        # A function's name follows its type; a call, whose last argument may be a block, begins a line.
        head = re.compile(rf"(?:\b(?:struct|class) {part}\b|(?<=[\w*&>] ){part}\([^;{{}}]*\))[^;{{}}()]*\{{")
        spans = [(match.start(), _closing(text, match.end())) for start, end in spans
                 for match in head.finditer(text, start, end)]
        # A struct's constructors, which have its name, are parts of it.
        spans = [span for span in spans if not any(s < span[0] < e for s, e in spans)]
    return spans


def _closing(text, at):
    """The end of the block whose opening brace is just before `at`."""
    depth = 1
    for match in re.finditer(r"[{}]", text[at:]):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return at + match.end()
    return len(text)
