"""Data set files: images, masks, subjects and folds in one HDF5 file."""

import contextlib
import hashlib
import os
import warnings
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np

from ilnrepro.errors import InputError
from ilnrepro.ops.entries import Entries
from ilnrepro.preparation import Preparation
from ilnrepro.storage import hdf5

FORMAT_VERSION = 1


@dataclass
class DataSet:
    """Labelled images of one structure, as `data_prep` makes them and a run reads them.

    Attributes:
      images: uint8 or float32 [n, H, W], or [n, D, H, W] for volumes; `Entries` of a file too large for memory; to be
        written, whatever tells its shape and dtype and gives one after the other.
      masks: uint8 of the same shape, 0 background, 1 structure.
      subject: the person of each image, [n] strings; all images of a subject are in one fold.
      name: a unique name for each image, [n] strings.
      fold: the subject's group, [n] integers from 1.
      title, structure, source, licence, citation: text.
      synthetic: whether the images are made up.
      optional: {name: array with an entry for each image}, where known: site, slice, spacing ([n, 2] mm, for volumes
        [n, 3]), ...
      audit: JSON text on what the preparation counted and left out.
      preparation: how the images got their size and grey levels.
      checksum: SHA-256 of what training uses (images, masks, subjects, names, folds, and sites where known), which
        identifies the data in a run's configuration; set on reading.
      restricted: whether its licence forbids to show or pass on its content; run files then hold no true mask.
    """

    images: np.ndarray
    masks: np.ndarray
    subject: np.ndarray
    name: np.ndarray
    fold: np.ndarray
    title: str
    structure: str
    source: str
    licence: str
    citation: str
    synthetic: bool
    optional: dict[str, np.ndarray] = field(default_factory=dict)
    audit: str = ""
    preparation: Preparation = Preparation()
    checksum: str = ""
    restricted: bool = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def folds(self) -> list[int]:
        """The fold numbers, ascending."""
        return [int(k) for k in np.unique(self.fold)]

    @property
    def size(self) -> str:
        """The numbers of images, or volumes, and of subjects, in words."""
        return f"{len(self)} {'volumes' if self.images.ndim == 4 else 'images'} of {len(set(self.subject))} subjects"

    def trained_on(self, fold: int, site: str = "") -> np.ndarray:
        """Whether each image trains when `fold` is tested, [n] booleans; with a site, only its images train.

        Raises:
          InputError: no image outside the fold is of the site.
        """
        training = self.fold != fold
        if site:
            sites = np.asarray(self.optional.get("site", np.full(len(self), ""))).astype(str)
            training = training & (sites == site)
            if not training.any():
                raise InputError(f"site: no image of {self.title} outside fold {fold} is of {site!r} (sites: "
                                 f"{', '.join(sorted(set(sites) - {''})) or 'none known'})")
        return training


_RUN_BYTES = 13  # a pixel, that a run on arrays takes: as stored, stretched, and what trains once more
_TRAINING_FIELDS = ("images", "masks", "subject", "name", "fold", "site")
# Earlier versions took the whole file's checksum. {today's checksum: the earlier one} for the 805 Sunnybrook images, so
# that their runs stay valid.
_EARLIER_CHECKSUMS = {"8d85079a237c1a48e2be56bf2747ad824555c469dfc06b824235995c8584a0ae":
                      "af440f3d9b30f94103bba6c031540d3c85bc24ef70cc829bfa8f09aa47ef1e3d"}
_TEXT = ("title", "structure", "source", "licence", "citation", "audit")
_AXES = {3: ("image", "row", "column"), 4: ("image", "slice", "row", "column")}


def write(path: str | PathLike[str], data: DataSet) -> None:
    """Checks `data` and writes it to `path`, whole or not at all. Raises InputError if `data` is not sound."""
    check(data, path)
    preparation = replace(data.preparation, size=data.images.shape[-2:])
    with hdf5.writing(path) as file:
        file.attrs.update(kind="data set", format_version=FORMAT_VERSION, synthetic=bool(data.synthetic),
                          restricted=bool(data.restricted))
        file.attrs.update({key: getattr(data, key) for key in _TEXT})
        file.attrs.update(preparation=preparation.json, seen_checksum=_checksum(data))
        chunk = (1, *data.images.shape[1:])
        for key in ("images", "masks"):
            values = getattr(data, key)
            stored = file.create_dataset(key, values.shape, values.dtype, chunks=chunk, compression="gzip",
                                         compression_opts=1, shuffle=False)
            for i, one in enumerate(values):
                stored[i] = one
            for axis, label in enumerate(_AXES[values.ndim]):
                stored.dims[axis].label = label
        file["images"].attrs["meaning"] = "grey levels, arbitrary units; a run stretches each image to [0, 1]"
        file["masks"].attrs["meaning"] = f"1 inside the structure ({data.structure}), 0 elsewhere"
        for key, values in {"subject": data.subject, "name": data.name, "fold": data.fold, **data.optional}.items():
            values = np.asarray(values)
            file.create_dataset(key, data=values.astype(object) if values.dtype.kind in "UO" else values)
        file["fold"].attrs["meaning"] = "the subject's group; fold k tests on group k and trains on the others"
        if "spacing" in file:
            file["spacing"].attrs["unit"] = "mm"


def read(path: str | PathLike[str]) -> DataSet:
    """Reads and checks the data set file `path`.

    Images and masks of which a run would fill half the memory are `Entries`, read as they are asked for.

    Raises:
      InputError: the file is missing, damaged, of another kind, or unsound; the message names field and remedy.
    """
    with hdf5.reading(path, "data set") as file:
        if file.attrs["format_version"] != FORMAT_VERSION:
            raise InputError(f"{path}: format_version {file.attrs['format_version']} is not {FORMAT_VERSION}; "
                             "prepare it again with this version's data_prep")
        missing = [key for key in ("images", "masks", "subject", "name", "fold") if key not in file]
        missing += [key for key in (*_TEXT, "synthetic") if key not in file.attrs]
        if missing:
            raise InputError(f"{path}: lacks {', '.join(missing)}; prepare it again with data_prep")
        strings = {key: file[key].asstr()[()].astype(str) for key in ("subject", "name")}
        optional = {}
        for key in set(file) - {"images", "masks", "subject", "name", "fold"}:
            text = file[key].dtype.kind == "O"
            optional[key] = file[key].asstr()[()].astype(str) if text else file[key][()]
        images, masks = _images_and_masks(file, path)
        data = DataSet(images=images, masks=masks, fold=file["fold"][()], **strings,
                       **{key: str(file.attrs[key]) for key in _TEXT}, synthetic=bool(file.attrs["synthetic"]),
                       optional=optional, restricted=bool(file.attrs.get("restricted", False)), **_identity(file))
    check(data, path)
    return data


def _images_and_masks(file, path):
    """Those of an open file, of which the larger ones are read from another opening, which stays."""
    if file["images"].size * _RUN_BYTES <= memory() / 2:
        return file["images"][()], file["masks"][()]
    stored = hdf5.opened(path)

    def entries(key):
        return Entries(lambda i: stored[key][i], np.arange(len(stored[key])),
                       np.zeros(stored[key].shape[1:], stored[key].dtype))

    return entries("images"), entries("masks")


def memory() -> float:
    """Bytes of memory that this process may have: the machine's, or less by its control group; infinite if unknown."""
    limits = [np.inf]
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max"
            limits.append(int(Path(path).read_text()))
    return min(limits)


def _identity(file):
    """The preparation and the checksum of an open file, of which an earlier version has neither."""
    if "seen_checksum" in file.attrs:
        return {"preparation": Preparation.from_json(file.attrs["preparation"]),
                "checksum": file.attrs["seen_checksum"]}
    return {"preparation": Preparation(file["images"].shape[-2:]), "checksum": file.attrs["checksum"]}


def _checksum(data):
    """SHA-256 of what training uses."""
    digest = hashlib.sha256()
    for key in _TRAINING_FIELDS:
        values = getattr(data, key, data.optional.get(key))
        if values is None:
            continue
        if key in ("images", "masks"):
            digest.update(repr((key, str(values.dtype), values.shape)).encode())
            for one in values:
                digest.update(np.ascontiguousarray(one))
        else:
            digest.update(repr((key, np.asarray(values).tolist())).encode())
    return _EARLIER_CHECKSUMS.get(digest.hexdigest(), digest.hexdigest())


def check(data: DataSet, path: str | PathLike[str]) -> None:
    """Raises InputError unless `data` is sound; constant images only get a warning. `path` is for the message."""
    _check_form(data.images, data.masks, path)
    _check_entries(data, path)
    constant = []
    for name, image, mask in zip(map(str, data.name), data.images, data.masks, strict=True):
        if mask.max() > 1:
            raise InputError(f"{path}: masks: values other than 0 and 1 (largest {mask.max()}) in {name!r}; make them "
                             "binary")
        low, high = image.min(), image.max()  # NaN where one is in it
        if not np.isfinite([low, high]).all():
            raise InputError(f"{path}: images: NaN or infinite values in {name!r}; repair or leave it out")
        if low == high:
            constant.append(name)
    if constant:
        warnings.warn(f"{Path(path).name}: {len(constant)} constant image(s) become zeros: {', '.join(constant[:3])}",
                      stacklevel=2)


def _check_form(images, masks, path):
    if len(images) == 0:
        raise InputError(f"{path}: images: there are none; check the source")
    if images.ndim not in _AXES:
        raise InputError(f"{path}: images: shape {images.shape} is neither [n, H, W] nor [n, D, H, W]")
    if images.dtype not in (np.uint8, np.float32):
        raise InputError(f"{path}: images: type {images.dtype}; convert them to uint8 or float32")
    if masks.shape != images.shape:
        raise InputError(f"{path}: masks: shape {masks.shape} differs from the images' {images.shape}; "
                         "each image needs one mask of its own size")
    if 0 in images.shape:
        raise InputError(f"{path}: images: shape {images.shape}: without a pixel; check the source")
    if masks.dtype != np.uint8:
        raise InputError(f"{path}: masks: type {masks.dtype}; convert them to uint8, 0 and 1")


def _check_entries(data, path):
    n = len(data)
    for key in ("subject", "name", "fold", *data.optional):
        values = data.optional.get(key, getattr(data, key, None))
        if len(values) != n:
            raise InputError(f"{path}: {key}: {len(values)} entries for {n} images; give one an image")
    if len(set(data.name)) != n:
        raise InputError(f"{path}: name: not unique; give each image a name of its own")
    group_of = {}
    for subject, fold in zip(data.subject, data.fold, strict=True):
        if group_of.setdefault(subject, fold) != fold:
            raise InputError(f"{path}: fold: subject {str(subject)!r} is in folds {group_of[subject]} and {fold}; "
                             "a subject must be in one fold only")
    if len(set(group_of.values())) < 2:
        raise InputError(f"{path}: fold: only one fold; at least two are needed to train and to test")
    if min(group_of.values()) < 1:
        raise InputError(f"{path}: fold: {min(group_of.values())} found; folds are numbered from 1")
