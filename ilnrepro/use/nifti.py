"""NIfTI files of versions 1 and 2, gzipped or not, under any name and with any affine.

SimpleITK is not used for them: it turns NaN into zeros, refuses directions that are not quite orthonormal, and trusts
a name more than the bytes.
"""

import gzip
import zlib
from dataclasses import dataclass

import numpy as np

from ilnrepro.console import one_line
from ilnrepro.errors import InputError

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOURS = {128: 3, 2304: 4}  # bytes a voxel of RGB and of RGBA
_MM = {1: 1000.0, 3: 0.001}  # in metres and in micrometres; all else is taken for mm
# Of version 1 and 2: the header's bytes, then place and type of each field.
_FIELDS = {
    348: {"dim": (40, "8i2"), "datatype": (70, "i2"), "bitpix": (72, "i2"),
          "window": (124, "2f4"), "pixdim": (76, "8f4"), "vox_offset": (108, "f4"),
          "slope": (112, "f4"), "inter": (116, "f4"), "units": (123, "u1"), "qform_code": (252, "i2"),
          "sform_code": (254, "i2"), "quaternion": (256, "3f4"), "offset": (268, "3f4"), "sform": (280, "(3,4)f4"),
          "magic": (344, "S4")},
    540: {"magic": (4, "S8"), "datatype": (12, "i2"), "bitpix": (14, "i2"),
          "window": (192, "2f8"), "dim": (16, "8i8"), "pixdim": (104, "8f8"),
          "vox_offset": (168, "i8"), "slope": (176, "f8"), "inter": (184, "f8"), "qform_code": (344, "i4"),
          "sform_code": (348, "i4"), "quaternion": (352, "3f8"), "offset": (376, "3f8"), "sform": (400, "(3,4)f8"),
          "units": (500, "i4")},
}


@dataclass
class Nifti:
    """The content of a NIfTI file.

    Attributes:
      values: [..., D, H, W], axes from the slowest, scaled as the header says; of colours one axis more at the end.
      colours: whether the last axis is of colours.
      spacing: of a voxel's (x, y, z), mm.
      affine: [4, 4] from a voxel's (x, y, z) to mm right, front, up, its columns as long as `spacing`; None where the
        header gives no orientation.
    """

    values: np.ndarray
    colours: bool
    spacing: tuple
    affine: np.ndarray | None


def read(path):
    """Reads a NIfTI file.

    Raises:
      InputError: no NIfTI file, cut short, or of a type without plain numbers.
    """
    content = _content(path)
    header, order = _header(content, path)
    kind = int(header["datatype"])
    if kind not in _TYPES and kind not in _COLOURS:
        raise InputError(f"{path}: NIfTI data type {kind}, complex or of no known meaning; save it as plain numbers")
    count = int(header["dim"][0])
    shape = [int(n) for n in header["dim"][1:1 + count]]
    if not 1 <= count <= 7 or min(shape) < 1:
        raise InputError(f"{path}: its NIfTI header gives the size {'×'.join(map(str, shape)) or count}; get it again")
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    extra = (_COLOURS[kind],) if kind in _COLOURS else ()
    number = np.dtype(order + _TYPES.get(kind, "u1"))
    start, voxels = int(header["vox_offset"]), int(np.prod([*shape, *extra], dtype=object))
    if not 0 <= start <= len(content) or len(content) - start < voxels * number.itemsize:
        raise InputError(f"{path}: cut short: {len(content)} bytes of {start + voxels * number.itemsize}; get it again")
    values = np.frombuffer(content, number, voxels, start).reshape(*shape[::-1], *extra)
    if number.byteorder == ">":
        values = values.astype(number.newbyteorder("="))
    slope, inter = float(header["slope"]), float(header["inter"])
    if not extra and slope and np.isfinite([slope, inter]).all() and (slope, inter) != (1, 0):
        values = values * slope + inter
    return Nifti(values, bool(extra), *_geometry(header))


def like(path, values):
    """The bytes of a NIfTI file of a mask, or of other numbers as float32, on the voxels of the image in the file
    `path`, with that file's header."""
    raw = bytearray(_content(path)[:max(_FIELDS)])
    header, order = _header(raw, path)  # a view of `raw`
    kind, number = (16, np.dtype(f"{order}f4")) if values.dtype.kind == "f" else (2, np.dtype("u1"))
    start = header.dtype.itemsize + 4
    for key, value in {"datatype": kind, "bitpix": 8 * number.itemsize, "vox_offset": start, "slope": 1, "inter": 0,
                       "window": 0}.items():
        header[key] = value
    return bytes(raw[:header.dtype.itemsize]) + bytes(4) + np.ascontiguousarray(values, number).tobytes()


def _content(path):
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read (gzip: {one_line(error)}); cut short or damaged: "
                         "get it again") from error


def _header(content, path):
    """The header's fields, and the byte order, '<' or '>'."""
    for size, fields in _FIELDS.items():
        for order in "<>":
            if len(content) >= size and int(np.frombuffer(content, order + "i4", 1)[0]) == size:
                places, formats = zip(*fields.values(), strict=True)
                formats = [np.dtype(f).newbyteorder(order) for f in formats]
                kind = np.dtype({"names": list(fields), "offsets": places, "formats": formats, "itemsize": size})
                header = np.frombuffer(content, kind, 1)[0]
                if header["magic"][:2] != b"n+":
                    raise InputError(f"{path}: the header of a NIfTI or Analyze pair (.hdr, .img), or damaged; save it "
                                     "as one NIfTI file")
                return header, order
    raise InputError(f"{path}: no NIfTI file ({len(content)} bytes that begin with {content[:4].hex() or 'nothing'}); "
                     "cut short or of another format: get it again")


def _geometry(header):
    """Spacing and affine; the sform where its code is set, else the qform; some headers hold the spacing elsewhere."""
    scale = _MM.get(int(header["units"]) & 7, 1.0)
    spacing = np.abs(header["pixdim"][1:4].astype(float))
    affine = None
    if header["sform_code"] > 0:
        affine = header["sform"].astype(float)
    elif header["qform_code"] > 0:
        columns = _rotation(header) * np.where(spacing > 0, spacing, 1)
        affine = np.column_stack([columns, header["offset"].astype(float)])
    if affine is not None and not (np.isfinite(affine).all() and abs(np.linalg.det(affine[:, :3])) > 1e-12):
        affine = None
    lengths = np.ones(3) if affine is None else np.linalg.norm(affine[:, :3], axis=0)
    if (spacing == 1).all():
        spacing = lengths
    spacing = scale * np.where(np.isfinite(spacing) & (spacing > 0), spacing, lengths)
    if affine is not None:
        affine = np.vstack([np.column_stack([affine[:, :3] / lengths * spacing, scale * affine[:, 3]]), [0, 0, 0, 1]])
    return tuple(spacing.tolist()), affine


def _rotation(header):
    b, c, d = header["quaternion"].astype(float)
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    turn = np.array([[a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                     [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                     [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c]])
    return turn * (1, 1, -1 if header["pixdim"][0] < 0 else 1)
