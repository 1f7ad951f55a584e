"""Reading image files: pictures through Pillow, medical formats through SimpleITK."""

import contextlib
import gzip
import os
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ilnrepro.console import one_line
from ilnrepro.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SUFFIXES = (*PICTURES, ".dcm", ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_ITK_ERRORS = (RuntimeError, MemoryError, ValueError, OverflowError)


@dataclass
class Picture:
    """What an image file holds.

    Attributes:
      values: one grey channel, [H, W], or [D, H, W] for volumes, in the file's own type. NaN and infinite
        values of a NIfTI file arrive as zeros, which is the NIfTI library's doing.
      spacing: a pixel's (height, width) in mm, or None where the file does not tell.
      slice_spacing: from one slice of a volume to the next, mm, or None for an image.
      position: where a slice lies along its normal, mm, or None where the file does not tell.
    """

    values: np.ndarray
    spacing: tuple | None = None
    slice_spacing: float | None = None
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
    return Picture(_read_pillow(path)) if suffix(path) in PICTURES else _read_itk(path)


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
        raise InputError(f"{path}: {values.ndim} dimensions ({format_shape(values.shape)}); give images or volumes")
    between = float(image.GetSpacing()[2]) if values.ndim == 3 and spaced else None
    return Picture(values, image.GetSpacing()[1::-1] if spaced else None, between, position)


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


def suffix(path):
    """A file name's ending, lower case, '.nii.gz' taken as one."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem(path):
    """A path without its `suffix`."""
    return str(path)[:len(str(path)) - len(suffix(path))]


def format_shape(shape):
    """A shape as text, 256×256."""
    return "×".join(map(str, shape))
