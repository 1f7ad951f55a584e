"""Protocols: how a network is trained and tested, with the source of each number. Configurations of single runs."""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ilnrepro.errors import InputError
from ilnrepro.networks import NETWORKS
from ilnrepro.norms import FORMS, Settings, method
from ilnrepro.norms.kernels import CHOICES as KERNELS
from ilnrepro.ops.losses import LOSSES
from ilnrepro.ops.optimizers import OPTIMIZERS

# It is raised by hand when a change alters the numbers of runs on purpose; older run files are then stale.
PROTOCOL_VERSION = 1
# The fold of a run that trains on all subjects and tests on none; the folds of a data set are numbered from 1.
WHOLE = 0


def format_number(number: float) -> str:
    """The text of a number: in six digits where these are exact, else in as many as it needs. Paths have it too."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


@dataclass(frozen=True)
class Protocol:
    """The settings of a run beside its data, method, fold, rate and seed.

    The defaults are the paper's (Zhou et al., MMMI 2019); docs/iln.md lists what it leaves open, under "What differs
    from the paper".

    The protocols named kolarik are those of Kolarik, Burget and Riha 2020; docs/kolarik.md lists the same for them.

    Attributes:
      name: of the protocol.
      shrink: side of the squares over which stretched images are averaged; masks are 1 where their average is ≥ 0.5.
      angles: rotations of the training images in degrees, by structure (paper, section 2.2).
      epochs: number of passes over all (image, angle) pairs (paper: 2).
      steps_per_epoch: largest number of steps of an epoch; None takes all pairs.
      rate_divisor: divisor of the learning rate at each epoch after the first (paper: 5).
      momentum: of SGD (paper: 0.9).
      batch: images a step (not in the paper; 1 in the authors' code for both papers that it follows).
      epsilon, group_divisor, rho, frozen_gate, batch_statistics, moving_decay, renorm_steps: see `norms.Settings`.
      initializer: of the weights, see the network.
      form: 'fused' or 'reference' normalization layers.
      kernels: 'auto', 'native' or 'tensorflow'.
      xla: 'on' compiles the training step with XLA, 'auto' where there is a GPU, 'off' never.
      threads: CPU threads of a run; it changes the last bits.
      block: number of steps between two records of the gates.
      network: a name of `networks.NETWORKS`.
      pools: number of its max-pools (paper: 4).
      loss: a name of `losses.LOSSES`.
      optimizer: a name of `optimizers.OPTIMIZERS`.
      slab: number of slices of the slabs that volumes are cut into, see `slabs`; None for images.
      threshold: probability above which a pixel belongs to the structure.
      class_mask, mask_resizing: of a network that takes two steps a batch, see `dualnorm_unet`; '' for others.
      clip: bound of each element of the gradients of a batch's second step; None leaves them.
      site: the only site whose images train; '' for all.
      zoom: training images are enlarged by a random factor between 1/zoom and zoom, whose logarithm is uniform, in the
        resampling that rotates them; of volumes rows and columns. 1.4 is nnU-Net's range (0.7 to 1.4).
      gamma: their grey levels, from 0 to 1, are raised to a random power between 1/gamma and gamma, drawn likewise. 1.5
        is nnU-Net's range (0.7 to 1.5; Isensee et al. 2021).
    """

    name: str = "paper"
    shrink: int = 1
    angles: tuple[tuple[str, tuple[int, ...]], ...] = (("LV", tuple(range(-60, 61, 2))),
                                                       ("RV", tuple(range(-30, 31, 10))))
    epochs: int = 2
    steps_per_epoch: int | None = None
    rate_divisor: float = 5.0
    momentum: float = 0.9
    batch: int = 1
    epsilon: float = 1e-5
    group_divisor: str = "deviation"
    rho: float = 0.5
    frozen_gate: float | None = None
    batch_statistics: str = "moving"
    renorm_steps: int = 5000
    initializer: str = "root"
    form: str = "fused"
    kernels: str = "auto"
    xla: str = "auto"
    threads: int = 1
    block: int = 25
    network: str = "unet"
    loss: str = "cross-entropy"
    optimizer: str = "momentum"
    slab: int | None = None
    threshold: float = 0.5
    moving_decay: float = 0.99
    class_mask: str = ""
    mask_resizing: str = ""
    clip: float | None = None
    site: str = ""
    pools: int = 4
    zoom: float = 1.0
    gamma: float = 1.0

    @property
    def settings(self) -> Settings:
        """The settings of the normalization layers."""
        return Settings(**{f.name: getattr(self, f.name) for f in fields(Settings) if hasattr(self, f.name)})

    @property
    def variant(self) -> str:
        """The changes of the protocol's defaults as text in a run's path, as '+eps1e-12'; '' for none."""
        default = PROTOCOLS[self.name]
        parts = []
        for key, label in VARIANTS.items():
            value = getattr(self, key)
            if value != getattr(default, key):
                text = format_number(value) if isinstance(value, float) else str(value)
                parts.append(f"+{label}{text}")
        return "".join(parts)


# Kolarik et al. 2020, sections 3.2 (slabs, threshold), 3.3 (batch) and 3.4 (loss, epochs); it mentions no augmentation.
# Adam, which the rate of 5e-5 suggests, is in the authors' earlier code; ε is the default of Keras's batch and
# keras-contrib's instance normalization.
_KOLARIK = Protocol(name="kolarik", network="res-unet-3d", loss="bce-dice", optimizer="adam", slab=16,
                    threshold=128 / 255, angles=(("LV", (0,)),), epochs=30, rate_divisor=1.0, epsilon=1e-3,
                    initializer="glorot")

# Xiao et al. 2021, from the authors' public code: Adam at 1e-3, batch 4, a soft Dice loss, elements of the second
# step's gradients clipped at 0.1, PyTorch's batch normalization, 10 epochs of 900 batches, rotations among its
# augmentations.
_DUALNORM = Protocol(name="dualnorm", network="dualnorm-unet", class_mask="predicted", mask_resizing="bilinear",
                     clip=0.1, loss="dice", optimizer="adam", batch=4, epochs=10, steps_per_epoch=900, rate_divisor=1.0,
                     moving_decay=0.9, initializer="fan-in")

PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol(),
    "lite": Protocol(name="lite", shrink=2, block=50,
                     angles=(("LV", tuple(range(-60, 61, 20))), ("RV", tuple(range(-30, 31, 10))))),
    "quick": Protocol(name="quick", steps_per_epoch=250, block=10,
                      angles=(("LV", tuple(range(-60, 61, 20))), ("RV", tuple(range(-30, 31, 10))))),
    # For a test of everything, with seconds a run; networks learn nothing.
    "tiny": Protocol(name="tiny", steps_per_epoch=2, block=10, pools=2,
                     angles=(("LV", tuple(range(-60, 61, 20))), ("RV", tuple(range(-30, 31, 10))))),
    "kolarik": _KOLARIK,
    # The steps are so few that moving averages with a decay of 0.99 would stay near their start.
    "kolarik-quick": replace(_KOLARIK, name="kolarik-quick", epochs=8, block=8, moving_decay=0.9),
    "dualnorm": _DUALNORM,
    "dualnorm-quick": replace(_DUALNORM, name="dualnorm-quick", epochs=3, steps_per_epoch=100, block=5),
}

# {field of the protocol that a run may change: its label in the run's path}.
VARIANTS = {"batch": "batch", "epsilon": "eps", "group_divisor": "gn-", "rho": "rho", "frozen_gate": "gate",
            "batch_statistics": "bn-", "renorm_steps": "renorm", "initializer": "init-", "form": "", "kernels": "",
            "xla": "xla-", "threads": "threads", "epochs": "epochs", "steps_per_epoch": "steps",
            "momentum": "momentum", "shrink": "shrink", "class_mask": "mask-", "mask_resizing": "resize-",
            "site": "site-", "zoom": "zoom", "gamma": "gamma"}
_POSITIVE = ("batch", "threads", "epochs", "steps_per_epoch", "epsilon", "renorm_steps", "shrink")
# {field: (whether a value is within its bounds, the bounds in words)}.
_RANGES = {"momentum": (lambda value: 0 <= value < 1, "from 0 to below 1"),
           "frozen_gate": (lambda value: 0 <= value <= 1, "from 0 to 1"),
           **dict.fromkeys(("zoom", "gamma"), (lambda value: 1 <= value <= 4, "from 1 to 4")),
           **dict.fromkeys(_POSITIVE, (lambda value: value > 0, "above 0"))}
_CHOICES = {"group_divisor": ("deviation", "variance"), "batch_statistics": ("moving", "batch"),
            "form": FORMS, "kernels": KERNELS, "xla": ("auto", "on", "off"), "network": tuple(NETWORKS),
            "loss": tuple(LOSSES), "optimizer": tuple(OPTIMIZERS)}


def _choices(name):
    """{field: values that it may take} for the protocol `name`, of the fields with a list of values."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol: {name!r} is unknown; choose one of {', '.join(PROTOCOLS)}")
    base = PROTOCOLS[name]
    network = NETWORKS[base.network]
    return {**_CHOICES, "initializer": network.initializers, "class_mask": ("",), "mask_resizing": ("",),
            **network.choices}


def variant_type(key: str) -> type:
    """The type of a field that a run may change."""
    return {"frozen_gate": float, "steps_per_epoch": int}.get(key, type(getattr(Protocol(), key)))


def protocol(name: str, **changes: Any) -> Protocol:
    """The protocol of that name with some of its fields changed.

    Raises:
      InputError: unknown protocol, or a value that a field cannot take.
    """
    choices = _choices(name)
    for key, value in changes.items():
        if key in choices and value not in choices[key]:
            listed = ", ".join(filter(None, choices[key]))
            raise InputError(f"{key}: {value!r} is unknown; choose one of {listed}" if listed else
                             f"{key}: {value!r}: protocol {name} has none; leave it out")
        if isinstance(value, int | float):
            holds, bounds = _RANGES.get(key, (lambda value: True, "finite"))
            if not (math.isfinite(value) and holds(value)):
                raise InputError(f"{key}: {value} cannot be used; give a number {bounds}")
        if key == "site" and not re.fullmatch(r"[\w.-]*", value):
            raise InputError(f"site: {value!r} holds more than letters, digits, '_', '.' and '-', and it becomes part "
                             "of a path; rename it in the data set")
    return replace(PROTOCOLS[name], **changes)


@dataclass(frozen=True)
class Configuration:
    """The configuration of a run: its data, method, fold, rate, seed and protocol.

    Attributes:
      dataset: stem of the data set's file name.
      dataset_checksum: of its content.
      structure: what the masks show, 'LV' or 'RV' (or another).
      fold: the group that is tested, while the others train; `WHOLE` if all train.
      rate: initial learning rate.
      seed: of the weights and of the data order.
      plugin: checksum of the file that registered the method, see `norms.plugins`; '' for the package's own methods.
    """

    dataset: str
    dataset_checksum: str
    structure: str
    method: str
    fold: int
    rate: float
    seed: int
    protocol: Protocol
    plugin: str = ""

    def __post_init__(self) -> None:
        here = method(self.method).plugin
        if not self.plugin:
            object.__setattr__(self, "plugin", here)
        if self.plugin != here:
            raise InputError(f"method: {self.method!r} was registered by a plug-in with the checksum {self.plugin}, "
                             f"here by {here or 'none'}; give that one with --plugin")
        if not 0 < self.rate < float("inf"):
            raise InputError(f"rate: {self.rate} must be a positive number")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed: {self.seed} must lie between 0 and 2^63")

    @property
    def angles(self) -> tuple[int, ...]:
        """Rotations of the training images in degrees; a structure that the paper does not have takes LV's."""
        table = dict(self.protocol.angles)
        return table.get(self.structure, table["LV"])

    @property
    def variant(self) -> str:
        """The changes of the protocol's defaults, see `Protocol.variant`."""
        return self.protocol.variant

    @property
    def path(self) -> Path:
        """The path of its run file below a results folder."""
        folder = Path("runs", self.dataset, self.protocol.name, self.method + self.variant)
        return folder / f"fold{self.fold}-lr{format_number(self.rate)}-seed{self.seed}.h5"

    def as_dict(self) -> dict[str, Any]:
        """{field: value}, with the protocol as a dictionary, and without `plugin` where that is ''."""
        return {key: value for key, value in asdict(self).items() if key != "plugin" or value}

    @property
    def json(self) -> str:
        """The configuration as JSON, with the protocol version.

        Of the protocol it has the fields that differ from `Protocol`'s defaults. So a later version can add a field
        whose default means "as before", and older runs stay valid.
        """
        default = asdict(Protocol())
        protocol = {key: value for key, value in asdict(self.protocol).items()
                    if key == "name" or value != default[key]}
        return json.dumps({"protocol_version": PROTOCOL_VERSION, **self.as_dict(), "protocol": protocol},
                          sort_keys=True)

    @property
    def hash(self) -> str:
        """SHA-256 of `json`."""
        return hashlib.sha256(self.json.encode()).hexdigest()

    @staticmethod
    def from_json(text: str) -> tuple["Configuration", int]:
        """(the configuration, the protocol version that wrote it) from its JSON text."""
        values = json.loads(text)
        version = values.pop("protocol_version")
        if "angles" in values["protocol"]:
            values["protocol"]["angles"] = tuple((s, tuple(a)) for s, a in values["protocol"]["angles"])
        return Configuration(**values | {"protocol": Protocol(**values["protocol"])}), version

    @staticmethod
    def from_path(path: str | PathLike[str]) -> "Configuration":
        """The configuration of the run with the run file `path`, without the data set's checksum and structure.

        Raises:
          InputError: it is not the path of a run file.
        """
        match = re.search(r"(?:^|/)runs/([^/]+)/([^/]+)/([^/+]+)([^/]*)/fold(\d+)-lr([\d.e+-]+)-seed(\d+)\.h5$",
                          Path(path).as_posix())
        if not match:
            raise InputError(f"{path}: not where a run file lies; move it away")
        dataset, name, of_method, variant, fold, rate, seed = match.groups()
        changes = dict(_change(part, name) for part in re.split(r"\+(?=[a-z])", variant)[1:])
        return Configuration(dataset, "", "", of_method, int(fold), float(rate), int(seed), protocol(name, **changes))


def _change(part, name):
    """(field, value) of one part of a variant of the protocol `name`: 'eps1e-12' is ('epsilon', 1e-12)."""
    choices = _choices(name)
    for key, label in VARIANTS.items():
        value = part.removeprefix(label)
        possible = value in choices[key] if key in choices else value if key == "site" else \
            value.lstrip("-")[:1].isdigit()
        if part.startswith(label) and possible:
            return key, variant_type(key)(value)
    raise InputError(f"variant: {part!r} is unknown")
