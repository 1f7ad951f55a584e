"""The plan of a comparison: rates, seeds and steps that fit a budget by a timing. It is fixed before the first run."""

from __future__ import annotations

import functools
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ilnrepro.comparison import executors, grid, planning
from ilnrepro.errors import InputError
from ilnrepro.protocols import WHOLE, Configuration, Protocol, protocol
from ilnrepro.storage import files, runfile
from ilnrepro.storage.dataset import DataSet

FILE = "plan.json"
ENOUGH = 2000  # steps of a run from which further seeds and rates are preferred to longer training
MINIMUM = 400  # steps of a run, below which networks have learned too little to be compared
_EPOCHS = 3  # of a run that is timed: in the first the graphs are made
_PIXELS = 2 ** 20  # at most about so many an epoch of it, so that slow networks are not timed for longer
_PLANNED_SHARE = 0.9  # of the budget, since a machine may be slower later than when it was timed


@dataclass(frozen=True)
class Timing:
    """The cost of one run of a method on this machine, beside as many others as the comparison does at a time.

    Attributes:
      step: seconds of a training step.
      test: seconds of the test.
      start: seconds before the first step and after the last.
      memory: peak memory of its process, bytes.
    """

    step: float
    test: float
    start: float
    memory: int

    def seconds(self, steps: int) -> float:
        """The time of a run of so many steps."""
        return self.start + steps * self.step + self.test


@dataclass(frozen=True)
class Plan:
    """The plan of a comparison, kept in its results folder.

    Attributes:
      dataset, checksum, structure: of the data.
      methods: to be compared.
      protocol, changes: the protocol of the runs, and what differs from its defaults.
      folds, rates: each method is trained at all rates on all folds with the first seed.
      seeds: with the others, each method is trained at the rate that is chosen on the other folds.
      steps, full: steps of a run, and of a run by the protocol.
      workers: number of runs side by side.
      hours, planned: the budget, and how much of it the plan takes.
      timing: {method: `Timing`}.
      plugin: checksum of the file that registers the user's own methods, or ''.
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
        """The number of runs."""
        return len(self.methods) * len(self.folds) * (len(self.rates) + len(self.seeds) - 1)

    def first(self, data: Path) -> list[planning.Job]:
        """The runs at all rates, with the first seed."""
        return planning.plan([data], self.methods, self.training, self.rates, self.seeds[:1], list(self.folds))

    def further(self, data: Path, rates: dict[tuple[str, int], float]) -> list[planning.Job]:
        """The runs with the further seeds, at the chosen rates {(method, fold): rate}."""
        jobs = planning.plan([data], self.methods, self.training, self.rates, self.seeds[1:], list(self.folds))
        return [job for job in jobs if rates[job.configuration.method, job.configuration.fold] ==
                job.configuration.rate]


def write(results: Path, plan: Plan) -> None:
    """Writes the plan into its results folder."""
    files.write_json(results / FILE, asdict(plan))


def read(results: Path) -> Plan | None:
    """The plan in a results folder, None where there is none.

    Raises:
      InputError: the file is not a plan of this version.
    """
    values = files.read_json(results / FILE)
    if values is None:
        return None
    try:
        lists = {key: tuple(values[key]) for key in ("methods", "folds", "rates", "seeds")}
        return Plan(**values | lists | {"timing": {m: Timing(**t) for m, t in values["timing"].items()}})
    except (KeyError, TypeError) as error:
        raise InputError(f"{results / FILE}: no plan of this version ({error}); choose another results "
                         "folder") from error


def measure_timing(data: Path, source: DataSet, methods: Sequence[str], training: Protocol, rate: float, workers: int,
                   options: Sequence[str] = ()) -> dict[str, Timing]:
    """{method: `Timing`}, from short runs, as many side by side as in the comparison.

    Raises:
      InputError: a run fails; the message says why.
    """
    steps = _timed_steps(source, training)
    short = protocol(training.name, **{**changes_of(training), "epochs": _EPOCHS, "steps_per_epoch": steps})
    rounds = max(1, math.ceil(workers / len(methods)))
    with tempfile.TemporaryDirectory(prefix="ilnrepro-") as folder:
        jobs = [planning.Job(Configuration(data.stem, source.checksum, source.structure, m, source.folds[0], rate, seed,
                                           short), data, _EPOCHS * steps)
                for seed in range(rounds) for m in methods]
        began = time.monotonic()
        with grid.progress(Console(stderr=True)) as bar:
            task = bar.add_task("timing", total=sum(job.steps for job in jobs))
            for job, reason in executors.EXECUTORS["local"](jobs, Path(folder), workers, options,
                                                            functools.partial(bar.advance, task)):
                if reason:
                    raise InputError(f"{job.configuration.method}: {reason.removeprefix('error: ')}")
        wall = (time.monotonic() - began) / math.ceil(len(jobs) / workers)
        times = {m: [runfile.read(Path(folder) / job.configuration.path).timing for job in jobs
                     if job.configuration.method == m] for m in methods}
    in_steps = np.mean([t["training"] + t["test"] for runs in times.values() for t in runs])
    start = max(1.0, wall - float(in_steps))
    return {m: Timing(max(map(_step, runs)), max(float(t["test"]) for t in runs),
                      start + max(float(t["first_block"]) for t in runs), max(int(t["peak_bytes"]) for t in runs))
            for m, runs in times.items()}


def _timed_steps(source, training):
    """The steps of an epoch of a run that is timed."""
    slices = (training.slab or 1) if source.images.ndim == 4 else 1
    pixels = training.batch * slices * math.prod(source.images.shape[-2:]) // training.shrink ** 2
    return min(training.block, max(1, _PIXELS // pixels))


def _step(timing):
    """Seconds of a step after the first block."""
    steps = int(timing["steps"] - timing["first_block_steps"])
    if steps <= 0:
        return float(timing["training"] / timing["steps"])
    return float((timing["training"] - timing["first_block"]) / steps)


def changes_of(training: Protocol) -> dict[str, Any]:
    """{field: value} of the fields that differ from the defaults of the protocol of that name."""
    from ilnrepro.protocols import PROTOCOLS, VARIANTS

    default = PROTOCOLS[training.name]
    return {key: getattr(training, key) for key in VARIANTS if getattr(training, key) != getattr(default, key)}


def fit_budget(hours: float, timing: dict[str, Timing], folds: int, full: int, epochs: int, workers: int,
               rates: Sequence[float], given_seeds: int | None = None) -> tuple[int, int, int, float]:
    """The number of rates, the number of seeds, the steps a run and the hours that fit a budget.

    Training is full, with several seeds and rates, where there is time; else there are fewer of both; else training is
    shorter.

    Args:
      full: steps of a run by the protocol.
      rates: those that may be tried, the most promising first.
      given_seeds: the number of seeds that was asked for, or None.

    Raises:
      InputError: not even the shortest comparison fits.
    """
    choices = [(min(k, len(rates)), given_seeds or seeds) for k, seeds in ((3, 5), (3, 3), (3, 2), (2, 2), (1, 2))]

    def hours_of(choice, steps):
        runs = folds * (choice[0] + choice[1] - 1)
        # The last worker's last run is on average half done when the others have ended.
        tail = max(t.seconds(steps) for t in timing.values()) * (workers - 1) / 2
        return (runs * sum(t.seconds(steps) for t in timing.values()) + tail) / workers / 3600

    def largest_steps(choice):
        low = hours_of(choice, 0)
        slope = hours_of(choice, 1) - low
        return min(full, int((_PLANNED_SHARE * hours - low) / slope / epochs) * epochs)

    for wanted, tried in ((full, choices[:3]), (min(full, ENOUGH), choices[1:]), (min(full, MINIMUM), choices[1:])):
        for choice in tried:
            if (steps := largest_steps(choice)) >= wanted:
                return *choice, steps, hours_of(choice, steps)
    shortest = min(hours_of(choice, min(full, MINIMUM)) for choice in choices) / _PLANNED_SHARE
    raise InputError(f"--hours: {hours:g} allow no comparison of {len(timing)} methods on {folds} folds; the "
                     f"shortest takes {math.ceil(100 * shortest) / 100:g} hours here: give more, or fewer methods")


def cost(method: str, runs: Sequence[runfile.Run]) -> tuple[float, int]:
    """(seconds of a step, bytes of memory) of a method's runs, medians over them."""
    timings = [r.timing for r in runs if r.configuration.method == method and r.configuration.fold != WHOLE]
    return float(np.median([_step(t) for t in timings])), int(np.median([t["peak_bytes"] for t in timings]))
