"""Cases, which are images with their masks, and the data set of many cases."""

import hashlib
import zlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from ilnrepro.errors import InputError
from ilnrepro.preparation import AS_IT_IS, Preparation, stretched
from ilnrepro.storage.dataset import DataSet
from ilnrepro.use.images import format_shape


class Packed:
    """An array kept compressed, as all of a source's are until its last file is read; NumPy's functions unpack it."""

    def __init__(self, values):
        self.shape, self.dtype = values.shape, values.dtype
        self._content = zlib.compress(np.ascontiguousarray(values), 1)

    def __array__(self, dtype=None, copy=None):
        values = np.frombuffer(zlib.decompress(self._content), self.dtype).reshape(self.shape)
        return values if dtype is None else values.astype(dtype, copy=False)


class Stack:
    """Packed arrays of one shape as [n, ...], of which one after the other is unpacked."""

    def __init__(self, arrays, kind):
        self.arrays, self.dtype = arrays, np.dtype(kind)
        self.shape = len(arrays), *arrays[0].shape
        self.ndim = len(self.shape)

    def __len__(self):
        return len(self.arrays)

    def __iter__(self):
        return (np.asarray(array, self.dtype) for array in self.arrays)


@dataclass
class Case:
    """One labelled image.

    Attributes:
      name, subject: as in the data set.
      image: uint8 or float32 [H, W], or [D, H, W]; packed as soon as it is given.
      mask: uint8 of the same shape, of 0 and 1; packed as well.
      spacing: a pixel's (height, width), or a voxel's (depth, height, width), in mm, or None.
      details: further numbers or strings by name (slice, frame, ...).
    """

    name: str
    subject: str
    image: np.ndarray | Packed
    mask: np.ndarray | Packed
    spacing: tuple | None = None
    details: dict = field(default_factory=dict)

    def __post_init__(self):
        self.image, self.mask = Packed(self.image), Packed(self.mask)


CUT, LOST = "structure cut at the border", "structure lost whole by the size or spacing"


def cropping(size, spacing):
    """The `Preparation` that crops or pads to size² pixels, of `spacing` mm if given.

    Raises:
      InputError: a size or spacing that is not positive.
    """
    if size < 1 or spacing is not None and not 0 < spacing < np.inf:
        raise InputError(f"--size {size}, --spacing {spacing}: must be positive")
    return Preparation((size, size), "crop", spacing)


def prepared(name, image, mask, spacing, preparation, audit):
    """Image, mask and spacing in a `Preparation`'s grid; what that does to the structure is told to the audit."""
    to = preparation.spacing
    if to is not None and spacing is None:
        raise InputError(f"{name}: no pixel size in the file, so it cannot be resampled; leave --spacing out")
    in_grid = preparation.mask(mask, spacing)
    lists = [audit.counts.setdefault(key, []) for key in (CUT, LOST)]
    if mask.any() and not in_grid.any():
        lists[1].append(name)
    elif _is_cut(mask, spacing, in_grid, preparation):
        lists[0].append(name)
    return preparation.image(image, spacing), in_grid, (to, to) if to else spacing


def _is_cut(mask, spacing, in_grid, preparation):
    """Whether some of a mask lies beyond the grid."""
    if preparation.spacing is None:
        return np.count_nonzero(mask) > np.count_nonzero(in_grid)
    rows, columns = (np.abs(np.arange(n) - (n - 1) / 2) * s <= size * preparation.spacing / 2
                     for n, size, s in zip(mask.shape, preparation.size, spacing, strict=True))
    return np.count_nonzero(mask) > np.count_nonzero(mask[np.ix_(rows, columns)])


def fill_up(volumes, audit):
    """Makes all volumes as deep as the deepest: behind their last slice comes their least value, without structure."""
    depths = {case.name: case.image.shape[0] for case in volumes}
    depth = max(depths.values(), default=0)
    audit.counts["slices"] = depths
    audit.counts["slices filled up to"] = depth
    for case in volumes:
        missing = ((0, depth - depths[case.name]), (0, 0), (0, 0))
        image, mask = np.asarray(case.image), np.asarray(case.mask)
        case.image = Packed(np.pad(image, missing, constant_values=image.min()))
        case.mask = Packed(np.pad(mask, missing))


def _without_empty(cases, audit):
    """The cases whose masks hold something; the others are reported to `audit`."""
    kept = [case for case in cases if np.any(case.mask)]
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
        levels = stretched(case.image)
        if levels.any():
            key = hashlib.sha256(levels.tobytes()).digest(), levels.shape
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
        sums[0] += 2 * np.count_nonzero(np.logical_and(a.mask, b.mask))
        sums[1] += np.count_nonzero(a.mask) + np.count_nonzero(b.mask)
    scores = ", ".join(f"{both / either if either else 1:.3f}" + (f" (frame {frame})" if frame is not None else "")
                      for frame, (both, either) in frames.items())
    return f"{len(pairs)} images, Dice of their masks {scores}"


def data_set(cases, audit, split, keep_empty=True, preparation=AS_IT_IS, **text):
    """The data set of some cases, ordered by name, to be written: its images and masks are `Stack`s.

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
    return DataSet(images=Stack([case.image for case in kept], kind),
                   masks=Stack([case.mask for case in kept], np.uint8), subject=subject,
                   name=np.array([case.name for case in kept], str), fold=split(group), synthetic=False,
                   optional=optional, preparation=preparation, **text)
