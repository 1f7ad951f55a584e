"""The trained networks that come with the package, in `ilnrepro/trained`, each beside its card."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from ilnrepro.errors import InputError

FOLDER = Path(__file__).parents[1] / "trained"


def names() -> list[str]:
    """The names of the packaged networks."""
    return sorted(path.stem for path in FOLDER.glob("*.h5"))


def located(model: str | PathLike[str]) -> Path:
    """The file of a model: the path itself, or if there is no such path, the packaged network of that name.

    Raises:
      InputError: it can only be a name, and no packaged network has it.
    """
    path = Path(model)
    if len(path.parts) != 1 or path.suffix or path.exists():
        return path
    if f"{path}" not in names():
        raise InputError(f"{path}: no such file, nor a network that comes with the package (these do: "
                         f"{', '.join(names()) or 'none'}); check the name")
    return FOLDER / f"{path}.h5"


def card(path: Path) -> str:
    """The card of a packaged network's file, '' of others."""
    file = path.with_suffix(".md")
    return file.read_text(encoding="utf-8") + "\n" if path.parent == FOLDER and file.is_file() else ""
