"""A network trained on all subjects of a data set, and the Dice to expect of it by cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from ilnrepro.comparison import differences, scores
from ilnrepro.comparison.choice import cells
from ilnrepro.errors import InputError
from ilnrepro.protocols import WHOLE, Configuration, Protocol, format_number
from ilnrepro.storage import checkpoint, dataset, files, runfile
from ilnrepro.storage.locking import locked


def train(data: str | PathLike[str], method: str, rate: float, output: str | PathLike[str], protocol: Protocol,
          seed: int = 0, results: str | PathLike[str] | None = None,
          progress: Callable[[int, int], None] = lambda done, total: None,
          stop: Callable[[], bool] = lambda: False) -> Path:
    """Trains on all subjects of a data set and writes the network, a run file without a test; returns its path.

    An interrupted training goes on from its latest checkpoint, which lies beside `output`. A finished one is not
    repeated; the Dice to expect of it is looked up again.

    Args:
      data: the data set file.
      rate: initial learning rate.
      output: the file to write.
      results: folder with runs of the same method, rate and protocol, from which its Dice is estimated.
      progress: called with (steps done, steps in all).
      stop: called now and then; where it returns True, the state is saved and training stops.

    Raises:
      InputError: data, method or protocol do not fit, or `output` cannot be written or holds another run.
      Stopped: `stop` returned True.
    """
    data, output = Path(data), Path(output)
    source = dataset.read(data)
    configuration = Configuration(data.stem, source.checksum, source.structure, method, WHOLE, rate, seed, protocol)
    from ilnrepro.training import loop, process

    loop.check(configuration, source)
    if output.is_dir():
        raise InputError(f"{output}: is no name for a file; give one that ends in .h5")
    expectation = expected_dice(Path(results), configuration, source.folds) if results else NOT_KNOWN
    files.check_writable(output.parent)
    with locked(output.with_name(f".{output.name}.lock"), f"at work on {output.name}"):
        if runfile.is_done(output, configuration, weights=True):
            checkpoint.remove(output)
            _update_expectation(output, expectation)
            return output
        process.set_up(configuration)
        run = loop.run(configuration, source, progress, output, stop)
        if run.status == "diverged":
            checkpoint.remove(output)
            raise InputError(f"{data}: training diverged after {len(run.loss)} steps, and there is no network to "
                             "write; choose a lower --rate")
        run.expected = expectation
        runfile.write(output, run)
        checkpoint.remove(output)
    return output


NOT_KNOWN = {"text": "not known: no results of a cross-validation were given"}


def _update_expectation(path, expectation):
    run = runfile.read(path)
    if expectation is not NOT_KNOWN and run.expected != expectation:
        run.expected = expectation
        runfile.write(path, run)


def expected_dice(results: Path, configuration: Configuration, folds: list[int]) -> dict[str, Any]:
    """The Dice to expect of a network that trains on all subjects.

    It comes from the runs in a results folder of the same method, rate, protocol and data set, on each of its folds.

    Returns:
      {'text': a sentence}, and where there are such runs also 'dice' (mean over subjects), 'low' and 'high' (the ends
      of its 95 % interval over subjects and seeds), and the numbers of 'subjects', 'folds', 'seeds' and 'rates' tried.
    """
    folder = (results / configuration.path).parent
    runs = [configuration.from_path(path) for path in sorted(folder.glob("fold*-lr*-seed*.h5"))]
    folds_done = {c.fold for c in runs if c.rate == configuration.rate}
    if not set(folds) <= folds_done:
        return {"text": f"not known: {results} has runs of {configuration.method} at rate "
                        f"{format_number(configuration.rate)} on {len(folds_done & set(folds))} of {len(folds)} folds"}
    records = scores.collect(results, configuration.protocol.name, [configuration.dataset], configuration.variant,
                             [configuration.method], folds, [configuration.rate])
    if records[0].configuration.dataset_checksum != configuration.dataset_checksum:
        return {"text": f"not known: the runs in {results} are of another data set {configuration.dataset}"}
    selected, subjects = cells(records, "test"), differences.subjects_of(records)
    if len(subjects) < len(folds):
        return {"text": f"not known: in {results} every run of a fold diverged at this rate"}
    by_fold = [differences.fold_scores(selected[configuration.method, configuration.structure, k],
                                       subjects[configuration.structure, k]) for k in folds]
    dice, low, high = differences.interval(by_fold)
    n, tried = sum(len(s.subjects) for s in by_fold), len({c.rate for c in runs})
    text = (f"Dice {dice:.3f} [{low:.3f}, {high:.3f}], mean over {n} subjects, each segmented by networks that trained "
            f"on the other folds")
    if tried > 1:
        text += f"; rather too high where the rate was chosen as the best of the {tried} tried on them"
    return {"text": text, "dice": dice, "low": low, "high": high, "subjects": n, "folds": len(folds),
            "seeds": min(len(s.seeds) for s in by_fold), "rates": tried}
