"""A trained network for use: images of any size and intensity in, masks out; and its export.

A network's images are those of its data set's grid (see `preparation`); `prediction` brings others there and masks
back. An exported model does both in its graph.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ilnrepro import networks, tf
from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.preparation import Preparation
from ilnrepro.storage import runfile
from ilnrepro.use import graph


class Segmenter:
    """A trained network together with what its protocol does to an image before, as the function `segment`.

    Images of the data set's grid are stretched to [0, 1] one by one, padded with zeros at the bottom and right to sides
    that the network takes, averaged over the protocol's squares, segmented, and the masks enlarged again by repetition
    and cropped. `from_source` does what its data set's preparation did before, and brings masks back. A run that
    collapsed gets a warning.

    Args:
      path: a run file that kept its weights (`--keep-weights`).
      form: 'fused' computes fast; 'reference' uses plain TensorFlow operations only.

    Raises:
      InputError: the run file is damaged, of volumes, of a network told the true masks, or holds no weights.
    """

    def __init__(self, path: str | PathLike[str], form: str = "fused") -> None:
        run = runfile.read(path)
        self.configuration, self.preparation, self.status = run.configuration, run.preparation, run.status
        protocol = run.configuration.protocol
        if protocol.slab:
            raise InputError(f"{path}: its network, {protocol.network}, takes volumes slab by slab, and images alone "
                             "are segmented here; give a run of an image protocol")
        if protocol.class_mask == "oracle":
            raise InputError(f"{path}: it was told the true masks; give a run of another --class-mask")
        if not run.weights:
            raise InputError(f"{path}: holds no weights; run it again with --keep-weights")
        _warn_of_collapse(path, run.status)
        self.network = networks.build(replace(run.configuration, protocol=replace(protocol, form=form)))
        self.multiple, self.shrink = 2**self.network.pools, protocol.shrink
        self.variables_by_name = self.network.named_variables
        for name, variable in self.variables_by_name.items():
            variable.assign(run.weights[name])
        images = tf.TensorSpec([None, None, None], tf.float32, "images")
        self.segment = tf.function(self._segment, autograph=False, input_signature=[images])
        spacing = [] if self.preparation.spacing is None else [tf.TensorSpec([2], tf.float32, "spacing")]
        self.from_source = tf.function(self._from_source, autograph=False, input_signature=[images, *spacing])

    def _segment(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Images `[N, H, W]` of any intensity to {'mask': uint8 `[N, H, W]`, 'probability': float32 `[N, H, W]`}."""
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        side = self.multiple * self.shrink
        x = images[..., tf.newaxis]
        low = tf.reduce_min(x, [1, 2, 3], keepdims=True)
        x = tf.math.divide_no_nan(x - low, tf.reduce_max(x, [1, 2, 3], keepdims=True) - low)
        x = tf.pad(x, [[0, 0], [0, -height % side], [0, -width % side], [0, 0]])
        if self.shrink > 1:
            x = tf.nn.avg_pool2d(x, self.shrink, self.shrink, "VALID")
        probability = tf.nn.softmax(self.network.scores(x))[..., 1]
        for axis in (1, 2):
            probability = tf.repeat(probability, self.shrink, axis)
        probability = probability[:, :height, :width]
        return {"mask": tf.cast(probability > 0.5, tf.uint8), "probability": probability}


    def _from_source(self, images: tf.Tensor, spacing: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """As `_segment`, of images as files hold them; `spacing` is a pixel's (height, width) in mm."""
        shape = tf.shape(images)[1:]
        there, back = graph.positions(self.preparation, shape, spacing)
        outputs = self._segment(graph.image(self.preparation, images, there))
        return {key: graph.nearest(values, back) for key, values in outputs.items()}


class Model(NamedTuple):
    """A trained network as a function from images `[N, H, W]` float32 of its data set's grid to {'mask',
    'probability'}, each `[N, H, W]`.

    Attributes:
      segment: the function.
      preparation: what brings an image to that grid and a mask back.
    """

    segment: Callable[[Any], dict[str, tf.Tensor]]
    preparation: Preparation

    def __call__(self, images: Any) -> dict[str, tf.Tensor]:
        """The function's value."""
        return self.segment(images)


def load(path: str | PathLike[str]) -> Model:
    """The model of a run file or of an exported model's folder, with a warning of a network that collapsed.

    Raises:
      InputError: neither of them.
    """
    path = Path(path)
    if path.is_dir():
        try:
            if not (path / "saved_model.pb").is_file():
                raise FileNotFoundError("it holds no saved_model.pb")
            model = tf.saved_model.load(str(path))
            model.segment  # noqa: B018  asked for here, so that a foreign model is refused at once
            about = json.loads((path / "about.json").read_text(encoding="utf-8"))
            preparation = Preparation.from_json(json.dumps(about.get("preparation", {})))
            status = about.get("status", "complete")
        except Exception as error:  # the loader raises all kinds for a damaged model
            raise InputError(f"{path}: not an exported model ({one_line(error)}); give a run file or a "
                             "folder that `ilnrepro export` made") from error
        _warn_of_collapse(path, status)
    else:
        model = Segmenter(path)
        preparation = model.preparation
    return Model(lambda images: model.segment(images), preparation)  # holds the model; its function would let it go


def _warn_of_collapse(path, status):
    if status == "collapsed":
        warnings.warn(f"{path}: a network that collapsed: it found next to nothing of the structure in its own test, "
                      "or marked next to everything; take another run", stacklevel=3)


def export(path: str | PathLike[str], folder: str | PathLike[str]) -> None:
    """Writes the network of a run file as a TensorFlow SavedModel that needs nothing of this package to serve.

    Its graph holds plain TensorFlow operations only; the signature 'serving_default' takes `images` `[N, H, W]` float32
    as files hold them, where they are to be resampled a pixel's `spacing` too, and gives `mask` and `probability` of
    the same size. `segment` takes images of the data set's grid, which `about.json` describes.

    Raises:
      InputError: the run file holds no weights, or the folder is there already or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there already and not an empty folder; choose another folder")
    segmenter = Segmenter(path, form="reference")
    about = json.dumps({**asdict(segmenter.configuration), "status": segmenter.status,
                        "preparation": asdict(segmenter.preparation)}, indent=1)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            model, saved = Path(temporary) / "model", tf.Module()
            saved.segment, saved.from_source = segmenter.segment, segmenter.from_source
            saved.variables_by_name = segmenter.variables_by_name
            tf.saved_model.save(saved, str(model), signatures=saved.from_source)
            (model / "about.json").write_text(about + "\n", encoding="utf-8")
            if folder.exists():
                folder.rmdir()
            model.replace(folder)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(f"{folder}: cannot be written ({one_line(error)}); free space or choose another "
                         "folder") from error


def in_batches(segment: Callable[[Any], dict[str, tf.Tensor]], images: np.ndarray, batch: int = 8,
               progress: Callable[[int, int], None] = lambda done, total: None) -> np.ndarray:
    """Masks uint8 `[n, H, W]` of images `[n, H, W]`, a batch at a time; `progress` is told how many of all are done."""
    masks = []
    for start in range(0, len(images), batch):
        outputs = segment(tf.constant(np.asarray(images[start:start + batch], np.float32)))
        masks.append(outputs["mask"].numpy())
        progress(start + len(masks[-1]), len(images))
    return np.concatenate(masks)
