"""From an image as its file holds it to one of a data set's grid, and a mask of that grid back.

A network knows images as they were prepared. So the data set's file tells how, the run's file carries it, and whatever
uses the network does the same to its images.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np

from ilnrepro.errors import InputError

FITS = ("keep", "crop", "resize")


@dataclass(frozen=True)
class Preparation:
    """How images, or a volume's slices, came to a data set's size and grey levels.

    Attributes:
      size: rows and columns of the data set's images; None where it is not known, and then images stay as they are.
      fit: 'crop': whole pixels were cut or added about the centre, after resampling to `spacing` if there is one;
        'resize': what an image shows was resampled to `size`; 'keep': images had the size. A smaller image is then
        padded to it, a larger one stays, for the structure may lie anywhere in it.
      spacing: mm a side of a pixel after resampling; None: none was.
      stretch: whether grey levels were stretched to 0..255, see `stretched`.
      assumed: mm a side of a pixel where an image's file tells none; None: such images are refused if `spacing` is set.
    """

    size: tuple[int, int] | None = None
    fit: str = "keep"
    spacing: float | None = None
    stretch: bool = False
    assumed: float | None = None

    def image(self, values: np.ndarray, spacing: tuple[float, float] | None = None) -> np.ndarray:
        """An image [H, W] in the data set's grid and grey levels, its type kept; added pixels have its least value.

        Resampling is linear.

        Raises:
          InputError: `spacing`, the pixel's (height, width) in mm, is needed and None.
        """
        values = stretched(values) if self.stretch else values
        return self._moved(values, spacing, 1, values.min())

    def mask(self, values: np.ndarray, spacing: tuple[float, float] | None = None) -> np.ndarray:
        """A mask [H, W] in the data set's grid, resampled to the nearest; 0 in added pixels. Raises as `image`."""
        return self._moved(values, spacing, 0, 0)

    def back(self, mask: np.ndarray, shape: tuple[int, int], spacing: tuple[float, float] | None = None) -> np.ndarray:
        """A mask of the data set's grid in that of the image `shape`, to the nearest; 0 where the grid does not reach.

        Raises as `image`.
        """
        if (step := self.step(shape, spacing)) is None:
            return fitted(mask, shape, 0)
        return resampled(mask, [1 / s for s in step], shape, 0, 0, "grid-constant")

    def step(self, shape, spacing):
        """Pixels of an image of this shape from one pixel of the grid to the next, or None where they are the same."""
        if self.fit == "resize" and self.size != tuple(shape):
            return [n / size for n, size in zip(shape, self.size, strict=True)]
        if self.spacing is None:
            return None
        if spacing is None and self.assumed is not None:
            spacing = self.assumed, self.assumed
        if spacing is None:
            raise InputError("no pixel size in the file, and the network's data were resampled to "
                             f"{self.spacing:g} mm; give files that tell it, as NIfTI or DICOM")
        return [self.spacing / s for s in spacing]

    def target(self, shape):
        """The size that an image of this shape gets."""
        if self.size is None:
            return tuple(shape)
        return tuple(map(max, self.size, shape)) if self.fit == "keep" else self.size

    def _moved(self, values, spacing, order, fill):
        step, target = self.step(values.shape, spacing), self.target(values.shape)
        return fitted(values, target, fill) if step is None else resampled(values, step, target, order, fill)

    def __str__(self) -> str:
        size = "of any size" if self.size is None else "{}×{} pixels".format(*self.size)
        words = {"keep": f"{size}, as in the source", "crop": f"cropped or padded to {size}",
                 "resize": f"resampled to {size}"}[self.fit]
        if self.spacing is not None:
            words = f"resampled to {self.spacing:g} mm, {words}"
        return f"{words}; grey levels {'stretched to 0..255' if self.stretch else 'as in the source'}"

    @property
    def json(self) -> str:
        """All of it as JSON; without `assumed` where that is not set, as earlier versions wrote and read it."""
        return json.dumps({key: value for key, value in asdict(self).items() if key != "assumed" or value is not None})

    @staticmethod
    def from_json(text: str) -> "Preparation":
        """What `json` told."""
        values = json.loads(text)
        return Preparation(**values | {"size": tuple(values["size"]) if values.get("size") else None})


AS_IT_IS = Preparation()


def stretched(values: np.ndarray) -> np.ndarray:
    """Min-max to 0..255, uint8: `⌈255·(v − min)/(max − min) − ½⌉`; a constant image becomes zeros.

    That is rounding with halves down, as they went when the 805 Sunnybrook images in circulation were made.
    """
    values = np.asarray(values, np.float64)
    low, high = values.min(), values.max()
    return np.ceil(255 * (values - low) / (high - low or 1) - 0.5).astype(np.uint8)


def fitted(values: np.ndarray, shape: tuple[int, int], fill: float) -> np.ndarray:
    """The central pixels of [H, W] in another shape, `fill` where the image is smaller; whole pixels, no resampling.

    Of an odd difference the larger half is cut or added at the lower and the right side, so that a second call with the
    first shape puts every pixel back.
    """
    if values.shape == tuple(shape):
        return values
    result = np.full(shape, fill, values.dtype)
    source, target = zip(*((slice(max(0, (n - size) // 2), max(0, (n - size) // 2) + size),
                            slice(max(0, (size - n) // 2), max(0, (size - n) // 2) + min(n, size)))
                           for n, size in zip(values.shape, shape, strict=True)), strict=True)
    result[target] = values[source]
    return result


def resampled(values: np.ndarray, step: list[float], shape: tuple[int, int], order: int, fill: float,
              mode: str = "constant") -> np.ndarray:
    """Pixels `step` apart about the centre of [H, W].

    Pixel i of a side takes the value at `(i − (size−1)/2)·step + (n−1)/2`, n the side's pixels, by interpolation of
    `order` (0 nearest, 1 linear); `fill` outside: beyond the outer pixels' centres, or in the mode 'grid-constant'
    beyond their rims. No smoothing, so meant for steps near 1.
    """
    from scipy import ndimage

    offset = [(n - 1) / 2 - (size - 1) / 2 * s for n, size, s in zip(values.shape, shape, step, strict=True)]
    return ndimage.affine_transform(values, step, offset, shape, order=order, cval=fill, mode=mode)
