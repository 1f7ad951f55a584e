"""The part of an image that is shown."""

import numpy as np

MARGIN = 0.15  # of the larger side of what is marked, left around it
LEAST = 0.3  # of the image's side, shown at least


def box(masks):
    """A square around all that is marked, or as much of one as the image has: (left, top, width, height)."""
    height, width = masks[0].shape
    rows, columns = np.nonzero(np.any(masks, axis=0))
    if not len(rows):
        return 0, 0, width, height
    marked = max(np.ptp(rows), np.ptp(columns)) + 1
    side = max(round(marked * (1 + 2 * MARGIN)), round(LEAST * min(height, width)))
    (top, height), (left, width) = (
        (int(min(max(0, round((a.min() + a.max() + 1 - side) / 2)), max(0, limit - side))), min(side, limit))
        for a, limit in ((rows, height), (columns, width)))
    return left, top, width, height
