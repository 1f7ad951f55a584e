"""Reading image files: pictures through Pillow, NIfTI by `nifti`, other medical formats through SimpleITK."""

import contextlib
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
from ilnrepro.use import nifti

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SUFFIXES = (*PICTURES, ".dcm", ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_OTHER_DICOM = (".ima", ".dicom")
# First bytes of what files turn out to hold, with a word for it and the endings that fit.
_CONTENTS = ((b"\x89PNG", "a PNG picture", (".png",)), (b"\xff\xd8\xff", "a JPEG picture", (".jpg", ".jpeg")),
             (b"II*\0", "a TIFF picture", (".tif", ".tiff")), (b"MM\0*", "a TIFF picture", (".tif", ".tiff")),
             (b"BM", "a BMP picture", (".bmp",)), (b"GIF8", "a GIF picture", (".gif",)),
             (b"NRRD", "NRRD", (".nrrd", ".nhdr")), (b"\x1f\x8b", "gzipped data", (".gz",)),
             (b"PK\3\4", "a ZIP archive", (".zip",)), (b"<", "a web page or XML", (".xml",)),
             (b"version https://git-lfs", "a Git LFS pointer, not the data", ()),
             (b"\x89HDF", "HDF5", (".h5",)), (b"\x5c\1\0\0", "NIfTI", (".nii",)))
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_ITK_ERRORS = (RuntimeError, MemoryError, ValueError, OverflowError)


@dataclass
class Picture:
    """The content of an image file.

    Attributes:
      values: one grey channel, [H, W], or [D, H, W] for volumes, as a viewer shows it apart from window and gamma:
        with the file's scale, palette, orientation and sense of black and white.
      spacing: a pixel's (height, width) in mm, or None where the file does not tell.
      slice_spacing: from one slice of a volume to the next, mm, or None for an image.
      position: where a slice lies along its normal, mm, or None where the file does not tell.
      affine: [4, 4] from a voxel's (x, y, z), columns, rows and slices, to mm left, back, up; None where the file
        does not tell.
    """

    values: np.ndarray
    spacing: tuple | None = None
    slice_spacing: float | None = None
    position: float | None = None
    affine: np.ndarray | None = None


def read(path):
    """Reads an image file of any known format.

    Raises:
      InputError: missing, damaged, cut short or unknown; colours; not two- or three-dimensional; SimpleITK needed
        and not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: empty, cut short to nothing; get it again")
    if suffix(path) in PICTURES:
        return Picture(_read_pillow(path))
    return _read_nifti(path) if suffix(path) in (".nii", ".nii.gz") else _read_itk(path)


def grey(values, path):
    """The image in a type that data sets take: uint8 as it is, any other type as float32.

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


def _more_tiffs():
    """Adds to Pillow's table, of order, photometric interpretation, format and bits, what it can unpack too."""
    from PIL import TiffImagePlugin as tiff

    for order, big in ((tiff.II, ""), (tiff.MM, "B")):
        tiff.OPEN_INFO.setdefault((order, 1, (3,), 1, (64,), ()), ("F", f"F;64{big}F"))
        tiff.OPEN_INFO.setdefault((order, 1, (1,), 1, (32,), ()), ("I", f"I;32{big}"))
        tiff.OPEN_INFO.setdefault((order, 0, (1,), 1, (16,), ()), (f"I;16{big}", f"I;16{big}"))


@contextlib.contextmanager
def _by_libtiff(wanted):
    """A block in which Pillow leaves TIFFs to libtiff; its own decoder mixes up the rows of those lying on a side."""
    from PIL import TiffImagePlugin as tiff

    before, tiff.READ_LIBTIFF = tiff.READ_LIBTIFF, wanted or tiff.READ_LIBTIFF
    try:
        yield
    finally:
        tiff.READ_LIBTIFF = before


def _read_pillow(path):
    from PIL import Image

    _more_tiffs()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                tags = getattr(image, "tag_v2", {})  # of TIFF
                lying = tags.get(274, 1) > 4
                if lying and np.ravel(tags.get(258, 8))[0] == 64:
                    raise InputError(f"{path}: a TIFF of 64 bits that lies on its side; save it upright")
                image.verify()  # a PNG's checksums; a verified image must be opened again
            with _by_libtiff(lying), Image.open(path) as image:
                if getattr(image, "n_frames", 1) > 1:
                    raise InputError(f"{path}: {image.n_frames} pages in one file; save one image a file")
                return _pixels(image, path)
    except (*_PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _pixels(image, path):
    """The grey levels of an open picture as viewers show them, turned as its EXIF data says."""
    from PIL import ImageOps

    tags = getattr(image, "tag_v2", {})  # of TIFF
    white_is_zero, kind = tags.get(262) == 0, np.ravel(tags.get(339, 1))[0]
    deep = any(";16" in str(tile.args) for tile in image.tile)
    image = image if tags else ImageOps.exif_transpose(image)  # a TIFF is turned as it is loaded
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    values = np.array(image)
    values = values.astype(np.uint8 if image.mode == "1" else values.dtype.newbyteorder("="))
    if "transparency" in image.info:  # a PNG's one transparent grey level, or colour
        seen_through = values == np.array(image.info["transparency"])
        if (seen_through.all(-1) if values.ndim == 3 else seen_through).any():
            raise _transparent(path)
    if image.mode not in ("1", "L", "I", "F") and not image.mode.startswith("I;16"):
        if deep:
            raise InputError(f"{path}: {len(image.getbands())} channels of 16 bits; save it with one grey channel")
        return _one_channel(values, path, image.mode)
    if image.mode == "L" and kind == 2:
        values = values.view(np.int8)
    elif image.mode == "I" and kind == 1 and np.ravel(tags.get(258, 8))[0] == 32:
        values = values.view(np.uint32)
    if white_is_zero and image.mode not in ("1", "L"):  # these Pillow turns itself
        if values.dtype.kind != "u":
            raise InputError(f"{path}: a TIFF of signed or floating-point pixels whose white is zero; save it with "
                             "zero as black")
        values = np.uint64(2 ** int(np.ravel(tags[258])[0]) - 1) - values
    return values


def _one_channel(values, path, mode=""):
    """[..., H, W] of [..., H, W, channels] that are all equal, a last one of opacity aside."""
    mode = mode or {2: "two", 3: "RGB", 4: "RGBA"}.get(values.shape[-1], "")
    alpha, grey = (values[..., -1], values[..., :-1]) if mode.endswith("A") else (None, values)
    if mode not in ("LA", "RGB", "RGBA") or (grey != grey[..., :1]).any():
        raise InputError(f"{path}: {values.shape[-1]}-channel image of colours ({mode or 'unknown'}); save it with one "
                         "grey channel")
    if alpha is not None and (alpha != np.iinfo(values.dtype).max).any():
        raise _transparent(path)
    return grey[..., 0]


def _transparent(path):
    return InputError(f"{path}: partly transparent; save it with one grey channel and no transparency")


def _read_itk(path):
    sitk = simpleitk()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    if ending(path) == ".dcm":
        reader.SetImageIO("GDCMImageIO")
    try:
        with _silenced():
            reader.ReadImageInformation()
        if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
            raise InputError(f"{path}: complex image; save it with one grey channel")
        with _silenced():
            image = reader.Execute()
        values = sitk.GetArrayFromImage(image)  # axes from the slowest, as in Picture
        known = set(reader.GetMetaDataKeys())
    except _ITK_ERRORS as error:
        raise _unreadable(path, error) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = _one_channel(values, path)
    dicom = ending(path) == ".dcm"
    spaced = not dicom or "0028|0030" in known
    affine, position = None, None
    if image.GetDimension() in (2, 3) and (not dicom or {"0020|0032", "0020|0037"} <= known):
        affine, n = np.eye(4), image.GetDimension()
        affine[:n, :n] = np.reshape(image.GetDirection(), (n, n)) * image.GetSpacing()
        affine[:n, 3] = image.GetOrigin()
        if dicom and n == 3:
            position = float(np.dot(image.GetOrigin(), np.reshape(image.GetDirection(), (3, 3))[:, 2]))
    between = float(image.GetSpacing()[2]) if image.GetDimension() > 2 and spaced else None
    return _picture(values, path, image.GetSpacing()[1::-1] if spaced else None, between, position, affine)


def _read_nifti(path):
    content = nifti.read(path)
    values = _one_channel(content.values, path) if content.colours else content.values
    affine = None if content.affine is None else np.diag([-1, -1, 1, 1]) @ content.affine
    return _picture(values, path, content.spacing[1::-1], content.spacing[2], None, affine)


def _picture(values, path, spacing, between, position, affine):
    """The `Picture`; a volume of one slice becomes an image."""
    if values.ndim > 3 and set(values.shape[:-3]) == {1}:
        values = values.reshape(values.shape[-3:])
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim not in (2, 3):
        raise InputError(f"{path}: {values.ndim} dimensions ({format_shape(values.shape)}); give images or volumes")
    return Picture(values, spacing, between if values.ndim == 3 else None, position, affine)


def _unreadable(path, error):
    reason = re.sub(r"\(0x[0-9a-f]+\)", "", one_line(error).split("ERROR: ")[-1])
    reason = reason.replace(str(path), "the file").strip()
    start = path.read_bytes()[:132]
    if start[:4] in (b"II*\0", b"MM\0*"):
        reason = _why_no_tiff(path) or reason
    held = next(((what, fit) for first, what, fit in _CONTENTS if start.startswith(first)), None)
    if start[128:] == b"DICM":
        held = "DICOM", (".dcm",)
    if held and ending(path) not in held[1]:
        return InputError(f"{path}: cannot be read: it holds {held[0]}, whatever its name says; give it a name that "
                          "fits, or get the right file")
    return InputError(f"{path}: cannot be read ({reason}); cut short, damaged or of a kind that is not read here: if a "
                      "viewer opens it, save it in another format, else get it again")


def _why_no_tiff(path):
    """Pillow's error message on a TIFF, which it drops while it tries its other formats."""
    from PIL import TiffImagePlugin

    try:
        with TiffImagePlugin.TiffImageFile(path) as image:
            image.load()
    except _PILLOW_ERRORS as error:
        return one_line(error)
    return ""


def suffix(path):
    """A file name's ending in lower case; '.nii.gz' is one ending."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def ending(path):
    """The ending that tells a file's format: its name's, if known, or .dcm for DICOM whatever it is called."""
    named = suffix(path)
    if named in SUFFIXES:
        return named
    return ".dcm" if named in _OTHER_DICOM or _is_dicom(path) else named


def _is_dicom(path):
    """Whether a file's content is a DICOM image. Files older than DICOM's preamble begin with an element of group 8."""
    if Path(path).name.upper() == "DICOMDIR":
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(132)
    except OSError:
        return False
    old = start[:2] == b"\x08\0" and start[2:4] in (b"\0\0", b"\1\0", b"\5\0", b"\x08\0")
    return old or start[128:] == b"DICM"


def stem(path):
    """A path without an image's ending; other points belong to the name (1.2.840.113619)."""
    known = suffix(path) in (*SUFFIXES, *_OTHER_DICOM, ".h5")
    return str(path)[:len(str(path)) - len(suffix(path))] if known else str(path)


def format_shape(shape):
    """The text of a shape, as '256×256'."""
    return "×".join(map(str, shape))
