"""Scores of a predicted mask against the truth."""

import numpy as np


def overlap(truth, predicted):
    """Pixels of the truth, of the prediction, and of both, each `[n]`, for masks `[n, ...]`."""
    axes = tuple(range(1, truth.ndim))
    truth, predicted = truth.astype(bool), predicted.astype(bool)
    return truth.sum(axes), predicted.sum(axes), (truth & predicted).sum(axes)


def dice(truth_pixels, predicted_pixels, common_pixels):
    """Dice similarity coefficient 2·|A∩B| / (|A|+|B|), `[n]`; 1 where both masks are empty."""
    total = np.asarray(truth_pixels) + predicted_pixels
    return np.where(total == 0, 1.0, 2 * np.asarray(common_pixels) / np.maximum(total, 1))
