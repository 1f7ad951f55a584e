"""Contour files of the Sunnybrook release, and masks from contours."""

import numpy as np

from ilnrepro.errors import InputError
from ilnrepro.use.images import format_shape


def read(path):
    """The points of a contour file, [k, 2] of x (column) and y (row) in pixels.

    Pixels have their centres at whole numbers, from 0. Each line has one `x y` pair; blank lines and both kinds of line
    ends are allowed.

    Raises:
      InputError: not text, empty, comma decimals, lines that are no pair of numbers, NaN, fewer than three
        distinct points, or all on one line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); get it again") from error
    points = np.array([_point(line, number, path) for number, line in enumerate(lines, 1) if line.strip()])
    if len(points) == 0:
        raise InputError(f"{path}: empty; get the contour again")
    if len(np.unique(points, axis=0)) < 3:
        raise InputError(f"{path}: {len(np.unique(points, axis=0))} distinct points; a contour needs three: "
                         "get it again")
    if np.linalg.matrix_rank(points - points[0]) < 2:
        raise InputError(f"{path}: all points lie on one line, so nothing is inside; get the contour again")
    return points


def _point(line, number, path):
    if "," in line:
        raise InputError(f"{path}: line {number}: comma in {line.strip()[:40]!r}; "
                         "write `x y` with decimal points")
    try:
        x, y = map(float, line.split())
    except ValueError as error:
        raise InputError(f"{path}: line {number}: {line.strip()[:40]!r} is no `x y` pair; "
                         "get the contour again") from error
    if not np.isfinite([x, y]).all():
        raise InputError(f"{path}: line {number}: NaN or infinite coordinate; get the contour again")
    return x, y


def mask(points, shape, path):
    """The pixels whose centres lie inside a closed contour by the even-odd rule, or exactly on it.

    A centre (column, row) is inside if an odd number of edges crosses its row at or left of it. An edge from
    (x₀, y₀) to (x₁, y₁) crosses row r if exactly one of y₀ ≤ r and y₁ ≤ r holds, at
    `x₀ + (r−y₀)·(x₁−x₀)/(y₁−y₀)`. The release's points lie at half-pixel steps, so many centres are on a
    contour; with them, masks are closest to those in circulation, which hold the contour too.

    Args:
      points: [k, 2] x and y; the last joins the first.
      shape: the image's (H, W).
      path: for messages.

    Returns:
      uint8 [H, W], 1 inside.

    Raises:
      InputError: points outside the image (of pixels −½ to W−½ and −½ to H−½).
    """
    height, width = shape
    low, high = points.min(axis=0), points.max(axis=0)
    if low.min() < -0.5 or (high > (width - 0.5, height - 0.5)).any():
        raise InputError(f"{path}: points from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}) leave "
                         f"the {format_shape(shape)} image; check that contour and image belong together")
    x0, y0, x1, y1 = np.hstack([points, np.roll(points, -1, axis=0)]).T[:, :, None]  # [k, 1] each
    row = np.arange(height)
    level = y0 == y1
    x = x0 + (row - y0) * (x1 - x0) / np.where(level, np.inf, y1 - y0)  # of the edge at the row, [k, H]
    crossings = _count_from(np.ceil(x), (y0 <= row) != (y1 <= row), width)
    touches = (np.minimum(y0, y1) <= row) & (row <= np.maximum(y0, y1))
    first, last = (np.where(level, ends, x) for ends in (np.minimum(x0, x1), np.maximum(x0, x1)))
    on = _count_from(np.ceil(first), touches, width) - _count_from(np.floor(last) + 1, touches, width)
    return ((crossings % 2 == 1) | (on > 0)).astype(np.uint8)


def _count_from(column, where, width):
    """How many of an edge's entries [k, H], where they hold, lie at or left of each pixel, [H, width]."""
    count = np.zeros((where.shape[1], width + 1), np.int64)
    np.add.at(count, (np.nonzero(where)[1], column[where].astype(int)), 1)
    return count.cumsum(axis=1)[:, :width]
