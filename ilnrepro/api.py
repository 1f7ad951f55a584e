"""The public interface, which `import ilnrepro` offers and the command line uses. See docs/python.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ilnrepro import norms
from ilnrepro.errors import InputError
from ilnrepro.norms import plugins
from ilnrepro.storage import dataset
from ilnrepro.storage import ensemble as ensembles

if TYPE_CHECKING:
    from ilnrepro.studies.words import Findings

File = str | PathLike[str]


class Scores(NamedTuple):
    """The scores of masks against the truth.

    Attributes:
      dice: of each image or volume, `[n]`; 1 where both masks are empty.
      mean: mean over subjects of a subject's mean.
      low, high: ends of its 95 % interval over subjects; NaN for one subject.
      subjects: their number.
    """

    dice: np.ndarray
    mean: float
    low: float
    high: float
    subjects: int


class Segmentation(NamedTuple):
    """The segmentation of images by a trained network or an ensemble.

    Attributes:
      mask: uint8 of the images' shape, 1 inside the structure.
      probability: of the structure, float32; for an ensemble the mean over its networks.
      uncertainty: standard deviation of the probability over the networks of an ensemble; None for one network.
      disagreement: 1 − the mean Dice of each two networks' masks, all images together; None for one network.
    """

    mask: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray | None
    disagreement: float | None


class LabelMap(NamedTuple):
    """What trained networks of several structures make of images together.

    Attributes:
      labels: uint8 of the images' shape, 0 where no structure is, and `1 + structures.index(name)` inside one.
      structures: their names, in the order of the networks.
      contested: bool of the images' shape, where several networks claimed a pixel; it went to the most probable of
        these structures, of equal ones to the first.
      probability: of each structure by its name, float32 of the images' shape.
      uncertainty: the same of the networks that are ensembles, see `Segmentation`.
    """

    labels: np.ndarray
    structures: tuple[str, ...]
    contested: np.ndarray
    probability: dict[str, np.ndarray]
    uncertainty: dict[str, np.ndarray]


class Segmenter:
    """A trained network for use on arrays of any size and intensity.

    Args:
      model: a run file that kept its weights, a file of `train` or `ensemble`, an exported model, or the name of a
        network that comes with the package.

    Raises:
      InputError: `model` is none of these.
    """

    def __init__(self, model: File) -> None:
        from ilnrepro.use import segmenter

        self._segment = segmenter.load(model)

    def __call__(self, images: np.ndarray, spacing: tuple[float, float] | None = None, batch: int = 8) -> Segmentation:
        """Segments one image `[H, W]`, or images or slices of a volume `[n, H, W]`.

        Images are prepared like those of the network's data set, and the result is brought back to their own grid.

        Args:
          spacing: mm of a pixel's (height, width), which a network needs whose data were resampled.
          batch: number of images at a time.

        Raises:
          InputError: another shape, numbers that are not finite, or a missing spacing.
        """
        from ilnrepro.use import segmenter

        outputs = _outputs(self._segment, images, spacing, batch)
        each = segmenter.own_masks(outputs)
        return Segmentation(outputs["mask"], outputs["probability"], outputs.get("uncertainty"),
                            None if each is None else segmenter.disagreement(each))


class Structures:
    """Trained networks, one a structure, that make one label map together.

    Args:
      models: each as `Segmenter` takes it; the structure of the first has the label 1, of the second 2, and so on.

    Raises:
      InputError: as `Segmenter`; one network twice, two of the same structure, or of images one and of volumes another.
    """

    def __init__(self, models: Sequence[File]) -> None:
        from ilnrepro.use import structures

        self._segment = structures.load_together(models)

    def __call__(self, images: np.ndarray, spacing: tuple[float, float] | None = None, batch: int = 8) -> LabelMap:
        """Segments images as a `Segmenter` does, each network in the grid of its own data; the label map is made in the
        images' grid.

        Args, raises: as `Segmenter`.
        """
        outputs, names = _outputs(self._segment, images, spacing, batch), self._segment.names
        by_name = {key: {name: outputs[f"{key}-{name}"] for name in names if f"{key}-{name}" in outputs}
                   for key in ("probability", "uncertainty")}
        return LabelMap(outputs["mask"], names, outputs["contested"], **by_name)


def _outputs(segment, images, spacing, batch):
    """What a loaded network, or several, give for images, all of their shape but for an ensemble's own masks."""
    from ilnrepro.use import prediction

    images = np.asarray(images)
    if images.ndim not in (2, 3) or not images.size:
        raise InputError(f"images: shape {images.shape} is neither [H, W] nor [n, H, W]")
    if not np.isfinite(images).all():
        raise InputError("images: NaN or infinite grey levels; repair them or leave them out")
    slices = images.reshape(-1, *images.shape[-2:])
    outputs = prediction.outputs_of(segment, slices, [spacing] * len(slices), "images", batch)
    return {name: values.reshape(images.shape) for name, values in outputs.items()}


def data_set(images: np.ndarray, masks: np.ndarray, subject: Sequence[str], *, structure: str, title: str = "",
             fold: Sequence[int] | None = None, folds: int = 3, seed: int = 0, name: Sequence[str] | None = None,
             spacing: Sequence[float] | None = None) -> dataset.DataSet:
    """A data set from arrays, checked. `write_data` writes the file that `compare` and `train` take.

    Args:
      images: uint8 or float32 `[n, H, W]`, or volumes `[n, D, H, W]`, one grey channel of any intensity.
      masks: of the same shape, 1 inside the structure and 0 elsewhere.
      subject: the person of each image.
      structure: what the masks show.
      fold: fold of each image, from 1, the same for all images of a subject; None draws the subjects' folds at random.
      folds, seed: number of folds, and seed of the draw.
      name: a unique name of each image; None makes names from the subjects.
      spacing: mm of a pixel's sides (row, column), or of a voxel's (slice, row, column), where they are known.

    Raises:
      InputError: an argument is not sound; the message says which.
    """
    people = np.asarray(subject, str)
    if fold is None:
        order = np.random.default_rng(seed).permutation(np.unique(people)).tolist()
        fold = [1 + order.index(one) % folds for one in people.tolist()]
    if name is None:
        name = [f"{one} {people[:i].tolist().count(one) + 1}" for i, one in enumerate(people.tolist())]
    optional = {} if spacing is None else {"spacing": np.tile(np.asarray(spacing, float), (len(people), 1))}
    kind = np.uint8 if np.asarray(images).dtype == np.uint8 else np.float32
    data = dataset.DataSet(np.asarray(images, kind), np.asarray(masks).astype(np.uint8), people, np.asarray(name, str),
                           np.asarray(fold, int), title or structure, structure, "", "", "", False, optional)
    dataset.check(data, "data_set")
    return data


def write_data(path: File, data: dataset.DataSet) -> Path:
    """Writes a data set to a file, whole or not at all."""
    dataset.write(path, data)
    return Path(path)


def read_data(path: File) -> dataset.DataSet:
    """Reads and checks a data set file."""
    return dataset.read(path)


def scores(truth: np.ndarray, predicted: np.ndarray, subject: Sequence[str] | None = None) -> Scores:
    """Dice of masks `[n, ...]` against the truth, and its mean over subjects with a 95 % t interval over them.

    Args:
      subject: the person of each mask; None takes each mask for another person.

    Raises:
      InputError: the shapes differ.
    """
    from scipy.special import stdtrit

    from ilnrepro.ops.metrics import dice, overlap

    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim < 2 or (subject is not None and len(subject) != len(truth)):
        raise InputError(f"scores: masks of shapes {truth.shape} and {predicted.shape}"
                         f"{'' if subject is None else f' and {len(subject)} subjects'} do not belong together")
    cases = dice(*overlap(truth, predicted))
    _, index = np.unique(np.arange(len(cases)) if subject is None else np.asarray(subject, str), return_inverse=True)
    means = np.bincount(index, cases) / np.bincount(index)
    n = len(means)
    half = float(stdtrit(n - 1, 0.975) * means.std(ddof=1) / n ** 0.5) if n > 1 else float("nan")
    return Scores(cases, float(means.mean()), float(means.mean()) - half, float(means.mean()) + half, n)


def compare(data: File, methods: Sequence[str], *, hours: float = 2.0, reference: str | None = None,
            results: File | None = None, rates: Sequence[float] = (), seeds: int | None = None, jobs: int | None = None,
            protocol: str | None = None, plugin: File | None = None, **changes: Any) -> Findings:
    """Compares methods on a data set file within a budget of time; returns the findings, and writes them as a page.

    Before the first run, a plan is made from a timing and written into the results folder. An interrupted comparison
    goes on by that plan when it is called again. Each run is a process of its own.

    Args:
      data: the data set file.
      methods: two or more of `ilnrepro.norms.METHODS`.
      hours: the budget.
      reference: the method that differences are shown against; None takes the best.
      results: folder for the runs and the page; None makes one beside the data set, named after it.
      rates: learning rates to try; () leaves them to the plan.
      seeds: their number; None leaves it to the plan.
      jobs: number of runs side by side; None takes as many as the cores have room for.
      protocol: a name of `ilnrepro.protocols.PROTOCOLS`; None takes one that suits the data.
      plugin: a file that registers methods, see `ilnrepro.norms.register`.
      changes: fields of the protocol that differ from its defaults.

    Raises:
      InputError: data, methods or budget do not fit, the results folder holds another comparison, or runs failed.
    """
    from ilnrepro.studies import comparing

    checksum, options = "", ()
    if plugin:
        checksum, options = plugins.load(plugin), ("--plugin", str(plugin))
    data = Path(data)
    folder = Path(results) if results else comparison_of(data)
    request = comparing.Request(tuple(methods), hours, tuple(rates), seeds, jobs, protocol, changes, options, checksum)
    return comparing.compare(data, folder, request, reference)


def train(data: File, method: str, output: File, rate: float | None = None, *, protocol: str | None = None,
          seed: int = 0, results: File | None = None, plugin: File | None = None,
          progress: Callable[[int, int], None] = lambda done, total: None,
          stop: Callable[[], bool] = lambda: False, **changes: Any) -> Path:
    """Trains on all subjects of a data set file and writes a network for use; returns its path.

    Call it before anything else in the process uses TensorFlow, whose threads can be set only once.

    Args:
      data: the data set file.
      method: of `ilnrepro.norms.METHODS`.
      output: the file to write (.h5); checkpoints for an interrupted training lie beside it.
      rate: initial learning rate; None takes the best of a comparison in `results`, or the first of the defaults.
      protocol: a name of `ilnrepro.protocols.PROTOCOLS`; None takes the comparison's, or one that suits the data.
      results: folder with runs of the same method, rate and protocol on each fold, by which its Dice is estimated;
        None takes the folder of a comparison beside the data set.
      plugin: a file that registers methods, see `ilnrepro.norms.register`.
      progress: called with (steps done, steps in all).
      stop: called now and then; where it returns True, the state is saved and `training.loop.Stopped` is raised.
      changes: fields of the protocol that differ from its defaults.

    Raises:
      InputError: the arguments do not fit together, or `output` cannot be written or holds another network.
    """
    from ilnrepro.studies import answer, comparing, defaults, models, planning

    if plugin:
        plugins.load(plugin)
    norms.method(method)
    source, folder = dataset.read(data), Path(results) if results else comparison_of(data)
    plan = planning.read(folder)
    if plan and not protocol and not changes and (plan.checksum, method in plan.methods) == (source.checksum, True):
        training = plan.training
        rate = rate or answer.best_rate(comparing.records_of(folder, plan, [method]))
    else:
        training = defaults.suitable_protocol(source, protocol, **changes)
    rate = rate or defaults.default_rates(training)[0]
    return models.train(data, method, rate, output, training, seed, folder if results or plan else None, progress, stop)


def comparison_of(data: File) -> Path:
    """The default folder of a data set's comparison: beside the data set, and named after it."""
    return Path(data).with_name(f"{Path(data).stem}-comparison")


def ensemble(runs: Sequence[File], output: File, half: bool = False) -> Path:
    """Writes an ensemble of the networks of several run files, whose probabilities are averaged; returns its path.

    Args:
      half: whether weights are stored as float16, in half the space; they are read as float32 again.

    Raises:
      InputError: there are fewer than two, one twice, one without weights, or networks of different methods, data or
        protocols; a weight is beyond float16's range.
    """
    ensembles.write(output, runs, half)
    return Path(output)


def export(model: File, output: File) -> Path:
    """Writes a trained network, or an ensemble, for use without this package; returns its path.

    It is a TensorFlow SavedModel, a folder; or where the name ends in .onnx, an ONNX file by tf2onnx (extra `onnx`).

    Raises:
      InputError: the model has no weights, or `output` exists already or cannot be written.
    """
    from ilnrepro.use import onnx_export, segmenter

    (onnx_export if Path(output).suffix == ".onnx" else segmenter).export(model, output)
    return Path(output)
