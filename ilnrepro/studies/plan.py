"""What a comparison will do: rates, seeds and steps that fit a budget, from a timing; fixed before the first run."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ilnrepro.comparison import executors, planning
from ilnrepro.errors import InputError
from ilnrepro.protocols import WHOLE, Configuration, Protocol, protocol
from ilnrepro.storage import files, runfile
from ilnrepro.storage.dataset import DataSet

FILE = "plan.json"
ENOUGH = 2000  # steps of a run from which further seeds and rates are preferred to longer training
LEAST = 400  # steps of a run, below which networks have learned too little to be compared
_BLOCKS = 3  # of steps in a run that is timed: the first makes the graphs
_RESERVE = 0.9  # share of the budget that is planned, for a machine is not always as fast as it was


@dataclass(frozen=True)
class Timing:
    """What one run of a method costs here, with as many others beside it as the comparison will do.

    Attributes:
      step: seconds.
      test: seconds of the test.
      start: seconds until the first step, and after the last.
      memory: bytes of its process.
    """

    step: float
    test: float
    start: float
    memory: int

    def seconds(self, steps: int) -> float:
        """Of a run of so many steps."""
        return self.start + steps * self.step + self.test


@dataclass(frozen=True)
class Plan:
    """What a comparison does; it follows the plan that it finds in its results folder.

    Attributes:
      dataset, checksum, structure: of the data.
      methods: to be compared.
      protocol, changes: under which the runs are made, and what differs from its defaults.
      folds, rates: each method is trained at every rate on every fold, with the first seed,
      seeds: and with the further seeds at the rate that is chosen on the other folds.
      steps, full: of a run, and of one that the protocol asks for.
      workers: runs side by side.
      hours: the budget; planned: what of it the plan takes.
      timing: by method.
      plugin: checksum of the file that has methods of one's own, or ''.
    """

    dataset: str
    checksum: str
    structure: str
    methods: tuple[str, ...]
    protocol: str
    changes: dict[str, Any]
    folds: tuple[int, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: int
    full: int
    workers: int
    hours: float
    planned: float
    timing: dict[str, Timing]
    plugin: str = ""

    @property
    def training(self) -> Protocol:
        """The protocol of its runs."""
        return protocol(self.protocol, **self.changes)

    @property
    def runs(self) -> int:
        """How many."""
        return len(self.methods) * len(self.folds) * (len(self.rates) + len(self.seeds) - 1)

    def first(self, data: Path) -> list[planning.Job]:
        """The runs at every rate, with the first seed."""
        return planning.plan([data], self.methods, self.training, self.rates, self.seeds[:1], list(self.folds))

    def further(self, data: Path, chosen: dict[tuple[str, int], float]) -> list[planning.Job]:
        """The runs with further seeds, at the rate chosen for each method and fold."""
        jobs = planning.plan([data], self.methods, self.training, self.rates, self.seeds[1:], list(self.folds))
        return [job for job in jobs if chosen[job.configuration.method, job.configuration.fold] ==
                job.configuration.rate]


def write(results: Path, plan: Plan) -> None:
    """Writes the plan into its results folder."""
    files.write_json(results / FILE, asdict(plan))


def read(results: Path) -> Plan | None:
    """The plan of a results folder, None where it has none.

    Raises:
      InputError: it is not what was written.
    """
    found = files.read_json(results / FILE)
    if found is None:
        return None
    try:
        lists = {key: tuple(found[key]) for key in ("methods", "folds", "rates", "seeds")}
        return Plan(**found | lists | {"timing": {m: Timing(**t) for m, t in found["timing"].items()}})
    except (KeyError, TypeError) as error:
        raise InputError(f"{results / FILE}: no plan of this version ({error}); choose another results "
                         "folder") from error


def timed(data: Path, source: DataSet, methods: Sequence[str], chosen: Protocol, rate: float, workers: int,
          options: Sequence[str] = ()) -> dict[str, Timing]:
    """The `Timing` of every method, from a short run of each, as many side by side as there will be.

    Raises:
      InputError: a run of a method fails; says why.
    """
    short = protocol(chosen.name, **{**changes_of(chosen), "epochs": 1, "steps_per_epoch": _BLOCKS * chosen.block})
    # As many runs as will go side by side, so that they share the machine as the comparison's will.
    rounds = max(1, math.ceil(workers / len(methods)))
    with tempfile.TemporaryDirectory(prefix="ilnrepro-") as folder:
        jobs = [planning.Job(Configuration(data.stem, source.checksum, source.structure, m, source.folds[0], rate, seed,
                                           short), data, _BLOCKS * chosen.block)
                for seed in range(rounds) for m in methods]
        began = time.monotonic()
        for job, reason in executors.EXECUTORS["local"](jobs, Path(folder), workers, options, lambda steps: None):
            if reason:
                raise InputError(f"{job.configuration.method}: {reason.removeprefix('error: ')}")
        wall = (time.monotonic() - began) / math.ceil(len(jobs) / workers)
        times = {m: [runfile.read(Path(folder) / job.configuration.path).timing for job in jobs
                     if job.configuration.method == m] for m in methods}
    inside = np.mean([t["training"] + t["test"] for runs in times.values() for t in runs])
    start = max(1.0, wall - float(inside))
    return {m: Timing(max(map(_step, runs)), max(float(t["test"]) for t in runs),
                      start + max(float(t["first_block"]) for t in runs), max(int(t["peak_bytes"]) for t in runs))
            for m, runs in times.items()}


def _step(timing):
    """Seconds of a step after the first block."""
    steps = int(timing["steps"] - timing["first_block_steps"])
    if steps <= 0:
        return float(timing["training"] / timing["steps"])
    return float((timing["training"] - timing["first_block"]) / steps)


def changes_of(chosen: Protocol) -> dict[str, Any]:
    """What differs from a protocol's defaults, by field."""
    from ilnrepro.protocols import PROTOCOLS, VARIANTS

    default = PROTOCOLS[chosen.name]
    return {key: getattr(chosen, key) for key in VARIANTS if getattr(chosen, key) != getattr(default, key)}


def within(hours: float, timing: dict[str, Timing], folds: int, full: int, epochs: int, workers: int,
           rates: Sequence[float], given_seeds: int | None = None) -> tuple[int, int, int, float]:
    """(rates, seeds, steps a run, hours) that fit the budget: full training with several seeds and rates where there is
    time, then fewer of both, then shorter training.

    Args:
      full: steps of a run by the protocol.
      rates: those that may be tried, the most promising first.
      given_seeds: as many, whatever fits.

    Raises:
      InputError: not even the least that can be compared fits.
    """
    choices = [(min(k, len(rates)), given_seeds or seeds) for k, seeds in ((3, 5), (3, 3), (3, 2), (2, 2), (1, 2))]

    def hours_of(choice, steps):
        runs = folds * (choice[0] + choice[1] - 1)
        # The last worker's last run is on average half done when the others have ended.
        tail = max(t.seconds(steps) for t in timing.values()) * (workers - 1) / 2
        return (runs * sum(t.seconds(steps) for t in timing.values()) + tail) / workers / 3600

    def most(choice):
        low = hours_of(choice, 0)
        slope = hours_of(choice, 1) - low
        return min(full, int((_RESERVE * hours - low) / slope / epochs) * epochs)

    for wanted, tried in ((full, choices[:3]), (min(full, ENOUGH), choices[1:]), (min(full, LEAST), choices[1:])):
        for choice in tried:
            if (steps := most(choice)) >= wanted:
                return *choice, steps, hours_of(choice, steps)
    least = min(hours_of(choice, min(full, LEAST)) for choice in choices) / _RESERVE
    raise InputError(f"--hours: {hours:g} allow no comparison of {len(timing)} methods on {folds} folds; the least "
                     f"takes {math.ceil(100 * least) / 100:g} hours here: give more, or fewer methods")


def cost(method: str, runs: Sequence[runfile.Run]) -> tuple[float, int]:
    """(seconds of a step, bytes of memory) of a method's runs, medians over them."""
    mine = [r.timing for r in runs if r.configuration.method == method and r.configuration.fold != WHOLE]
    return float(np.median([_step(t) for t in mine])), int(np.median([t["peak_bytes"] for t in mine]))
