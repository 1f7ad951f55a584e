"""Cases, each an image with its mask, and the data set that they make."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ilnrepro.errors import InputError
from ilnrepro.storage.dataset import DataSet
from ilnrepro.use.images import format_shape


@dataclass
class Case:
    """One labelled image.

    Attributes:
      name, subject: as in the data set.
      image: uint8 or float32 [H, W], or [D, H, W].
      mask: uint8 of the same shape, of 0 and 1.
      spacing: a pixel's (height, width), or a voxel's (depth, height, width), in mm, or None.
      details: further numbers or strings by name (slice, frame, ...).
    """

    name: str
    subject: str
    image: np.ndarray
    mask: np.ndarray
    spacing: tuple | None = None
    details: dict = field(default_factory=dict)


def without_empty(cases, keep, audit):
    """The cases whose masks hold something, or with `keep` all; the others are reported to `audit`."""
    kept = [case for case in cases if keep or case.mask.any()]
    if len(kept) < len(cases):
        audit.leave_out(len(cases) - len(kept), "images without the structure (--keep-empty keeps them)")
    return kept


def data_set(cases, audit, split, **text):
    """The data set of some cases, ordered by name.

    A case of another size than most is a damaged one. Spacing and details are kept where all cases have them.

    Args:
      audit: see `data_prep.audit.Audit`; asked to settle before anything is made.
      split: from the subjects [n] to the folds [n].
      text: title, structure, source, licence and citation.

    Raises:
      InputError: damaged cases that the audit does not let pass, or nothing left.
    """
    sizes = Counter(case.image.shape for case in cases)
    usual = max(sizes, key=sizes.get) if cases else None
    kept = []
    for case in sorted(cases, key=lambda case: case.name):
        with audit.case(case.name):
            if case.image.shape != usual:
                raise InputError(f"{case.name}: image size {format_shape(case.image.shape)} differs from most images' "
                                 f"{format_shape(usual)}; crop or pad it")
            kept.append(case)
    audit.settle(len(kept))
    kind = np.uint8 if all(case.image.dtype == np.uint8 for case in kept) else np.float32
    optional = {key: np.array([case.details[key] for case in kept])
                for key in kept[0].details if all(key in case.details for case in kept)}
    if all(case.spacing for case in kept):
        optional["spacing"] = np.array([case.spacing for case in kept], np.float64)
    subject = np.array([case.subject for case in kept], str)
    return DataSet(images=np.stack([case.image for case in kept]).astype(kind, copy=False),
                   masks=np.stack([case.mask for case in kept]), subject=subject,
                   name=np.array([case.name for case in kept], str), fold=split(subject), synthetic=False,
                   optional=optional, **text)
