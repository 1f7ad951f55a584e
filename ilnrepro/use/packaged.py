"""The trained networks that come with the package, in `ilnrepro/trained`, each beside its card."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "trained"


def names() -> list[str]:
    """The names of the packaged networks."""
    return sorted(path.stem for path in FOLDER.glob("*.h5"))


def located(model: str | PathLike[str]) -> Path:
    """The file of a model: the path itself, or if there is no such path, the packaged network of that name."""
    path = Path(model)
    packaged = FOLDER / f"{path}.h5"
    return packaged if len(path.parts) == 1 and not path.exists() and packaged.is_file() else path
