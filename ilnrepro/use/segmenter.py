"""A trained network for use: images of any size and intensity in, masks out; and its export."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ilnrepro import networks, tf
from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.storage import runfile


class Segmenter:
    """A trained network together with what its protocol does to an image before, as the function `segment`.

    Images are stretched to [0, 1] one by one, padded with zeros at the bottom and right to sides that the network
    takes, averaged over the protocol's squares, segmented, and the masks enlarged again by repetition and cropped.

    Args:
      path: a run file that kept its weights (`--keep-weights`).
      form: 'fused' computes fast; 'plain' uses TensorFlow's own operations alone.

    Raises:
      InputError: the run file is damaged, of volumes, of a network told the true masks, or holds no weights.
    """

    def __init__(self, path: str | PathLike[str], form: str = "fused") -> None:
        run = runfile.read(path)
        self.configuration = run.configuration
        protocol = run.configuration.protocol
        if protocol.slab:
            raise InputError(f"{path}: its network, {protocol.network}, takes volumes slab by slab, and images alone "
                             "are segmented here; give a run of an image protocol")
        if protocol.class_mask == "oracle":
            raise InputError(f"{path}: it was told the true masks; give a run of another --class-mask")
        if not run.weights:
            raise InputError(f"{path}: holds no weights; run it again with --keep-weights")
        self.network = networks.build(replace(run.configuration, protocol=replace(protocol, form=form)))
        self.multiple, self.shrink = 2**self.network.pools, protocol.shrink
        self.variables_by_name = self.network.named_variables
        for name, variable in self.variables_by_name.items():
            variable.assign(run.weights[name])
        self.segment = tf.function(self._segment, autograph=False,
                                   input_signature=[tf.TensorSpec([None, None, None], tf.float32)])

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


def load(path: str | PathLike[str]) -> Callable[[Any], dict[str, tf.Tensor]]:
    """A function from images `[N, H, W]` float32 to {'mask', 'probability'}, from a run file or an exported model.

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
        except Exception as error:  # the loader raises all kinds for a damaged model
            raise InputError(f"{path}: not an exported model ({one_line(error)}); give a run file or a "
                             "folder that `ilnrepro export` made") from error
    else:
        model = Segmenter(path)
    return lambda images: model.segment(images)  # holds the model, which its function alone would let go


def export(path: str | PathLike[str], folder: str | PathLike[str]) -> None:
    """Writes the network of a run file as a TensorFlow SavedModel that needs nothing of this package to serve.

    Its graph holds plain TensorFlow operations only; the signature 'serving_default' takes `images` `[N, H, W]` float32
    of any intensity and size and gives `mask` and `probability`.

    Raises:
      InputError: the run file holds no weights, or the folder is there already or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there already and not an empty folder; choose another folder")
    segmenter = Segmenter(path, form="plain")
    about = json.dumps(asdict(segmenter.configuration), indent=1)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as made:
            model, saved = Path(made) / "model", tf.Module()
            saved.segment, saved.variables_by_name = segmenter.segment, segmenter.variables_by_name
            tf.saved_model.save(saved, str(model), signatures=saved.segment)
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
        found = segment(tf.constant(np.asarray(images[start:start + batch], np.float32)))
        masks.append(found["mask"].numpy())
        progress(start + len(masks[-1]), len(images))
    return np.concatenate(masks)
