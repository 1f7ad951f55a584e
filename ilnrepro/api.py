"""The public interface: what `import ilnrepro` offers, and what the command line goes through. See docs/python.md."""

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
    """How masks score against the truth.

    Attributes:
      dice: of each image or volume, `[n]`; 1 where both masks are empty.
      mean: over subjects of each one's mean; low, high: of its 95 % interval over subjects, NaN for one subject.
      subjects: how many.
    """

    dice: np.ndarray
    mean: float
    low: float
    high: float
    subjects: int


class Segmentation(NamedTuple):
    """What a trained network, or an ensemble of them, makes of images.

    Attributes:
      mask: uint8 of the images' shape, 1 inside the structure.
      probability: of the structure, float32; of an ensemble the mean of its networks'.
      uncertainty: the standard deviation of the probability over the networks of an ensemble; None of one network.
      disagreement: 1 − the mean Dice of each two networks' masks of all these images together; None of one network.
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
    """A trained network for use, on arrays of any size and intensity.

    Args:
      model: a run file that kept its weights, a file of `train` or `ensemble`, an exported model, or the name of a
        network that comes with the package.

    Raises:
      InputError: none of them.
    """

    def __init__(self, model: File) -> None:
        from ilnrepro.use import segmenter

        self._segment = segmenter.load(model)

    def __call__(self, images: np.ndarray, spacing: tuple[float, float] | None = None, batch: int = 8) -> Segmentation:
        """Segments one image `[H, W]`, or images or the slices of a volume `[n, H, W]`, so many at a time.

        Images are prepared as those of the network's data set were, and what is found is brought back to their grid.

        Args:
          spacing: mm of a pixel's (height, width), which a network wants whose data were resampled.

        Raises:
          InputError: another shape, numbers that are not finite, or a spacing that is wanted and not given.
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
    """A data set from arrays, checked; `write_data` makes it the file that `compare` and `train` take.

    Args:
      images: uint8 or float32 `[n, H, W]`, or volumes `[n, D, H, W]`, one grey channel of any intensity.
      masks: of the same shape, 1 inside the structure and 0 elsewhere.
      subject: the person of each image, who lies in one fold only.
      structure: what the masks show.
      fold: the subject's group of each image, from 1; None deals the subjects out by chance.
      folds, seed: their number, and of that chance.
      name: a unique name of each image; None makes them of the subjects.
      spacing: mm of a pixel's sides, (row, column), of volumes (slice, row, column), where it is known.

    Raises:
      InputError: what was given is not sound; says what.
    """
    people = np.asarray(subject, str)
    if fold is None:
        order = np.random.default_rng(seed).permutation(np.unique(people)).tolist()
        fold = [1 + order.index(one) % folds for one in people.tolist()]
    if name is None:
        name = [f"{one} {people[:i].tolist().count(one) + 1}" for i, one in enumerate(people.tolist())]
    further = {} if spacing is None else {"spacing": np.tile(np.asarray(spacing, float), (len(people), 1))}
    kind = np.uint8 if np.asarray(images).dtype == np.uint8 else np.float32
    made = dataset.DataSet(np.asarray(images, kind), np.asarray(masks).astype(np.uint8), people, np.asarray(name, str),
                           np.asarray(fold, int), title or structure, structure, "", "", "", False, further)
    dataset.check(made, "data_set")
    return made


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
      subject: of each mask; None takes each for another person.

    Raises:
      InputError: shapes that differ.
    """
    from scipy.special import stdtrit

    from ilnrepro.ops.metrics import dice, overlap

    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim < 2 or (subject is not None and len(subject) != len(truth)):
        raise InputError(f"scores: masks of shapes {truth.shape} and {predicted.shape}"
                         f"{'' if subject is None else f' and {len(subject)} subjects'} do not belong together")
    cases = dice(*overlap(truth, predicted))
    _, of_image = np.unique(np.arange(len(cases)) if subject is None else np.asarray(subject, str), return_inverse=True)
    means = np.bincount(of_image, cases) / np.bincount(of_image)
    n = len(means)
    half = float(stdtrit(n - 1, 0.975) * means.std(ddof=1) / n ** 0.5) if n > 1 else float("nan")
    return Scores(cases, float(means.mean()), float(means.mean()) - half, float(means.mean()) + half, n)


def compare(data: File, methods: Sequence[str], *, hours: float = 2.0, reference: str | None = None,
            results: File | None = None, rates: Sequence[float] = (), seeds: int | None = None, jobs: int | None = None,
            protocol: str | None = None, plugin: File | None = None, **changes: Any) -> Findings:
    """Compares methods on a data set file, within a budget; returns the findings, and writes them as a page.

    What is done is planned from a timing before the first run, and written into the results folder. A comparison that
    was interrupted goes on by that plan when called again. Runs are processes of their own.

    Args:
      data: the data set file.
      methods: two or more of `ilnrepro.norms.METHODS`.
      hours: the budget.
      reference: that differences are shown against; None takes the best.
      results: folder for the runs and the page; None makes one beside the data set, named after it.
      rates: learning rates to try; none leaves them to the plan, as None does the number of seeds.
      jobs: runs side by side; None takes as many as there are cores for.
      protocol: a name of `ilnrepro.protocols.PROTOCOLS`; None takes one that suits the data.
      plugin: a file that registers methods, see `ilnrepro.norms.register`.
      changes: what differs from the protocol's defaults, by field.

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

    Call it before anything else in the process uses TensorFlow, which sets its threads once.

    Args:
      data: the data set file.
      method: of `ilnrepro.norms.METHODS`.
      output: the file to write (.h5); a training that was interrupted goes on beside it.
      rate: initial learning rate; None takes the best of a comparison in `results`, or the first that one would try.
      protocol: a name of `ilnrepro.protocols.PROTOCOLS`; None takes the comparison's, or one that suits the data.
      results: folder with runs of the same method, rate and protocol on each fold, from which its Dice is expected;
        None takes that of a comparison beside the data set.
      plugin: a file that registers methods, see `ilnrepro.norms.register`.
      progress: called with (steps done, steps in all).
      stop: asked now and then whether to save the state and raise `ilnrepro.training.loop.Stopped`.
      changes: what differs from the protocol's defaults, by field.

    Raises:
      InputError: what was given does not fit, or `output` cannot be written or holds another network.
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
    """The folder of a data set's comparison, where no other is given: beside it, named after it."""
    return Path(data).with_name(f"{Path(data).stem}-comparison")


def ensemble(runs: Sequence[File], output: File) -> Path:
    """Puts the trained networks of several run files into one file, for use as one: their probabilities are averaged.

    Raises:
      InputError: fewer than two, one twice, one without weights, or networks of different methods, data or protocols.
    """
    ensembles.write(output, runs)
    return Path(output)


def export(model: File, output: File) -> Path:
    """Writes a trained network, or an ensemble, for use without this package: as a TensorFlow SavedModel, a folder; or
    where the name ends in .onnx, as an ONNX file, by tf2onnx (the extra `onnx`).

    Raises:
      InputError: a model without weights, or `output` is there already or cannot be written.
    """
    from ilnrepro.use import onnx_export, segmenter

    (onnx_export if Path(output).suffix == ".onnx" else segmenter).export(model, output)
    return Path(output)
