"""Reading image files: pictures through Pillow, medical formats through SimpleITK; fitting to one size."""

import contextlib
import gzip
import hashlib
import os
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ilnrepro.errors import InputError

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SUFFIXES = (*_PICTURES, ".dcm", ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_ITK_ERRORS = (RuntimeError, MemoryError, ValueError, OverflowError)


@dataclass
class Picture:
    """What an image file holds.

    Attributes:
      values: one grey channel, [H, W], or [D, H, W] for volumes, in the file's own type. NaN and infinite
        values of a NIfTI file arrive as zeros, which is the NIfTI library's doing.
      spacing: a pixel's (height, width) in mm, or None where the file does not tell.
      position: where a slice lies along its normal, mm, or None where the file does not tell.
    """

    values: np.ndarray
    spacing: tuple | None = None
    position: float | None = None


def read(path):
    """Reads an image file of any known format.

    Raises:
      InputError: missing, damaged, cut short or unknown; more than one channel; not two- or
        three-dimensional; SimpleITK needed and not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    return Picture(_read_pillow(path)) if suffix(path) in _PICTURES else _read_itk(path)


def simpleitk():
    """The SimpleITK module, its warnings silenced. Raises InputError where it is not installed."""
    try:
        import SimpleITK
    except ImportError as error:
        raise InputError("SimpleITK: not installed, and only it reads this format; "
                         'pip install "ilnrepro[images]"') from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


@contextlib.contextmanager
def _silenced():
    """A block whose C++ libraries cannot write to standard error: what they meet is raised as well."""
    before, silence = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(silence)


def _read_pillow(path):
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                image.verify()  # a PNG's checksums; a verified image must be opened again
            with Image.open(path) as image:
                if image.mode not in ("1", "L", "I", "F") and not image.mode.startswith("I;16"):
                    raise InputError(f"{path}: {len(image.getbands())}-channel or palette image "
                                     f"(mode {image.mode}); save it with one grey channel")
                if getattr(image, "n_frames", 1) > 1:
                    raise InputError(f"{path}: {image.n_frames} pages in one file; save one image a file")
                return np.array(image).astype(np.uint8) if image.mode == "1" else np.array(image)
    except (*_PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _read_itk(path):
    sitk = simpleitk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with _silenced():
            reader.ReadImageInformation()
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        if reader.GetNumberOfComponents() > 1 or "complex" in kind:
            raise InputError(f"{path}: {reader.GetNumberOfComponents()}-channel or complex image; "
                             "save it with one grey channel")
        if suffix(path) in (".nii", ".nii.gz"):
            _check_whole_nifti(path, reader)
        with _silenced():
            image = reader.Execute()
        values = sitk.GetArrayFromImage(image)  # axes from the slowest, as in Picture
        known = set(reader.GetMetaDataKeys())
    except _ITK_ERRORS as error:
        raise _unreadable(path, error) from error
    if values.ndim > 3 and set(values.shape[:-3]) == {1}:
        values = values.reshape(values.shape[-3:])
    dicom = suffix(path) == ".dcm"
    spaced = not dicom or "0028|0030" in known
    position = None
    if dicom and "0020|0032" in known and image.GetDimension() == 3:
        position = float(np.dot(image.GetOrigin(), np.reshape(image.GetDirection(), (3, 3))[:, 2]))
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim not in (2, 3):
        raise InputError(f"{path}: {values.ndim} dimensions ({by(values.shape)}); give images or volumes")
    return Picture(values, image.GetSpacing()[1::-1] if spaced else None, position)


def _check_whole_nifti(path, reader):
    """Raises InputError unless the file is as long as its header says; the reader does not ask."""
    try:
        content = gzip.decompress(path.read_bytes()) if suffix(path) == ".nii.gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    voxels = np.prod([int(n) for n in reader.GetSize()], dtype=object)
    needed = float(reader.GetMetaData("vox_offset")) + int(voxels) * int(reader.GetMetaData("bitpix")) // 8
    if len(content) < needed:
        raise InputError(f"{path}: cut short: {len(content)} bytes of {needed:.0f}; get it again")


def _unreadable(path, error):
    reason = re.sub(r"\(0x[0-9a-f]+\)", "", one_line(error).split("ERROR: ")[-1])
    reason = reason.replace(str(path), "the file")
    return InputError(f"{path}: cannot be read ({reason}); it may be cut short or of another format: "
                      "get it again")


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
        raise InputError(f"{mask_path}: mask size {by(mask.shape)} differs from the image's "
                         f"{by(image.shape)} ({image_path}); give each image a mask of its own size")


def check_square(values, path):
    """Raises InputError unless an image, or a volume's slices, are square."""
    if values.shape[-1] != values.shape[-2]:
        raise InputError(f"{path}: image size {by(values.shape)} is not square; crop or pad it")


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


def suffix(path):
    """A file name's ending, lower case, '.nii.gz' taken as one."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem(path):
    """A path without its `suffix`."""
    return str(path)[:len(str(path)) - len(suffix(path))]


def digest(path):
    """SHA-256 of a file, in hexadecimal. Raises InputError if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); check the path and its permissions") from error


def by(shape):
    """A shape in words, 256×256."""
    return "×".join(map(str, shape))


def one_line(error):
    """An error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
