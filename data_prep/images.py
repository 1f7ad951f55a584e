"""Checks and conversions of images that were read: types, binary masks, sizes; and the files of a folder."""

import hashlib
import sys
from pathlib import Path

import numpy as np

from data_prep.geometry import into_grid
from ilnrepro.errors import InputError
from ilnrepro.storage.files import below
from ilnrepro.use import images as readers
from ilnrepro.use.images import format_shape


def binary(values, path, label=None):
    """The mask, uint8 of 0 and 1, from values that are all 0 or 1, or all 0 or 255; or of the pixels with a `label`.

    Raises:
      InputError: there are other values, and no label is given.
    """
    levels, counts = np.unique(np.round(values, 2), return_counts=True)
    if label is None and not (np.isin(levels, (0, 1)).all() or np.isin(levels, (0, 255)).all()):
        shown = ", ".join(f"{v:g} ({n}×)" for v, n in zip(levels[:8], counts[:8], strict=True))
        raise InputError(f"{path}: mask values {shown}{', ...' * (len(levels) > 8)}; make it 0 and 1, or 0 and 255, or "
                         "take one structure of several (`folder --label`)")
    values = whole(values, path)
    return (values == label if label is not None else values > 0).astype(np.uint8)


def pair(image_path, mask_path, audit):
    """(the `Picture` of an image, its mask's values in the image's grid); the audit records changes of the mask.

    Raises:
      InputError: see `ilnrepro.use.images.read` and `geometry.into_grid`.
    """
    picture, mask = readers.read(image_path), readers.read(mask_path)
    values, told = into_grid(mask, picture, mask_path, image_path)
    if told:
        audit.counts.setdefault("masks brought into the image's grid", {})[Path(mask_path).name] = told
    return picture, values


def whole(values, path):
    """Labels as whole numbers, int64, whatever type or scale they were stored with.

    Raises:
      InputError: a value is further than 0.01 from a whole number, or below 0.
    """
    rounded = np.round(values)
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(values - rounded) <= 0.01) | (rounded < 0)
    if off.any():
        shown = ", ".join(f"{v:g}" for v in np.unique(values[off])[:5])
        raise InputError(f"{path}: labels that are not whole numbers from 0 ({np.count_nonzero(off)} voxels: {shown}); "
                         "a mask that was interpolated, or no mask: give the labels themselves")
    return rounded.astype(np.int64)


def check_square(values, path):
    """Raises InputError unless an image, or a volume's slices, are square."""
    if values.shape[-1] != values.shape[-2]:
        raise InputError(f"{path}: image size {format_shape(values.shape)} is not square; crop or pad it "
                         "(`folder --size` does)")


def files_in(folder):
    """(sorted paths of all files below `folder`, {reason: number of files that are left out}).

    Raises:
      InputError: there is no such folder, or a file name is not text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        wrong = "a file; give the folder" if folder.exists() else "no such folder; check the path"
        raise InputError(f"{folder}: {wrong}")
    files, dead = below(folder)
    kept = [path for path in files if not _is_litter(path.relative_to(folder))]
    for path in kept:
        if any(c < " " or "\ud800" <= c <= "\udfff" for c in str(path.relative_to(folder))):
            if sys.getfilesystemencoding() != "utf-8":
                raise InputError(f"{str(path)!r}: this shell's locale ({sys.getfilesystemencoding()}) has no letters "
                                 "for the name; set LC_ALL=C.UTF-8")
            raise InputError(f"{str(path)!r}: control or undecodable characters in the name; rename the file")
    passed = {"hidden or temporary": len(files) - len(kept)}
    return kept, passed | ({"links that lead nowhere or back up": len(dead)} if dead else {})


def _is_litter(path):
    """Whether a file belongs to an operating system or an editor."""
    name = path.name.lower()
    return (any(part.startswith((".", "__MACOSX")) for part in path.parts)
            or name.endswith(("~", ".swp", ".swo", ".bak", ".tmp"))
            or name in ("thumbs.db", "desktop.ini", "icon\r"))


def digest(path):
    """SHA-256 of a file, in hexadecimal. Raises InputError if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); check the path and its permissions") from error
