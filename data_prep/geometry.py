"""The geometry of masks: each is brought into its image's grid by the headers of both files."""

from itertools import product

import numpy as np

from ilnrepro.errors import InputError
from ilnrepro.use.images import format_shape

ROUNDING = 0.1  # voxels by which headers of the same grid may differ anywhere, for their numbers are rounded
AXES = ("columns", "rows", "slices")


def into_grid(mask, image, mask_path, image_path):
    """(the mask's values in the image's grid, what was done to them in words, or '').

    Axes are exchanged and reversed, and whole voxels shifted, as the headers require. A mask may cover a part of the
    image, and is 0 elsewhere. Files without a place, such as pictures, are laid on each other.

    Args:
      mask, image: `ilnrepro.use.images.Picture`s.

    Raises:
      InputError: sizes, spacings or places do not fit together, or labelled voxels lie outside the image.
    """
    if image.affine is None or mask.affine is None:
        told = mask.spacing and image.spacing
        if mask.values.shape != image.values.shape or told and not np.allclose(mask.spacing, image.spacing, rtol=0.01):
            raise _misfit(mask, image, mask_path, image_path)
        return mask.values, ""
    size, target = (_size(picture) for picture in (mask, image))
    step = np.linalg.inv(image.affine) @ mask.affine
    turn = np.round(step[:3, :3] / np.abs(step[:3, :3]).max(axis=0))  # from the mask's axes to the image's
    shift = np.round(step[:3, 3]).astype(int)
    corners = np.array(list(product(*((0, n - 1) for n in size)))).T
    apart = np.abs(step[:3, :3] @ corners + step[:3, 3:] - turn @ corners - shift[:, None]).max()
    if (np.abs(turn).sum(axis=0) != 1).any() or (np.abs(turn).sum(axis=1) != 1).any() or apart > ROUNDING:
        raise _misfit(mask, image, mask_path, image_path)
    order, sign = np.abs(turn).argmax(axis=1), turn.sum(axis=1)
    moved = mask.values.reshape(size[::-1]).T.transpose(order)[tuple(slice(None, None, int(s)) for s in sign)]
    first = shift - np.where(sign < 0, np.array(moved.shape) - 1, 0)
    if first.any() or moved.shape != target:
        moved = _pasted(moved, first, target, f"{mask_path}: %d labelled voxels lie outside the image {image_path} by "
                        f"the headers ({_place(mask)}; image: {_place(image)}); give the mask that belongs to it")
    return moved.T.reshape(image.values.shape), _told(order, sign, first, size, target)


def _pasted(values, first, target, refusal):
    """The values from `first` on in a grid of zeros."""
    result = np.zeros(target, values.dtype)
    there, here = zip(*((slice(max(f, 0), max(min(f + n, t), 0)), slice(max(-f, 0), max(min(n, t - f), 0)))
                        for f, n, t in zip(first.tolist(), values.shape, target, strict=True)), strict=True)
    lost = np.count_nonzero(values) - np.count_nonzero(values[here])
    if lost or not values[here].size:
        raise InputError(refusal % lost)
    result[there] = values[here]
    return result


def _told(order, sign, first, size, target):
    moved = tuple(np.array(size)[order])
    words = ["axes exchanged"] if (order != range(3)).any() else []
    words += [f"{AXES[k]} reversed" for k in range(3) if sign[k] < 0 and target[k] > 1]
    if moved != target:
        words.append(f"{format_shape(size[::-1])} voxels of {format_shape(target[::-1])}")
    if first.any():
        words.append(f"from voxel {', '.join(map(str, first[::-1]))} on")
    return ", ".join(words)


def _size(picture):
    """The size in x, y and z."""
    return (*picture.values.shape[::-1], 1)[:3]


def _misfit(mask, image, mask_path, image_path):
    sizes = mask.values.shape, image.values.shape
    what = "the mask lies in another grid than the image"
    if sizes[0] != sizes[1]:
        what = f"mask size {format_shape(sizes[0])} differs from the image's {format_shape(sizes[1])}"
    return InputError(f"{mask_path}: {what} ({image_path}); mask: {_place(mask)}; image: {_place(image)}; give each "
                      "image a mask of its own grid: resample it, or give it the image's header if only that is wrong")


def _place(picture):
    words = format_shape(picture.values.shape)
    if picture.spacing:
        spacing = [picture.slice_spacing] if picture.slice_spacing and picture.values.ndim == 3 else []
        words += f" voxels of {format_shape(f'{s:.4g}' for s in (*spacing, *picture.spacing))} mm"
    if picture.affine is None:
        return words + ", place unknown"
    first = ", ".join(f"{v:.4g}" for v in picture.affine[:3, 3])
    axes = picture.affine[:3, :3] / np.linalg.norm(picture.affine[:3, :3], axis=0)
    axes = " ".join("(" + ", ".join(f"{round(v, 3) + 0:g}" for v in axis) + ")" for axis in axes.T)
    return f"{words} from ({first}) along {axes}"
