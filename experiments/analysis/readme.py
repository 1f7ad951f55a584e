"""The README's tables, inserted from the files that commands wrote: nobody types a number into it."""

import re
from pathlib import Path

from ilnrepro.errors import InputError
from ilnrepro.storage import files

_BLOCK = re.compile(r"(<!-- table: (?P<path>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text, root):
    """The text with every `<!-- table: PATH -->` block holding what the Markdown file at PATH holds.

    Raises:
      InputError: there is no such file.
    """
    def content(match):
        path = Path(root) / match["path"]
        if not path.exists():
            raise InputError(f"README.md: {match['path']}: no such table; make it, or take the block out")
        return f"{match[1]}{path.read_text(encoding='utf-8').strip()}\n{match[3]}"

    return _BLOCK.sub(content, text)


def update(readme):
    """Fills the blocks of the file `readme`.

    Raises:
      InputError: there is none; or as `filled`.
    """
    readme = Path(readme)
    if not readme.exists():
        raise InputError(f"{readme.absolute()}: no such file; give the command in the project's folder")
    files.write(readme, filled(readme.read_text(encoding="utf-8"), readme.parent))
