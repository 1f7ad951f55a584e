"""The jobs of a comparison: the list of its runs, those that remain to be done, and the time that they will take."""

import itertools
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from ilnrepro.errors import InputError
from ilnrepro.ops.augmentation import epoch_steps
from ilnrepro.ops.slabs import starts
from ilnrepro.protocols import PROTOCOLS, VARIANTS, Configuration, format_number
from ilnrepro.storage import dataset, runfile
from ilnrepro.training.loop import check


@dataclass(frozen=True)
class Job:
    """A run to do: its configuration, the data set file, and the number of its steps."""

    configuration: Configuration
    data: Path
    steps: int

    @property
    def command(self):
        """The command that does the run."""
        return [sys.executable, "-m", "ilnrepro", *command_arguments(self.configuration, self.data)]


def command_arguments(configuration, data):
    """The arguments of the `ilnrepro` command that does a run, without `--results`."""
    c = configuration
    return ["run", "--data", str(data), "--method", c.method, "--fold", str(c.fold), "--rate", format_number(c.rate),
            "--seed", str(c.seed), *protocol_arguments(c.protocol)]


def protocol_arguments(protocol):
    """The arguments of any command that give the protocol and what differs from its defaults."""
    default = PROTOCOLS[protocol.name]
    changed = [key for key in VARIANTS if getattr(protocol, key) != getattr(default, key)]
    return ["--protocol", protocol.name,  # values follow a =, because -1e-05 alone looks like an option
            *(f"--{key.replace('_', '-')}={getattr(protocol, key)}" for key in changed)]


def plan(data_files, methods, protocol, rates, seeds, folds=None):
    """The jobs of a grid, in the order of method, data set, fold, rate, seed.

    Args:
      data_files: data set files, one for each structure.
      folds: fold numbers; None takes all of each data set.

    Raises:
      InputError: a data set is unsound, lacks a fold, or does not suit the protocol or a method, see `loop.check`; or
        two data sets have the same structure.
    """
    return grid([(Path(path), dataset.read(path)) for path in data_files], methods, protocol, rates, seeds, folds)


def grid(sets, methods, protocol, rates, seeds, folds=None):
    """As `plan`, of [(path, `DataSet`)]."""
    structures = [data.structure for _, data in sets]
    if len(set(structures)) < len(structures):
        raise InputError(f"data sets: two of them show the structure {structures[0]}; give one a structure")
    for path, data in sets:
        if folds is not None and not set(folds) <= set(data.folds):
            raise InputError(f"{path}: folds: it has {data.folds}, not all of {sorted(folds)}; choose among them")
    jobs = []
    for method, (path, data) in itertools.product(methods, sets):
        for fold, rate, seed in itertools.product(folds or data.folds, rates, seeds):
            configuration = Configuration(path.stem, data.checksum, data.structure, method, fold, rate, seed, protocol)
            if (rate, seed) == (rates[0], seeds[0]):
                check(configuration, data)
            training_images = int(data.trained_on(fold, protocol.site).sum())
            if protocol.slab and data.images.ndim == 4:
                training_images *= len(starts(data.images.shape[1], protocol.slab))
            jobs.append(Job(configuration, path, protocol.epochs * epoch_steps(
                training_images, len(configuration.angles), protocol.batch, protocol.steps_per_epoch)))
    return jobs


def remaining(jobs, results, options=()):
    """The jobs whose run files do not exist yet, or have no weights where `options` ask for them."""
    weights = "--keep-weights" in options
    return [job for job in jobs if not runfile.is_done(results / job.configuration.path, job.configuration, weights)]


LATEST = 9  # runs that estimate the time; older ones may be of a slower version or another machine


def estimate(jobs, folders):
    """The time that jobs will take one after another, seconds; None where nothing tells.

    It comes from the latest finished runs in some results folders whose steps are like those of the jobs.
    """
    kinds, times = {_kind_of_step(job.configuration) for job in jobs}, []
    paths = [path for folder in folders for path in folder.glob("runs/*/*/*/*.h5")]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            run = runfile.read(path) if _kind_of_step(Configuration.from_path(path)) in kinds else None
        except InputError:
            continue
        if run:
            times.append((run.timing["training"] + run.timing["test"]) / run.timing["steps"])
        if len(times) == LATEST:
            break
    return sum(job.steps for job in jobs) * statistics.median(times) if times else None


def _kind_of_step(configuration):
    """The settings, without the method, on which the time of a training step depends."""
    p = configuration.protocol
    return (configuration.dataset, p.network, p.class_mask, p.slab, p.shrink, p.pools, p.batch, p.form, p.kernels,
            p.threads)
