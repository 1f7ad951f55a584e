"""The part of an image that figures show."""

import numpy as np

MARGIN = 0.15  # around the marked part, as a share of its larger side
MINIMUM = 0.3  # of the image's side: no smaller part is shown


def box(masks):
    """(left, top, width, height) of a square around all that the masks mark, cut to the image."""
    height, width = masks[0].shape
    rows, columns = np.nonzero(np.any(masks, axis=0))
    if not len(rows):
        return 0, 0, width, height
    marked = max(np.ptp(rows), np.ptp(columns)) + 1
    side = max(round(marked * (1 + 2 * MARGIN)), round(MINIMUM * min(height, width)))
    (top, height), (left, width) = (
        (int(min(max(0, round((a.min() + a.max() + 1 - side) / 2)), max(0, limit - side))), min(side, limit))
        for a, limit in ((rows, height), (columns, width)))
    return left, top, width, height
