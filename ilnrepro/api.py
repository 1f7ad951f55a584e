"""The public interface: what `import ilnrepro` offers, and what the command line goes through. See docs/python.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ilnrepro.storage import dataset
from ilnrepro.storage import ensemble as ensembles

File = str | PathLike[str]


def train(data: File, method: str, rate: float, output: File, *, protocol: str | None = None, seed: int = 0,
          results: File | None = None, progress: Callable[[int, int], None] = lambda done, total: None,
          stop: Callable[[], bool] = lambda: False, **changes: Any) -> Path:
    """Trains on all subjects of a data set file and writes a network for use; returns its path.

    Call it before anything else in the process uses TensorFlow, which sets its threads once.

    Args:
      data: the data set file.
      method: of `ilnrepro.norms.METHODS`.
      rate: initial learning rate.
      output: the file to write (.h5); a training that was interrupted goes on beside it.
      protocol: a name of `ilnrepro.protocols.PROTOCOLS`; None takes one that suits the data.
      results: folder with runs of the same method, rate and protocol on each fold, from which its Dice is expected.
      progress: called with (steps done, steps in all).
      stop: asked now and then whether to save the state and raise `ilnrepro.training.loop.Stopped`.
      changes: what differs from the protocol's defaults, by field.

    Raises:
      InputError: what was given does not fit, or `output` cannot be written or holds another network.
    """
    from ilnrepro.studies import models, suited

    chosen = suited.suited(dataset.read(data), protocol, **changes)
    return models.train(data, method, rate, output, chosen, seed, results, progress, stop)


def ensemble(runs: Sequence[File], output: File) -> Path:
    """Puts the trained networks of several run files into one file, for use as one: their probabilities are averaged.

    Raises:
      InputError: fewer than two, one twice, one without weights, or networks of different methods, data or protocols.
    """
    ensembles.write(output, runs)
    return Path(output)
