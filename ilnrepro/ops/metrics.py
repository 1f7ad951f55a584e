"""Scores of a predicted mask against the truth."""

import numpy as np
from numpy.typing import ArrayLike

from ilnrepro.ops.augmentation import enlarged

COUNTS = ("truth_pixels", "predicted_pixels", "common_pixels")  # the names of the counts of `overlap`


def overlap(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of pixels in the true masks, in the predicted masks, and in both, each `[n]`; masks `[n, ...]`."""
    axes = tuple(range(1, truth.ndim))
    truth, predicted = np.asarray(truth, bool), np.asarray(predicted, bool)
    return truth.sum(axes), predicted.sum(axes), (truth & predicted).sum(axes)


def at_own_resolution(whole: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """{'whole_truth_pixels': `[n]`, ...}: the counts of `overlap`, with `predicted` enlarged to the true size."""
    return {f"whole_{name}": n for name, n in zip(COUNTS, overlap(whole, enlarged(predicted, whole)), strict=True)}


def dice(truth_pixels: ArrayLike, predicted_pixels: ArrayLike, common_pixels: ArrayLike) -> np.ndarray:
    """Dice similarity coefficient 2·|A∩B| / (|A|+|B|), `[n]`; 1 where both masks are empty."""
    total = np.asarray(truth_pixels) + predicted_pixels
    return np.where(total == 0, 1.0, 2 * np.asarray(common_pixels) / np.maximum(total, 1))


def intersection_over_union(truth_pixels: ArrayLike, predicted_pixels: ArrayLike,
                            common_pixels: ArrayLike) -> np.ndarray:
    """|A∩B| / |A∪B|, `[n]`; 1 where both masks are empty."""
    union = np.asarray(truth_pixels) + predicted_pixels - common_pixels
    return np.where(union == 0, 1.0, np.asarray(common_pixels) / np.maximum(union, 1))


def fullest_slice(mask: np.ndarray) -> int:
    """The index of the slice with the most pixels in a volume's mask `[D, H, W]`, which figures show."""
    return int(mask.sum(axis=(1, 2)).argmax())


def surface_distances(truth: np.ndarray, predicted: np.ndarray,
                      spacing: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(HD95, ASSD), each `[n]`, for masks `[n, ...]`, by DeepMind's `surface-distance`.

    HD95 is the larger of the two directed 95 % Hausdorff distances. ASSD is the mean distance between the two surfaces
    in both directions, its surface elements weighted by their length or area. Where one mask is empty, both are the
    image's diagonal; where both masks are, 0.

    Args:
      truth, predicted: masks.
      spacing: of the masks' pixels in mm, `[n, dimensions]`; None gives distances in pixels.

    Raises:
      ImportError: `surface-distance` is not installed (extra `surface`).
    """
    import surface_distance

    sides = np.ones([len(truth), truth.ndim - 1]) if spacing is None else spacing
    scores = []
    for a, b, side in zip(truth.astype(bool), predicted.astype(bool), sides, strict=True):
        if not a.any() or not b.any():
            diagonal = float(np.linalg.norm(side * a.shape))
            scores.append((diagonal, diagonal) if a.any() or b.any() else (0.0, 0.0))
            continue
        surfaces = surface_distance.compute_surface_distances(a, b, tuple(side))
        distances = np.concatenate([surfaces["distances_gt_to_pred"], surfaces["distances_pred_to_gt"]])
        areas = np.concatenate([surfaces["surfel_areas_gt"], surfaces["surfel_areas_pred"]])
        scores.append((surface_distance.compute_robust_hausdorff(surfaces, 95), np.average(distances, weights=areas)))
    hd95, assd = np.array(scores).T
    return hd95, assd
