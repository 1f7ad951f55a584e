"""Cases, each an image with its mask, and the data set that they make."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from ilnrepro.errors import InputError
from ilnrepro.preparation import AS_IT_IS, Preparation, stretched
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


CUT, LOST = "structure cut at the border", "structure lost whole by the size or spacing"


def cropping(size, spacing):
    """The `Preparation` that crops or pads to size² pixels, of `spacing` mm if given.

    Raises:
      InputError: a size or spacing that is not positive.
    """
    if size < 1 or spacing is not None and not 0 < spacing < np.inf:
        raise InputError(f"--size {size}, --spacing {spacing}: must be positive")
    return Preparation((size, size), "crop", spacing)


def prepared(case, preparation, audit):
    """The case in a `Preparation`'s grid; what that does to its structure is told to the audit."""
    to, before = preparation.spacing, case.spacing
    if to is not None and before is None:
        raise InputError(f"{case.name}: no pixel size in the file, so it cannot be resampled; leave --spacing out")
    image, mask = preparation.image(case.image, before), preparation.mask(case.mask, before)
    lists = [audit.counts.setdefault(key, []) for key in (CUT, LOST)]
    if case.mask.any() and not mask.any():
        lists[1].append(case.name)
    elif _is_cut(case.mask, before, mask, preparation):
        lists[0].append(case.name)
    return Case(case.name, case.subject, image, mask, (to, to) if to else before, case.details)


def _is_cut(mask, spacing, in_grid, preparation):
    """Whether some of a mask lies beyond the grid."""
    if preparation.spacing is None:
        return np.count_nonzero(mask) > np.count_nonzero(in_grid)
    rows, columns = (np.abs(np.arange(n) - (n - 1) / 2) * s <= size * preparation.spacing / 2
                     for n, size, s in zip(mask.shape, preparation.size, spacing, strict=True))
    return np.count_nonzero(mask) > np.count_nonzero(mask[np.ix_(rows, columns)])


def _without_empty(cases, audit):
    """The cases whose masks hold something; the others are reported to `audit`."""
    kept = [case for case in cases if case.mask.any()]
    lost = len(audit.counts.get(LOST, ()))
    audit.leave_out(len(cases) - len(kept) - lost, "images without the structure (--keep-empty keeps them)")
    audit.leave_out(lost, f"images with the {LOST} (--keep-empty keeps them)")
    return kept


def _groups(cases, kept, audit):
    """The first of the subjects that share kept images with it, directly or by others, for each subject.

    Images are the same whatever their grey levels' scale, for a run stretches them; constant ones do not count. The
    audit is told who shares, and how far the masks on all shared images agree: the distance between two readers.
    """
    kept = {case.name for case in kept}
    same, first = {}, {case.subject: case.subject for case in cases}
    for case in sorted(cases, key=lambda case: case.name):
        if case.image.min() < case.image.max():
            key = hashlib.sha256(stretched(case.image).tobytes()).digest(), case.image.shape
            same.setdefault(key, {}).setdefault(case.subject, case)
    shared = {}
    for of_image in same.values():
        for a, b in combinations(sorted(of_image), 2):
            shared.setdefault((a, b), []).append((of_image[a], of_image[b]))
    shared = {names: pairs for names, pairs in shared.items()
              if any({a.name, b.name} <= kept for a, b in pairs)}
    for a, b in sorted(shared):
        low, high = sorted((first[a], first[b]))
        first = {subject: low if group == high else group for subject, group in first.items()}
    if shared:
        audit.counts["subjects that share images, in one fold"] = {
            f"{a} and {b}": _agreement(pairs) for (a, b), pairs in sorted(shared.items())}
    return first


def _agreement(pairs):
    """How many pairs of cases there are, and the Dice coefficient of all their masks, frame by frame where known."""
    frames = {}
    for a, b in pairs:
        sums = frames.setdefault(a.details.get("frame"), [0, 0])
        sums[0] += 2 * np.count_nonzero(a.mask & b.mask)
        sums[1] += np.count_nonzero(a.mask) + np.count_nonzero(b.mask)
    scores = ", ".join(f"{both / either if either else 1:.3f}" + (f" (frame {frame})" if frame is not None else "")
                      for frame, (both, either) in frames.items())
    return f"{len(pairs)} images, Dice of their masks {scores}"


def data_set(cases, audit, split, keep_empty=True, preparation=AS_IT_IS, **text):
    """The data set of some cases, ordered by name; the cases give their images away.

    A case of another size than most is a damaged one. Spacing and details are kept where all cases have them.

    Args:
      audit: see `data_prep.audit.Audit`; asked to settle before anything is made.
      split: from the subjects [n] to the folds [n]; given the same name for subjects that share images.
      keep_empty: whether images without the structure stay.
      preparation: the `Preparation` of the images.
      text: title, structure, source, licence and citation, and where it is so that they are restricted.

    Raises:
      InputError: damaged cases that the audit does not let pass, or nothing left.
    """
    sizes = Counter(case.image.shape for case in cases)
    usual = max(sizes, key=sizes.get) if cases else None
    sound = []
    for case in sorted(cases, key=lambda case: case.name):
        with audit.case(case.name):
            if case.image.shape != usual:
                raise InputError(f"{case.name}: image size {format_shape(case.image.shape)} differs from most images' "
                                 f"{format_shape(usual)}; crop or pad it (`folder --size` does)")
            sound.append(case)
    kept = sound if keep_empty else _without_empty(sound, audit)
    audit.settle(len(kept))
    groups = _groups(sound, kept, audit)
    cases.clear()  # what is left out need not stay in memory
    del sound
    kind = np.uint8 if all(case.image.dtype == np.uint8 for case in kept) else np.float32
    optional = {key: np.array([case.details[key] for case in kept])
                for key in kept[0].details if all(key in case.details for case in kept)}
    if all(case.spacing for case in kept):
        optional["spacing"] = np.array([case.spacing for case in kept], np.float64)
    subject = np.array([case.subject for case in kept], str)
    group = np.array([groups[name] for name in subject.tolist()], str)
    if len(set(group)) < 2 <= len(set(subject)):
        raise InputError(f"{audit.source}: all {len(set(subject))} subjects share images with each other, so none can "
                         "test what others train; see that each subject has its own files")
    pixels, masks = np.empty((len(kept), *usual), kind), np.empty((len(kept), *usual), np.uint8)
    for i, case in enumerate(kept):
        pixels[i], masks[i] = case.image, case.mask
        case.image = case.mask = None
    return DataSet(images=pixels, masks=masks, subject=subject, name=np.array([case.name for case in kept], str),
                   fold=split(group), synthetic=False, optional=optional, preparation=preparation, **text)
