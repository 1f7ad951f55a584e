"""Trained networks for use, as functions from images of any size and intensity to masks; and their export.

A network takes images in its data set's grid (see `preparation`). `prediction` brings other images to this grid, and
masks back; an exported model does both in its graph.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ilnrepro import networks, tf
from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.ops.losses import margin
from ilnrepro.ops.metrics import dice, overlap
from ilnrepro.preparation import Preparation
from ilnrepro.storage import ensemble, runfile
from ilnrepro.use import graph
from ilnrepro.use.packaged import located


class Segmenter:
    """A trained network with the steps that its protocol applies to images before, as the function `segment`.

    Images of the data set's grid are stretched to [0, 1] one by one, padded with zeros at the bottom and right to sides
    that the network takes, averaged over the protocol's squares, segmented, and the masks enlarged again by repetition
    and cropped. `from_source` does what its data set's preparation did before, and brings masks back. A network of
    volumes takes the slices of one volume, `[D, H, W]`, stretched together, and sees them slab by slab, as `ops.slabs`
    has it. A run that collapsed gets a warning.

    Args:
      path: a run file that kept its weights (`--keep-weights`).
      form: 'fused' computes fast; 'plain' uses TensorFlow's own operations alone.
      run: what the file holds, where it is read already.

    Raises:
      InputError: the run file is damaged, of a network told the true masks, or holds no weights.
    """

    def __init__(self, path: str | PathLike[str], form: str = "fused", run: runfile.Run | None = None) -> None:
        run = run or runfile.read(path)
        self.configuration, self.preparation, self.status = run.configuration, run.preparation, run.status
        protocol = run.configuration.protocol
        if protocol.class_mask == "oracle":
            raise InputError(f"{path}: it was told the true masks; give a run of another --class-mask")
        if not run.weights:
            raise InputError(f"{path}: holds no weights; run it again with --keep-weights")
        _warn_of_collapse(path, run.status)
        self.network = networks.build(replace(run.configuration, protocol=replace(protocol, form=form)))
        self.multiple, self.shrink, self.slab = 2**self.network.pools, protocol.shrink, protocol.slab
        self.threshold, self.structure = protocol.threshold, run.configuration.structure
        self.variables_by_name = self.network.named_variables
        for name, variable in self.variables_by_name.items():
            variable.assign(run.weights[name])
        self.segment, self.from_source = _functions(self._segment, self.preparation)

    @property
    def about(self) -> dict[str, Any]:
        """The content of an exported model's `about.json`."""
        return {**self.configuration.as_dict(), "status": self.status, "preparation": asdict(self.preparation)}

    def _segment(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Images `[N, H, W]` of any intensity to {'mask': uint8 `[N, H, W]`, 'probability': float32 `[N, H, W]`}."""
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        side = self.multiple * self.shrink
        x = images[..., tf.newaxis]
        together = None if self.slab else [1, 2, 3]
        low = tf.reduce_min(x, together, keepdims=True)
        x = tf.math.divide_no_nan(x - low, tf.reduce_max(x, together, keepdims=True) - low)
        # Written without the remainder of a negative number, which converters take for another one.
        x = tf.pad(x, [[0, 0], *([0, (side - n % side) % side] for n in (height, width)), [0, 0]])
        if self.shrink > 1:
            x = tf.nn.avg_pool2d(x, self.shrink, self.shrink, "VALID")
        probability = self._of_volume(x) if self.slab else tf.nn.softmax(self.network.scores(x))[..., 1]
        for axis in (1, 2):
            probability = tf.repeat(probability, self.shrink, axis)
        probability = probability[:, :height, :width]
        return {"mask": tf.cast(probability > self.threshold, tf.uint8), "probability": probability}

    def _of_volume(self, x: tf.Tensor) -> tf.Tensor:
        """The structure's probability `[D, H, W]` in a volume `[D, H, W, 1]`, cut and joined as `ops.slabs` has it."""
        slab, depth = self.slab, tf.shape(x)[0]
        x = tf.pad(x, [[0, tf.maximum(slab - depth, 0)], [0, 0], [0, 0], [0, 0]])
        last = tf.maximum(depth - slab, 0)
        starts = tf.concat([tf.range(0, last, slab // 2), [last]], 0)

        def probability(start):
            part = tf.ensure_shape(x[tf.newaxis, start:start + slab], [1, slab, None, None, 1])
            return tf.sigmoid(margin(self.network.scores(part)))[0]

        slabs = tf.map_fn(probability, starts, fn_output_signature=tf.float32)
        # A slice comes of the last slab whose margin it lies beyond; the first slab has none.
        first = tf.concat([[0], starts[1:] + slab // 4], 0)
        slices = tf.range(depth)
        chosen = tf.searchsorted(first, slices, side="right") - 1
        return tf.gather_nd(slabs, tf.stack([chosen, slices - tf.gather(starts, chosen)], 1))


class Ensemble:
    """Several trained networks as one function `segment`, which averages their probabilities.

    Beside 'mask' and 'probability' it gives 'uncertainty' float32 `[N, H, W]`, the standard deviation over the networks
    of the probability, from 0 where they agree to 0.5 where half of them are sure of each class; and each network's
    own mask, 'mask 1', 'mask 2', ...

    Args, raises: as `Segmenter`.
    """

    def __init__(self, path: str | PathLike[str], form: str = "fused") -> None:
        self.members = [Segmenter(path, form, run) for run in ensemble.read(path)]
        self.preparation, self.slab = self.members[0].preparation, self.members[0].slab
        self.threshold, self.structure = self.members[0].threshold, self.members[0].structure
        collapsed = any(member.status == "collapsed" for member in self.members)
        self.status = "collapsed" if collapsed else "complete"
        self.variables_by_name = {f"{i}/{name}": variable for i, member in enumerate(self.members, 1)
                                  for name, variable in member.variables_by_name.items()}
        self.segment, self.from_source = _functions(self._segment, self.preparation)

    @property
    def about(self) -> dict[str, Any]:
        """The content of an exported model's `about.json`."""
        return {"networks": [member.configuration.as_dict() for member in self.members], "status": self.status,
                "preparation": asdict(self.preparation)}

    def _segment(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = [member.segment(images) for member in self.members]
        each = tf.stack([one["probability"] for one in outputs])
        probability = tf.reduce_mean(each, axis=0)
        return {"mask": tf.cast(probability > self.threshold, tf.uint8), "probability": probability,
                "uncertainty": tf.math.reduce_std(each, axis=0),
                **{f"mask {i}": one["mask"] for i, one in enumerate(outputs, 1)}}


def _functions(segment, preparation):
    """(`segment` for images in the data set's grid, `segment` for images as in files), each as one graph.

    The second also takes a pixel's (height, width) in mm where images are resampled.
    """
    def from_source(images, spacing=None):
        there, back = graph.positions(preparation, tf.shape(images)[1:], spacing)
        outputs = segment(graph.image(preparation, images, there))
        return {key: graph.nearest(values, back) for key, values in outputs.items()}

    images = tf.TensorSpec([None, None, None], tf.float32, "images")
    spacing = [] if preparation.spacing is None else [tf.TensorSpec([2], tf.float32, "spacing")]
    return (tf.function(segment, autograph=False, input_signature=[images]),
            tf.function(from_source, autograph=False, input_signature=[images, *spacing]))


def own_masks(outputs: dict[str, np.ndarray]) -> np.ndarray | None:
    """The masks of an ensemble's networks, `[networks, ...]`, from its outputs; None for one network."""
    masks = [values for name, values in outputs.items() if name.startswith("mask ")]
    return np.stack(masks) if masks else None


def disagreement(masks: np.ndarray) -> float:
    """The disagreement of networks on a case: 1 − the mean Dice of each two of their masks `[networks, ...]`.

    It is 0 where all are alike, and 1 at most; two empty masks are alike.
    """
    pairs = itertools.combinations(masks.reshape(len(masks), -1), 2)
    return 1 - float(np.mean([dice(*overlap(a[None], b[None]))[0] for a, b in pairs]))


def of_file(path: str | PathLike[str], form: str = "fused") -> Segmenter | Ensemble:
    """The network of a run file, or the networks of an ensemble."""
    return Ensemble(path, form) if ensemble.is_ensemble(path) else Segmenter(path, form)


@dataclass(frozen=True)
class Model:
    """A trained network as a function from images `[N, H, W]` float32 of its data set's grid to {'mask',
    'probability'}, each `[N, H, W]`, and of an ensemble to what it gives beside them.

    Attributes:
      segment: the function.
      preparation: what brings an image to that grid and a mask back.
      slab: of a network of volumes, how many slices it sees at once; None of one of images.
      structure: what its masks show.
    """

    segment: Callable[[Any], dict[str, tf.Tensor]]
    preparation: Preparation
    slab: int | None = None
    structure: str = ""

    def __call__(self, images: Any) -> dict[str, tf.Tensor]:
        """The function's value."""
        return self.segment(images)


def load(path: str | PathLike[str]) -> Model:
    """The model of a run file, an ensemble, an exported model's folder, or the name of a network that comes with the
    package; it warns of a network that collapsed.

    Raises:
      InputError: it is none of these.
    """
    path = located(path)
    if path.is_dir():
        try:
            if not (path / "saved_model.pb").is_file():
                raise FileNotFoundError("it holds no saved_model.pb")
            model = tf.saved_model.load(str(path))
            model.segment  # noqa: B018  asked for here, so that a foreign model is refused at once
            about = json.loads((path / "about.json").read_text(encoding="utf-8"))
            preparation = Preparation.from_json(json.dumps(about.get("preparation", {})))
            status = about.get("status", "complete")
            first = (about.get("networks") or [about])[0]
            slab, structure = first.get("protocol", {}).get("slab"), first.get("structure", "")
        except Exception as error:  # the loader raises all kinds for a damaged model
            raise InputError(f"{path}: not an exported model ({one_line(error)}); give a run file or a "
                             "folder that `ilnrepro export` made") from error
        _warn_of_collapse(path, status)
    else:
        model = of_file(path)
        preparation, slab, structure = model.preparation, model.slab, model.structure
    # The function holds the model, whose own functions would let it go.
    return Model(lambda images: model.segment(images), preparation, slab, structure)


def _warn_of_collapse(path, status):
    if status == "collapsed":
        warnings.warn(f"{path}: a network that collapsed: it found next to nothing of the structure in its own test, "
                      "or marked next to everything; take another run", stacklevel=3)


def for_export(path: str | PathLike[str]) -> Segmenter | Ensemble:
    """The networks of a file in plain TensorFlow operations.

    Raises:
      InputError: as `load`, or networks of volumes, whose dilated convolutions TensorFlow does not restore.
    """
    model = of_file(located(path), form="plain")
    if model.slab:
        raise InputError(f"{path}: a network of volumes, and those of images alone are exported; use it with "
                         "`ilnrepro predict`")
    return model


def export(path: str | PathLike[str], folder: str | PathLike[str]) -> None:
    """Writes the network of a run file, or those of an ensemble, as a TensorFlow SavedModel that needs nothing of this
    package to serve.

    Its graph holds plain TensorFlow operations only; the signature 'serving_default' takes `images` `[N, H, W]` float32
    as files hold them, where they are to be resampled a pixel's `spacing` too, and gives `mask` and `probability` of
    the same size. `segment` takes images of the data set's grid, which `about.json` describes.

    Raises:
      InputError: the run file holds no weights, or the folder is there already or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there already and not an empty folder; choose another folder")
    segmenter = for_export(path)
    about = json.dumps(segmenter.about, indent=1)
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
    """Masks uint8 `[n, H, W]` of images `[n, H, W]`, as `all_in_batches`."""
    return all_in_batches(segment, images, batch, progress)["mask"]


def all_in_batches(segment: Callable[[Any], dict[str, tf.Tensor]], images: np.ndarray, batch: int = 8,
                   progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, np.ndarray]:
    """The outputs of `segment` for images `[n, H, W]`, a batch at a time; `progress` gets the numbers (done, all).
    """
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(images), batch):
        for name, values in segment(tf.constant(np.asarray(images[start:start + batch], np.float32))).items():
            parts.setdefault(name, []).append(values.numpy())
        progress(min(start + batch, len(images)), len(images))
    return {name: np.concatenate(values) for name, values in parts.items()}
