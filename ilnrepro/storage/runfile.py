"""Run files: the whole outcome of a run, in one HDF5 file that explains itself."""

import json
import math
import warnings
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilnrepro.errors import DamagedError, InputError
from ilnrepro.ops.losses import LOSSES
from ilnrepro.ops.metrics import dice
from ilnrepro.preparation import Preparation
from ilnrepro.protocols import PROTOCOL_VERSION, WHOLE, Configuration
from ilnrepro.storage import hdf5

COLLAPSED = 0.05  # mean Dice below which a run counts as collapsed


@dataclass
class Run:
    """The outcome of one run.

    Attributes:
      configuration: its `Configuration`.
      title, synthetic: of the data set.
      loss, rate: at every step, `[steps]`.
      gate_step: the steps after which gates were recorded, `[records]`.
      rho: ρ of the gates, `[records, layers, numbers]`, see `Training.gates`.
      gate: the share of the first map, `[records, layers]`.
      layers, channels: names and channels of the layers with a gate.
      parameters: number of trainable parameters.
      test: {name: array with an entry for each test image}, with name, subject, index (in the data set), truth_pixels,
        predicted_pixels, common_pixels; whole_truth_pixels, whole_predicted_pixels, whole_common_pixels, the same at
        the data set's own resolution; hd95 and assd where `surface-distance` is installed; hd95_mm and assd_mm, at the
        own resolution, where the data set's spacing is known too; site where it is known. It is empty for a run that
        diverged or that trained on all subjects. Older files lack whole_* and *_mm.
      masks: predicted masks uint8 `[n, H, W]`, or `[n, D, H, W]` of volumes.
      examples: indices (into `test`) of eight test images drawn at random.
      example_truth: their true masks, so that figure 2 needs no data set; none where the data set's licence forbids to
        pass them on.
      preparation: of the data set.
      weights: {name: final variable}, where they are kept.
      expected: for a run that trained on all subjects, the Dice to expect of it, see `studies.models.expected_dice`.
      provenance, timing: what may differ between two identical runs.
    """

    configuration: Configuration
    title: str
    synthetic: bool
    loss: np.ndarray
    rate: np.ndarray
    gate_step: np.ndarray
    rho: np.ndarray
    gate: np.ndarray
    layers: list[str]
    channels: list[int]
    parameters: int
    test: dict[str, np.ndarray]
    masks: np.ndarray
    examples: np.ndarray
    example_truth: np.ndarray
    preparation: Preparation = Preparation()
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    versions: tuple[int] = (PROTOCOL_VERSION,)

    @property
    def status(self) -> str:
        """'diverged', 'collapsed' or 'complete'.

        diverged: a loss was not finite; training stopped there, and there is no test. collapsed: the network marks next
        to nothing, or next to everything: its mean Dice on the test images that show the structure is below 0.05,
        which a network that has learned anything exceeds many times. complete: any other run.

        The status follows from the scores alone, whatever an earlier version wrote into the file.
        """
        if not self.test:
            return "complete" if self.configuration.fold == WHOLE and np.isfinite(self.loss).all() else "diverged"
        shows_structure = self.test["truth_pixels"] > 0
        return "collapsed" if shows_structure.any() and self.dice[shows_structure].mean() < COLLAPSED else "complete"

    @property
    def dice(self) -> np.ndarray:
        """DSC of each test image, `[n]`."""
        return dice(*(self.test[key] for key in ("truth_pixels", "predicted_pixels", "common_pixels")))

    @property
    def both_empty(self) -> int:
        """Number of test images whose true and predicted masks are both empty (their DSC counts as 1)."""
        return int(np.sum((self.test["truth_pixels"] == 0) & (self.test["predicted_pixels"] == 0)))


_MEANINGS = {
    "curves/rate": ("learning rate", "1", ("step",)),
    "gates/step": ("number of steps taken when the gates were read", "1", ("record",)),
    "gates/rho": ("trainable gate parameters ρ; where each channel has one, the least, the quartiles and the greatest "
                  "of the layer", "1", ("record", "layer", "number")),
    "gates/gate": ("share of the first normalization in the mix", "1", ("record", "layer")),
    "gates/layer": ("normalized layer", "", ("layer",)),
    "gates/channels": ("channels of the layer", "1", ("layer",)),
    "test/name": ("name of the test image", "", ("case",)),
    "test/subject": ("subject of the test image", "", ("case",)),
    "test/index": ("position of the test image in the data set", "1", ("case",)),
    "test/truth_pixels": ("pixels of the true mask", "pixel", ("case",)),
    "test/predicted_pixels": ("pixels of the predicted mask", "pixel", ("case",)),
    "test/common_pixels": ("pixels in both masks", "pixel", ("case",)),
    **{f"test/whole_{key}_pixels": (f"{meaning}, at the data set's own resolution (predicted masks enlarged)", "pixel",
                                    ("case",))
       for key, meaning in (("truth", "pixels of the true mask"), ("predicted", "pixels of the predicted mask"),
                            ("common", "pixels in both masks"))},
    "test/dice": ("Dice similarity coefficient; 1 where both masks are empty", "1", ("case",)),
    "test/hd95": ("95 % Hausdorff distance; the image's diagonal where one mask is empty", "pixel", ("case",)),
    "test/assd": ("average symmetric surface distance; the image's diagonal where one mask is empty", "pixel",
                  ("case",)),
    "test/hd95_mm": ("95 % Hausdorff distance at the data set's own resolution; the image's diagonal where one mask is "
                     "empty", "mm", ("case",)),
    "test/assd_mm": ("average symmetric surface distance at the data set's own resolution; the image's diagonal where "
                     "one mask is empty", "mm", ("case",)),
    "test/site": ("site of the test image", "", ("case",)),
    "test/masks": ("predicted masks, eight pixels a byte in row-major order, most significant bit first; "
                   "attribute 'shape' is that of one mask", "", ("case", "byte")),
    "examples/case": ("test cases drawn at random to be shown", "1", ("example",)),
    "examples/truth": ("their true masks, packed as test/masks; none where the data set's licence forbids to pass "
                       "them on", "", ("example", "byte")),
}


def write(path: str | PathLike[str], run: Run) -> None:
    """Writes a run to `path`, whole or not at all. Raises InputError where the folder cannot be written."""
    configuration = run.configuration
    with hdf5.writing(path) as file:
        file.attrs.update(kind="run", status=run.status, title=run.title, synthetic=bool(run.synthetic),
                          parameters=run.parameters, configuration=configuration.json,
                          configuration_hash=configuration.hash, preparation=run.preparation.json)
        settings = configuration.as_dict()
        protocol = settings.pop("protocol")
        protocol["protocol"] = protocol.pop("name")
        readable = file.create_group("configuration").attrs
        for key, value in {"protocol_version": PROTOCOL_VERSION, **settings, **protocol,
                           "angles": configuration.angles}.items():
            readable[key] = "not set" if value is None else value
        contents = {"curves/loss": run.loss, "curves/rate": run.rate}
        if run.layers:
            contents |= {"gates/step": run.gate_step, "gates/rho": run.rho, "gates/gate": run.gate,
                         "gates/layer": run.layers, "gates/channels": np.asarray(run.channels)}
        if len(run.test):
            contents |= {f"test/{key}": values for key, values in run.test.items()}
            contents |= {"test/dice": run.dice, "test/masks": _pack(run.masks),
                         "examples/case": run.examples, "examples/truth": _pack(run.example_truth)}
        loss = LOSSES[configuration.protocol.loss]
        meanings = _MEANINGS | {"curves/loss": (loss.meaning, loss.unit, ("step",))}
        for key, values in contents.items():
            _store(file, key, values, *meanings[key])
        if len(run.test):
            file["test/masks"].attrs["shape"] = file["examples/truth"].attrs["shape"] = run.masks.shape[1:]
            file["test"].attrs["both_empty"] = run.both_empty
        for name, values in run.weights.items():
            file.create_dataset(f"weights/{name}", data=values)
        if run.expected:
            file.create_group("expected").attrs.update(run.expected)
        file.create_group("provenance").attrs.update(run.provenance)
        file.create_group("timing").attrs.update(run.timing)
        file["timing"].attrs["unit"] = "s"


def _store(file, key, values, meaning, unit, axes):
    values = np.asarray(values)
    if values.dtype.kind == "U":
        stored = file.create_dataset(key, data=values.astype(object))
    else:
        packing = {"compression": "gzip", "compression_opts": 9, "shuffle": values.itemsize > 1} if values.size else {}
        stored = file.create_dataset(key, data=values, **packing)
    stored.attrs.update(meaning=meaning, **({"unit": unit} if unit else {}))
    for axis, label in enumerate(axes):
        stored.dims[axis].label = label


def read(path: str | PathLike[str]) -> Run:
    """Reads and checks the run file `path`. Raises InputError if it is missing, damaged or of another kind."""
    with hdf5.reading(path, "run") as file:
        try:
            return read_group(file)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: made by another version of this program ({error}); run it again") from error


def read_group(file: h5py.Group) -> Run:
    """The run in an open file, or in a group of one."""
    def values(key, empty=()):
        if key not in file:
            return np.array(empty)
        stored = file[key]
        return stored.asstr()[()].astype(str) if h5py.check_string_dtype(stored.dtype) else stored[()]

    configuration, version = Configuration.from_json(file.attrs["configuration"])
    test, masks, truth = {}, np.zeros([0, 0, 0], np.uint8), np.zeros([0, 0, 0], np.uint8)
    if "test" in file:
        test = {key: values(f"test/{key}") for key in file["test"] if key not in ("masks", "dice")}
        masks = _unpack(file["test/masks"])
        truth = _unpack(file["examples/truth"])
    preparation = Preparation()
    if "preparation" in file.attrs:
        preparation = Preparation.from_json(file.attrs["preparation"])
    elif test:  # a file of an earlier version, which tells no more
        preparation = Preparation(tuple(side * configuration.protocol.shrink for side in masks.shape[-2:]))
    return Run(configuration=configuration, versions=(version,), preparation=preparation,
               title=file.attrs["title"], synthetic=bool(file.attrs["synthetic"]),
               parameters=int(file.attrs["parameters"]), loss=values("curves/loss"), rate=values("curves/rate"),
               gate_step=values("gates/step"), rho=values("gates/rho"), gate=values("gates/gate"),
               layers=list(values("gates/layer")), channels=list(values("gates/channels")), test=test, masks=masks,
               examples=values("examples/case", np.zeros(0, int)), example_truth=truth, weights=weights(file),
               expected=dict(file["expected"].attrs) if "expected" in file else {},
               provenance=dict(file["provenance"].attrs), timing=dict(file["timing"].attrs))


def weights(file: h5py.Group) -> dict[str, np.ndarray]:
    """{name: final variable} of a run in an open file, or in a group of one, those stored as float16 as float32."""
    found: dict[str, np.ndarray] = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].astype(np.float32) if item.dtype == np.float16 else item[()]

    if "weights" in file:
        file["weights"].visititems(add)
    return found


def _pack(masks):
    return np.packbits(masks.reshape(len(masks), math.prod(masks.shape[1:])), axis=1)


def _unpack(stored):
    shape = tuple(stored.attrs["shape"])
    bits = np.unpackbits(stored[()], axis=1, count=int(np.prod(shape)))
    return bits.reshape(-1, *shape)


def is_done(path: Path, configuration: Configuration, weights: bool = False) -> bool:
    """Whether `path` holds the finished run of exactly this configuration, with its weights if `weights`.

    A damaged file counts as not done, and so does one that lacks wanted weights: doing the run again replaces it.

    Raises:
      InputError: it holds a run of another configuration or version, or cannot be read.
    """
    if not path.exists():
        return False
    try:
        with hdf5.reading(path, "run") as file:
            if file.attrs["configuration_hash"] == configuration.hash:
                return "weights" in file or not weights
            stored, version = Configuration.from_json(file.attrs["configuration"])
    except DamagedError as error:
        warnings.warn(f"{error}: its run is done again", stacklevel=2)
        return False
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: made by another version of this program ({error}); move it away") from error
    stored = {"protocol_version": version, **stored.as_dict()}
    wanted = {"protocol_version": PROTOCOL_VERSION, **configuration.as_dict()}
    differing = [f"{key} {a!r} instead of {b!r}" for key, a, b in _differences(stored, wanted)]
    raise InputError(f"{path}: holds a run of another configuration ({'; '.join(differing)}); "
                     "move it away or choose another results folder")


def _differences(stored, wanted, prefix=""):
    for key in sorted({*stored, *wanted}):
        a, b = stored.get(key), wanted.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}", a, b
