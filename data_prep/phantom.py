"""Short-axis cardiac magnetic resonance phantoms: images that look like those of the data sets, free of any licence.

A subject's `Anatomy` is drawn and painted by `anatomy.py`. A `Scanner` then images it: coil sensitivity, blur, Rician
noise, cut field of view. LV and RV phantoms of the same subject number and seed share anatomy and images; only the
labels differ.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from data_prep.anatomy import Anatomy, paint, scene, smooth_field
from ilnrepro.errors import InputError
from ilnrepro.storage.dataset import DataSet

SUBJECTS = {"LV": 45, "RV": 37}
FOLDS = 3
_ANATOMY, _SLICE, _NOISE, _FOLD = range(4)  # independent random streams


def phantom(structure, size=256, subjects=None, sites=1, seed=0, crop=1.0):
    """A data set of short-axis slices, 6 to 10 for each subject, in three folds of subjects.

    Args:
      structure: "LV", the left ventricle's endocardium, papillary muscles inside; or "RV", the right one's
        cavity.
      size: pixels a side, a multiple of 16. The anatomy does not depend on it.
      subjects: their number; None takes 45 for LV and 37 for RV. Subject k does not depend on it.
      sites: number of scanners, to which subjects are assigned in turn; `optional["site"]` has them, from 1.
      seed: of all random numbers.
      crop: the share of the field of view that is kept, about its centre.

    Returns:
      A DataSet; `optional` holds "slice" (1 at the base), "spacing" (mm) and, with several sites, "site".

    Raises:
      InputError: a parameter has a value that cannot be used.
    """
    if structure not in list(SUBJECTS):
        raise InputError(f"phantom: structure: {structure!r} is unknown; choose one of {', '.join(SUBJECTS)}")
    subjects = SUBJECTS[structure] if subjects is None else subjects
    _check(size, subjects, sites, seed, crop)
    rows = []
    for k in range(subjects):
        site = k % sites + 1
        scanner, anatomy = Scanner.of_site(site), Anatomy.draw(_generator(seed, _ANATOMY, k))
        for i, z in enumerate(anatomy.levels):
            image, mask = _slice(anatomy, scanner, structure, size, crop, z, (seed, k, i))
            rows.append((image, mask, k, i + 1, site, crop * scanner.field_of_view / size))
    images, masks, subject, position, site, spacing = (np.array(column) for column in zip(*rows, strict=True))
    people = np.array([f"{structure}-phantom-{k + 1:02d}" for k in range(subjects)])[subject]
    optional = {"slice": position, "spacing": np.stack([spacing, spacing], axis=1)}
    if sites > 1:
        optional["site"] = site
    return DataSet(
        images=images, masks=masks, subject=people, fold=_folds(structure, subjects, seed)[subject],
        name=np.array([f"{who}-slice-{i:02d}" for who, i in zip(people, position, strict=True)]),
        title=f"Short-axis cardiac MR phantom, {structure}", structure=structure,
        source=(f"ilnrepro data_prep phantom, seed {seed}, {subjects} subjects, {sites} site(s), "
                f"{size}x{size} pixels, {crop:.0%} of the field of view"),
        licence="CC0-1.0", citation="", synthetic=True, optional=optional)


def _check(size, subjects, sites, seed, crop):
    for field, value, minimum in (("size", size, 32), ("subjects", subjects, FOLDS), ("sites", sites, 1),
                                  ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
            raise InputError(f"phantom: {field}: {value!r} cannot be used; give a whole number from {minimum}")
    if not 0.4 <= crop <= 1:
        raise InputError(f"phantom: crop: {crop!r} cannot be used; give a share from 0.4, which holds the heart, to 1")
    if size % 16:
        raise InputError(f"phantom: size: {size} is not a multiple of 16, which four max-pools need; "
                         f"take {size // 16 * 16} or {size // 16 * 16 + 16}")


def _generator(*key):
    return np.random.default_rng(np.random.SeedSequence([int(k) for k in key]))


def _folds(structure, subjects, seed):
    """The fold of each subject, [subjects], from 1: random groups as equal as can be, larger ones last."""
    order = _generator(seed, _FOLD, list(SUBJECTS).index(structure)).permutation(subjects)
    fold = np.empty(subjects, int)
    fold[order] = FOLDS - np.arange(subjects) % FOLDS
    return fold


def _slice(anatomy, scanner, structure, size, crop, z, key):
    """The image and mask, uint8 [size, size], at level z; `key` = (seed, subject, slice) seeds the rest."""
    axis = (np.arange(size, dtype=np.float32) + 0.5 - size / 2) * (crop * scanner.field_of_view / size)
    seed, subject, index = key
    tissue, cavities = paint(anatomy, axis, z, _generator(seed, _SLICE, subject, index))
    image = acquire(tissue, axis, anatomy, scanner, _generator(seed, _NOISE, subject, index))
    distance = cavities[structure]
    return image, (distance < max(0.0, distance.min() + 1e-6)).astype(np.uint8)  # one pixel at the very least


@dataclass(frozen=True)
class Scanner:
    """The scanner of a site: `contrast` is an exponent of the signal; lengths are in mm, all else is relative."""

    contrast: float
    bias: float  # strength of the coils' inhomogeneity
    noise: float  # deviation of each channel, relative to blood
    blur: float  # deviation of the point spread
    field_of_view: float

    @staticmethod
    def of_site(site):
        """Site 1 is in the middle of all ranges; later ones spread through them by irrational steps."""
        ranges = np.array([(0.75, 1.35), (0.6, 1.65), (0.02, 0.08), (0.55, 2.2), (310.0, 418.0)])
        share = (0.5 + (site - 1) * np.sqrt([2, 3, 5, 7, 11])) % 1
        return Scanner(*(float(v) for v in ranges[:, 0] * (ranges[:, 1] / ranges[:, 0]) ** share))


def acquire(tissue, axis, anatomy, scanner, rng):
    """The image, uint8 [n, n], of the painted signal: contrast, coils, blur, Rician noise, cut field."""
    pixel = float(axis[1] - axis[0])
    point = scene(anatomy, axis)
    sensitivity = sum((gain / (1 + np.abs(point - np.complex64(place)) ** 2 / reach**2) ** 1.5
                       for place, gain, reach in anatomy.coils), np.float32(0.35))
    bias = (np.exp(np.float32(0.12) * smooth_field(rng, axis, 90.0)) * sensitivity) ** scanner.bias
    image = ndimage.gaussian_filter(tissue**scanner.contrast * bias, scanner.blur / pixel)
    noise = scanner.noise * np.median(bias) * rng.standard_normal((2, *image.shape), dtype=np.float32)
    image = np.hypot(image + noise[0], noise[1])  # the magnitude is Rician
    image *= _field_mask(axis / (0.5 * scanner.field_of_view), anatomy.aperture)
    low, high = image.min(), image.max()
    return np.round(255 * (image - low) / (high - low)).astype(np.uint8)


def _field_mask(axis, aperture):
    """The part of the square, [-1, 1] a side, that the reconstruction keeps."""
    x, y = axis, axis[:, None]
    if aperture == "circle":
        return x * x + y * y < 0.86**2
    if aperture == "sides":
        return np.abs(x) < 0.88 + 0.1 * y * y
    return np.ones((len(axis), len(axis)), bool)
