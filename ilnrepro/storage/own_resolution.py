"""The file of pixel counts at the data set's own resolution, for runs whose older files lack them.

It lies beside the runs, so that tables need no images.
"""

from os import PathLike
from pathlib import Path

import numpy as np

from ilnrepro.ops import metrics
from ilnrepro.storage import hdf5
from ilnrepro.storage.runfile import Run

NAME = "own-resolution.h5"
COUNTS = tuple(f"whole_{name}" for name in metrics.COUNTS)


def write(results: str | PathLike[str], counts: dict[str, dict[str, np.ndarray]]) -> None:
    """Writes {path of a run file below `results`: {name of COUNTS: `[n]` of its test images}}."""
    with hdf5.writing(Path(results) / NAME) as file:
        file.attrs["kind"] = "rescored"
        file.create_dataset("run", data=np.array(list(counts), object))
        file.create_dataset("cases", data=[len(of_run[COUNTS[0]]) for of_run in counts.values()])
        file["cases"].attrs["meaning"] = "test images of each run; the counts of one run follow those of another"
        for name in COUNTS:
            values = np.concatenate([of_run[name] for of_run in counts.values()]).astype(np.int32)
            file.create_dataset(name, data=values, compression="gzip", compression_opts=9, shuffle=True)
            file[name].attrs.update(meaning="at the data set's own resolution, predicted masks enlarged", unit="pixel")


def read(results: str | PathLike[str]) -> dict[str, dict[str, np.ndarray]]:
    """What `write` wrote; empty where there is no such file. Raises InputError if it is damaged."""
    path = Path(results) / NAME
    if not path.exists():
        return {}
    with hdf5.reading(path, "rescored") as file:
        ends = np.cumsum(file["cases"][()])
        parts = {name: np.split(file[name][()], ends[:-1]) for name in COUNTS}
        return {run: {name: parts[name][i] for name in COUNTS} for i, run in enumerate(file["run"].asstr()[()])}


def counts_of(run: Run, counts: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """{name of COUNTS: `[n]`} of a run, from its file or from what `read` returned.

    Empty where neither has them, or where the run file was rewritten since.
    """
    if all(name in run.test for name in COUNTS):
        return {name: run.test[name] for name in COUNTS}
    stored = counts.get(run.configuration.path.as_posix(), {})
    side = run.configuration.protocol.shrink
    if stored and np.array_equal(stored["whole_predicted_pixels"], side**2 * run.test["predicted_pixels"]):
        return stored
    return {}
