"""What is read, made fit for a data set: types, binary masks, one size; and the files of a folder."""

import hashlib
from pathlib import Path

import numpy as np

from ilnrepro.errors import InputError
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


def binary(values, path):
    """The mask, uint8 of 0 and 1, from values that are all 0 or 1, or all 0 or 255.

    Raises:
      InputError: other values.
    """
    found = np.unique(values)
    if not (np.isin(found, (0, 1)).all() or np.isin(found, (0, 255)).all()):
        shown = ", ".join(f"{v:g}" for v in found[:6]) + (", ..." if len(found) > 6 else "")
        raise InputError(f"{path}: mask values {shown}; make it 0 and 1, or 0 and 255")
    return (np.asarray(values) > 0).astype(np.uint8)


def check_pair(image, mask, image_path, mask_path):
    """Raises InputError unless an image and its mask are of one shape."""
    if image.shape != mask.shape:
        raise InputError(f"{mask_path}: mask size {format_shape(mask.shape)} differs from the image's "
                         f"{format_shape(image.shape)} ({image_path}); give each image a mask of its own size")


def check_square(values, path):
    """Raises InputError unless an image, or a volume's slices, are square."""
    if values.shape[-1] != values.shape[-2]:
        raise InputError(f"{path}: image size {format_shape(values.shape)} is not square; crop or pad it")


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


def files_in(folder):
    """Paths of all files under `folder`, sorted, and how many others (hidden, editors', systems') there are.

    Raises:
      InputError: no such folder, or a file name that is not text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    kept = [path for path in files if not _is_litter(path.relative_to(folder))]
    for path in kept:
        if any(c < " " or "\ud800" <= c <= "\udfff" for c in str(path.relative_to(folder))):
            raise InputError(f"{str(path)!r}: control or undecodable characters in the name; rename the file")
    return kept, len(files) - len(kept)


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
