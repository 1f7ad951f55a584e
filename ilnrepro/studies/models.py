"""A network trained on all subjects of a data set, with what cross-validation lets expect of it."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from ilnrepro.comparison import differences, scores
from ilnrepro.comparison.choice import cells
from ilnrepro.errors import InputError
from ilnrepro.protocols import WHOLE, Configuration, Protocol, in_full
from ilnrepro.storage import checkpoint, dataset, files, runfile
from ilnrepro.storage.locking import locked


def train(data: str | PathLike[str], method: str, rate: float, output: str | PathLike[str], protocol: Protocol,
          seed: int = 0, results: str | PathLike[str] | None = None,
          progress: Callable[[int, int], None] = lambda done, total: None,
          stop: Callable[[], bool] = lambda: False) -> Path:
    """Trains on all subjects of a data set and writes the network, a run file without a test; returns its path.

    A training that was interrupted goes on from its latest checkpoint, which lies beside `output`. One that is done is
    not repeated; what is expected of it is looked up again.

    Args:
      data: the data set file.
      rate: initial learning rate.
      output: the file to write.
      results: folder with runs of the same method, rate and protocol, from which its Dice is expected.
      progress: called with (steps done, steps in all).
      stop: asked now and then; where it says True, the state is saved and training stops.

    Raises:
      InputError: data, method or protocol do not fit, or `output` cannot be written or holds another run.
      Stopped: `stop` said so.
    """
    data, output = Path(data), Path(output)
    source = dataset.read(data)
    configuration = Configuration(data.stem, source.checksum, source.structure, method, WHOLE, rate, seed, protocol)
    from ilnrepro.training import loop, process

    loop.check(configuration, source)
    if output.is_dir():
        raise InputError(f"{output}: is no name for a file; give one that ends in .h5")
    known = expected(Path(results), configuration, source.folds) if results else NOT_KNOWN
    files.check_writable(output.parent)
    with locked(output.with_name(f".{output.name}.lock"), f"at work on {output.name}"):
        if runfile.is_done(output, configuration, weights=True):
            checkpoint.remove(output)
            _expect(output, known)
            return output
        process.set_up(configuration)
        outcome = loop.run(configuration, source, progress, output, stop)
        if outcome.status == "diverged":
            checkpoint.remove(output)
            raise InputError(f"{data}: training diverged after {len(outcome.loss)} steps, and there is no network to "
                             "write; choose a lower --rate")
        outcome.expected = known
        runfile.write(output, outcome)
        checkpoint.remove(output)
    return output


NOT_KNOWN = {"text": "not known: no results of a cross-validation were given"}


def _expect(path, known):
    run = runfile.read(path)
    if known is not NOT_KNOWN and run.expected != known:
        run.expected = known
        runfile.write(path, run)


def expected(results: Path, configuration: Configuration, folds: list[int]) -> dict[str, Any]:
    """What the runs in a results folder, of the same method, rate, protocol and data set on each of its folds, let
    expect of a network that trains on all subjects: `text`, and where they are there `dice`, mean over subjects, with
    the ends `low` and `high` of its 95 % interval over subjects and seeds, `subjects`, `folds`, `seeds`, and the
    number of rates that were tried."""
    folder = (results / configuration.path).parent
    mine = [configuration.from_path(path) for path in sorted(folder.glob("fold*-lr*-seed*.h5"))]
    there = {c.fold for c in mine if c.rate == configuration.rate}
    if not set(folds) <= there:
        return {"text": f"not known: {results} has runs of {configuration.method} at rate "
                        f"{in_full(configuration.rate)} on {len(there & set(folds))} of {len(folds)} folds"}
    records = scores.collect(results, configuration.protocol.name, [configuration.dataset], configuration.variant,
                             [configuration.method], folds, [configuration.rate])
    if records[0].configuration.dataset_checksum != configuration.dataset_checksum:
        return {"text": f"not known: the runs in {results} are of another data set {configuration.dataset}"}
    found, subjects = cells(records, "test"), differences.subjects_of(records)
    if len(subjects) < len(folds):
        return {"text": f"not known: in {results} every run of a fold diverged at this rate"}
    of_folds = [differences.fold_scores(found[configuration.method, configuration.structure, k],
                                        subjects[configuration.structure, k]) for k in folds]
    dice, low, high = differences.interval(of_folds)
    n, tried = sum(len(s.subjects) for s in of_folds), len({c.rate for c in mine})
    text = (f"Dice {dice:.3f} [{low:.3f}, {high:.3f}], mean over {n} subjects, each segmented by networks that trained "
            f"on the other folds")
    if tried > 1:
        text += f"; rather too high where the rate was chosen as the best of the {tried} tried on them"
    return {"text": text, "dice": dice, "low": low, "high": high, "subjects": n, "folds": len(folds),
            "seeds": min(len(s.seeds) for s in of_folds), "rates": tried}
