"""Networks of several structures in use together: one label map, in the image's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ilnrepro.errors import InputError
from ilnrepro.use.packaged import located
from ilnrepro.use.segmenter import Model, load


class Structures(NamedTuple):
    """Trained networks, one a structure, whose masks make one label map.

    Attributes:
      models: the networks, each with the preparation of its own data.
      names: of their structures; the label of the first is 1, of the second 2, and so on.
    """

    models: tuple[Model, ...]
    names: tuple[str, ...]

    @property
    def slab(self) -> int | None:
        """As of a `Model`."""
        return self.models[0].slab


def load_together(paths: Sequence[str | PathLike[str]]) -> Structures:
    """The networks of several files, see `segmenter.load`.

    Raises:
      InputError: no file; one given twice; two of the same structure; or of images one and of volumes another.
    """
    if not paths:
        raise InputError("models: there are none; give a trained network for each structure")
    seen: dict[Path, str | PathLike[str]] = {}
    for path in paths:
        if (other := seen.setdefault(located(path).resolve(), path)) != path or list(paths).count(path) > 1:
            raise InputError(f"{path}: given twice{'' if other == path else f', first as {other}'}; give each network "
                             "once")
    models = tuple(load(path) for path in paths)
    first_of: dict[str, str | PathLike[str]] = {}
    for path, model in zip(paths, models, strict=True):
        if bool(model.slab) != bool(models[0].slab):
            kinds = "images", "volumes"
            raise InputError(f"{path}: a network of {kinds[bool(model.slab)]}, and {paths[0]} is one of "
                             f"{kinds[bool(models[0].slab)]}; use them in commands of their own")
        if (other := first_of.setdefault(model.structure, path)) != path:
            raise InputError(f"{path}: finds {model.structure}, as {other} does; give one network for each structure, "
                             "or put the two into an ensemble")
    return Structures(models, tuple(model.structure for model in models))


def label_map(masks: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(labels uint8 `[...]`, contested bool `[...]`) of the structures' masks and probabilities `[structures, ...]`.

    A pixel in one mask has the label of its structure, counted from 1; one in none has 0. One in several is contested,
    and goes to the most probable of these, of equal ones to the first.
    """
    claims = masks.astype(bool)
    most = np.where(claims, probabilities, -1).argmax(0)
    return np.where(claims.any(0), most + 1, 0).astype(np.uint8), claims.sum(0) > 1


def joined(names: Sequence[str], outputs: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What the networks give for the same images, as one: 'mask' is their label map, and 'contested' tells where
    several claimed a pixel; probabilities and uncertainties stay apart, as 'probability-LV'."""
    labels, contested = label_map(*(np.stack([one[key] for one in outputs]) for key in ("mask", "probability")))
    return {"mask": labels, "contested": contested,
            **{f"{key}-{name}": one[key] for name, one in zip(names, outputs, strict=True)
               for key in ("probability", "uncertainty") if key in one}}
