"""The numbers of README.md and the documents in docs/, inserted from tables of results so that nobody types them.

A block begins with one of these comments and ends with `<!-- end -->`:

    <!-- table: PATH -->                    the table, below the first sentence of its caption
    <!-- rows: PATH -->                     the table alone
    <!-- lead: PATH -->                     the first sentence alone
    <!-- notes: PATH PATH ... -->           what these captions say beyond their first sentences, each thing once
    <!-- cell: PATH | ROW | COLUMN -->      one cell, in the midst of a sentence (or a line below)
"""

import re
import textwrap
from pathlib import Path

from experiments.analysis.captions import sentences
from ilnrepro.errors import InputError
from ilnrepro.storage import files

_BLOCK = re.compile(r"(?P<begin><!-- (?P<kind>table|rows|lead|notes|cell):\s+(?P<of>[^>]+?)\s*-->)"
                    r"(?P<space>\s*).*?(?P<end><!-- end -->)", re.DOTALL)


def fill_blocks(text, root, document="README.md"):
    """The text with each block filled from its tables, whose paths are below `root`.

    Raises:
      InputError: there is no such table, row or column; the message names `document`.
    """
    def content(match):
        kind, of = match["kind"], match["of"]
        try:
            if kind == "cell":
                path, row, column = (" ".join(part.split()) for part in of.split("|"))
                return f"{match['begin']}{match['space']}{_cell(_read(root, path), path, row, column)}{match['end']}"
            parts = _notes(root, of.split()) if kind == "notes" else _KINDS[kind](_read(root, of))
        except InputError as error:
            raise InputError(f"{document}: {error}") from error
        return f"{match['begin']}\n{parts}\n{match['end']}"

    return _BLOCK.sub(content, text)


def documents(root):
    """README.md and the documents below `root`."""
    return [Path(root) / "README.md", *sorted((Path(root) / "docs").glob("*.md"))]


def update(document, root):
    """Fills the blocks of one document.

    Raises:
      InputError: there is none; or as `fill_blocks`.
    """
    if not document.exists():
        raise InputError(f"{document.absolute()}: no such file; give the command in the project's folder")
    files.write(document, fill_blocks(document.read_text(encoding="utf-8"), root, document.name))


def _read(root, path):
    """The paragraphs of a table's file: captions, and tables, which begin with '|'."""
    path = Path(root) / path
    if not path.exists():
        raise InputError(f"{path.relative_to(root)}: no such table; make it, or take the block out")
    return path.read_text(encoding="utf-8").strip().split("\n\n")


def _wrap(text, indent=""):
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _is_table(paragraph):
    return paragraph.startswith("|")


def _table(paragraphs):
    return "\n\n".join(p if _is_table(p) else _wrap(sentences(p)[0]) for p in paragraphs)


def _rows(paragraphs):
    return "\n\n".join(filter(_is_table, paragraphs))


def _lead(paragraphs):
    return _wrap(next(sentences(p)[0] for p in paragraphs if not _is_table(p)))


_KINDS = {"table": _table, "rows": _rows, "lead": _lead}


def _notes(root, paths):
    seen, lines = set(), []
    for path in paths:
        further = [s for p in _read(root, path) if not _is_table(p) for s in sentences(p)[1:]]
        new = [s for s in dict.fromkeys(further) if s not in seen]
        seen.update(new)
        if new:
            lines.append(_wrap(f"- `{Path(path).stem}`: {' '.join(new)}", "  "))
    return "\n".join(lines)


def _cell(paragraphs, path, row, column):
    for paragraph in filter(_is_table, paragraphs):
        headings, _, *body = ([text.strip() for text in re.split(r"(?<!\\)\|", line)[1:-1]]
                              for line in paragraph.splitlines())
        for cells in body:
            if column in headings and row in cells:
                return cells[headings.index(column)]
    raise InputError(f"{path}: no row '{row}' with a column '{column}'; name what the table has")
