"""What is read, made fit for a data set: types, binary masks, one size; and the files of a folder."""

import hashlib
import sys
from pathlib import Path

import numpy as np

from data_prep.geometry import into_grid
from ilnrepro.errors import InputError
from ilnrepro.storage.files import below
from ilnrepro.use import images as readers
from ilnrepro.use.images import format_shape


def grey(values, path):
    """The image as a data set takes it, uint8 as it is, everything else as float32.

    Raises:
      InputError: NaN, infinite or too large values.
    """
    if values.dtype == np.uint8:
        return values
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: NaN or infinite grey levels; repair it or leave it out")
    return values


def stretched(values):
    """Min-max to 0..255, uint8: `⌈255·(v − min)/(max − min) − ½⌉`; a constant image becomes zeros.

    That is rounding with halves down, as they went when the 805 Sunnybrook images in circulation were made.
    """
    values = np.asarray(values, np.float64)
    low, high = values.min(), values.max()
    return np.ceil(255 * (values - low) / (high - low or 1) - 0.5).astype(np.uint8)


def binary(values, path, label=None):
    """The mask, uint8 of 0 and 1, from values that are all 0 or 1, or all 0 or 255; or where a `label` is.

    Raises:
      InputError: other values, unless a label is wanted.
    """
    found, counts = np.unique(np.round(values, 2), return_counts=True)
    if label is None and not (np.isin(found, (0, 1)).all() or np.isin(found, (0, 255)).all()):
        shown = ", ".join(f"{v:g} ({n}×)" for v, n in zip(found[:8], counts[:8], strict=True))
        raise InputError(f"{path}: mask values {shown}{', ...' * (len(found) > 8)}; make it 0 and 1, or 0 and 255, or "
                         "take one structure of several (`folder --label`)")
    values = whole(values, path)
    return (values == label if label is not None else values > 0).astype(np.uint8)


def pair(image_path, mask_path, audit):
    """The Picture of an image, and its mask's values in the image's grid; what that took is told to the audit.

    Raises:
      InputError: see `readers.read` and `geometry.into_grid`.
    """
    picture, mask = readers.read(image_path), readers.read(mask_path)
    values, told = into_grid(mask, picture, mask_path, image_path)
    if told:
        audit.found.setdefault("masks brought into the image's grid", {})[Path(mask_path).name] = told
    return picture, values


def whole(values, path):
    """Labels as whole numbers, int64, where they were stored as others or scaled.

    Raises:
      InputError: values further than 0.01 from a whole number, or below 0.
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


def fitted(values, size, fill):
    """The central `size`² pixels of [H, W], `fill` where the image is smaller; whole pixels, no resampling.

    Of an odd difference the larger half is cut or added at the lower and the right side.
    """
    result = np.full((size, size), fill, values.dtype)
    source, target = zip(*((slice(max(0, (n - size) // 2), max(0, (n - size) // 2) + size),
                            slice(max(0, (size - n) // 2), max(0, (size - n) // 2) + min(n, size)))
                           for n in values.shape), strict=True)
    result[target] = values[source]
    return result


def resampled(values, spacing, to, size, order, fill):
    """`size`² pixels of `to` mm a side about the centre of [H, W].

    Pixel i of a side takes the value at `(i − (size−1)/2)·to/spacing + (n−1)/2`, n the side's pixels, by
    interpolation of `order` (0 nearest, 1 linear); `fill` outside. No smoothing, so meant for factors near 1.
    """
    from scipy import ndimage

    step = [to / s for s in spacing]
    offset = [(n - 1) / 2 - (size - 1) / 2 * f for n, f in zip(values.shape, step, strict=True)]
    return ndimage.affine_transform(values, step, offset, (size, size), order=order, cval=fill)


def framed(image, mask, spacing, size, to=None):
    """Image and mask on `size`² pixels about the centre, and how many of the mask's pixels fell outside.

    Whole pixels are cut or added, with the image's least value; with `to` both are resampled to that many mm first,
    the image linearly, the mask to the nearest.
    """
    low = image.min()
    if to is None:
        small = fitted(mask, size, 0)
        return fitted(image, size, low), small, int(mask.sum(dtype=int) - small.sum(dtype=int))
    rows, columns = (np.abs(np.arange(n) - (n - 1) / 2) * s <= size * to / 2
                     for n, s in zip(image.shape, spacing, strict=True))
    lost = np.count_nonzero(mask) - np.count_nonzero(mask[np.ix_(rows, columns)])
    return resampled(image, spacing, to, size, 1, low), resampled(mask, spacing, to, size, 0, 0), lost


def files_in(folder):
    """Paths of all files under `folder`, sorted, and how many are passed over, by reason.

    Raises:
      InputError: no such folder, or a file name that is not text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
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
    """Whether a file is an operating system's or an editor's own."""
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
