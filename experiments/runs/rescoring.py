"""The command `python -m experiments rescore`: counts at the data set's own resolution, for runs without them."""

from pathlib import Path

from experiments.runs import options
from ilnrepro.errors import InputError
from ilnrepro.ops.metrics import at_own_resolution
from ilnrepro.storage import dataset, files, own_resolution, runfile


def add(commands):
    """Adds the command to the subparsers `commands`."""
    parser = commands.add_parser("rescore", help="count pixels at the data set's own resolution, for runs that do not "
                                 "hold such counts, and write them beside the runs")
    parser.add_argument("--data", type=Path, required=True, help="the data set file of the runs")
    options.add_results(parser)
    parser.set_defaults(act=_rescore)


def _rescore(arguments):
    files.check_writable(arguments.results)
    data, counts = dataset.read(arguments.data), own_resolution.read(arguments.results)
    new = 0
    for path in sorted(arguments.results.glob(f"runs/{arguments.data.stem}/*/*/*.h5")):
        run = runfile.read(path)
        if run.configuration.dataset_checksum != data.checksum:
            raise InputError(f"{path}: its run was on another content of the data set {arguments.data}; give that, or "
                             "move the file away")
        if not run.test or own_resolution.counts_of(run, counts):
            continue
        counts[run.configuration.path.as_posix()] = at_own_resolution(data.masks[run.test["index"]], run.masks)
        new += 1
    if new:
        own_resolution.write(arguments.results, counts)
    print(f"{arguments.results / own_resolution.NAME}: {len(counts)} runs, {new} of them new")
    return 0
