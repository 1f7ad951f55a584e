"""The `ilnrepro` command: one run, and looking at files, methods and the network."""

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import threading
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from ilnrepro import __version__
from ilnrepro.errors import InputError, command, whole_number
from ilnrepro.networks import NETWORKS
from ilnrepro.norms import METHODS, Settings, method
from ilnrepro.protocols import PROTOCOLS, VARIANTS, Configuration, protocol, variant_type
from ilnrepro.storage import checkpoint, dataset, files, inspection, runfile, verification
from ilnrepro.storage.locking import locked


def parser():
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="ilnrepro", description=__doc__)
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and test once, and write one run file")
    run.add_argument("--data", required=True, type=Path, help="data set file (.h5)")
    run.add_argument("--results", required=True, type=Path, help="results folder")
    run.add_argument("--method", required=True, help=f"one of {', '.join(METHODS)}")
    run.add_argument("--fold", required=True, type=int, help="the group tested on")
    run.add_argument("--rate", required=True, type=float, help="initial learning rate")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--protocol", default="paper", help=f"one of {', '.join(PROTOCOLS)}")
    run.add_argument("--keep-weights", action="store_true", help="store the final weights in the run file (7 MB of the "
                     "U-Net's)")
    run.add_argument("--tensorboard", type=Path, metavar="DIR", help="write curves for TensorBoard, a subfolder a run")
    run.add_argument("--progress", choices=("bar", "lines"), default="bar", help="'lines' is for programs")
    run.add_argument("--checkpoint-seconds", type=float, default=180, help="seconds between checkpoints")
    add_variants(run)
    predict = commands.add_parser("predict", help="segment images, volumes or data sets")
    predict.add_argument("model", type=Path, help="run file that kept its weights, or exported model")
    predict.add_argument("inputs", type=Path, nargs="+", help="data set, PNG, NIfTI, DICOM, ..., or folders of them")
    predict.add_argument("--output", type=Path, required=True, help="folder for masks and overlays")
    predict.add_argument("--batch", type=whole_number(1), default=8, help="images at a time; it is part of the result "
                         "of a run with --batch-statistics batch, which was tested with its protocol's")
    export = commands.add_parser("export", help="write a TensorFlow SavedModel that needs nothing of this package")
    export.add_argument("run", type=Path, help="run file that kept its weights")
    export.add_argument("--output", type=Path, required=True, help="folder to write")
    inspect = commands.add_parser("inspect", help="print what a run or data set file holds")
    inspect.add_argument("file", type=Path)
    inspect.add_argument("--json", action="store_true", help="for programs")
    inspect.add_argument("--case", type=int, help="draw one test image with truth (red) and prediction (green)")
    inspect.add_argument("--data", type=Path, help="the data set file, for --case")
    inspect.add_argument("--output", type=Path, help="where --case draws (default: case-N.png)")
    verify = commands.add_parser("verify", help="name damaged, incomplete, stale and duplicate run files")
    verify.add_argument("results", type=Path, help="results folder")
    commands.add_parser("methods", help="list the methods")
    summary = commands.add_parser("summary", help="print the network's layers, shapes and parameter counts")
    summary.add_argument("--network", choices=NETWORKS, default="unet")
    summary.add_argument("--method", default="iln")
    summary.add_argument("--size", type=int, default=256)
    return top


def add_variants(to):
    """Adds one option for each field of the protocol that a run may change."""
    group = to.add_argument_group("what may differ from the protocol's defaults")
    for key in VARIANTS:
        kind = variant_type(key)
        group.add_argument(f"--{key.replace('_', '-')}", type=kind, metavar=kind.__name__.upper(),
                           **({"nargs": "?", "const": "on"} if key == "xla" else {}))


def variants(arguments):
    """The fields of the protocol that the options of `add_variants` change."""
    return {key: getattr(arguments, key) for key in VARIANTS if getattr(arguments, key) is not None}


def variant(arguments):
    """What the options of `add_variants` make of a run's path: '+eps1e-12', or nothing.

    Raises:
      InputError: unknown protocol; options without one.
    """
    changes = variants(arguments)
    if arguments.protocol is None:
        if changes:
            raise InputError(f"--{next(iter(changes)).replace('_', '-')}: say from which protocol that differs; add "
                             f"--protocol, one of {', '.join(PROTOCOLS)}")
        return ""
    return protocol(arguments.protocol, **changes).variant


def main(argv=None):
    """Runs one command; returns the exit status."""
    arguments = parser().parse_args(argv)
    return {"run": _run, "predict": _predict, "export": _export, "inspect": _inspect, "verify": _verify,
            "methods": _methods, "summary": _summary}[arguments.command](arguments)


def script():
    """Entry point of the installed `ilnrepro` script."""
    command(main)


def _run(arguments):
    from ilnrepro.training import loop

    if arguments.progress == "lines":
        _end_with_the_reader()
    data = dataset.read(arguments.data)
    configuration = Configuration(
        dataset=arguments.data.stem, dataset_checksum=data.checksum, structure=data.structure, method=arguments.method,
        fold=arguments.fold, rate=arguments.rate, seed=arguments.seed,
        protocol=protocol(arguments.protocol, **variants(arguments)))
    loop.check(configuration, data)
    path = arguments.results / configuration.path
    for folder in filter(None, (arguments.results, arguments.tensorboard)):
        files.check_writable(folder)
    with locked(path.with_name(f".{path.name}.lock"), f"at work on {path.name}"):
        if runfile.is_done(path, configuration, arguments.keep_weights):
            checkpoint.remove(path)  # of a process that was killed between its last two acts
            print(f"{path}: done before, nothing to do")
            return 0
        _train_and_write(configuration, data, path, arguments)
    return 0


def _train_and_write(configuration, data, path, arguments):
    from ilnrepro.training import loop
    from ilnrepro.training.tensorboard import Curves

    loop.set_up(configuration)
    further = {}
    if arguments.tensorboard:
        further["record"] = Curves(arguments.tensorboard / configuration.path.relative_to("runs").with_suffix(""))
    with _progress(arguments.progress, f"{configuration.method} fold {configuration.fold}") as report:
        try:
            outcome = loop.run(configuration, data, report, path, _stop_when_asked(), arguments.checkpoint_seconds,
                                   **further)
        except loop.Stopped:
            raise KeyboardInterrupt from None
    if not arguments.keep_weights:
        outcome.weights = {}
    runfile.write(path, outcome)
    checkpoint.remove(path)
    score = f"after {len(outcome.loss)} steps"
    if outcome.test:
        score = f"DSC {outcome.dice.mean():.3f}±{outcome.dice.std():.3f}"
    print(f"{path}: {outcome.status}, {score}")


def _end_with_the_reader():
    """Ends this process as a kill would when nobody reads its standard output any more, for then its driver is gone.

    A run left to itself would hold its lock against the driver's successor.
    """
    if not hasattr(select, "poll"):  # Windows: it ends when it next reports progress
        return
    closed = select.poll()
    closed.register(sys.stdout.fileno(), 0)  # waits for an error, and that comes when the last reader is gone
    threading.Thread(target=lambda: closed.poll() and os._exit(1), daemon=True).start()


def _stop_when_asked():
    """A function that tells whether SIGINT or SIGTERM came; a second SIGINT interrupts at once."""
    asked = []

    def note(number, _):
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return lambda: bool(asked)


@contextlib.contextmanager
def _progress(kind, title):
    """A function (steps done, steps in all) that shows progress: lines for programs, or a bar."""
    if kind == "lines":
        yield lambda done, total: print("steps", done, total, flush=True)
        return
    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn(compact=True),
                  console=Console(stderr=True)) as bar:

        def report(done, total):
            if not bar.tasks:
                bar.add_task(title)
            bar.update(bar.tasks[0].id, completed=done, total=total)

        yield report


def _predict(arguments):
    from ilnrepro.use import prediction, segmenter

    planned = prediction.plan(arguments.inputs, arguments.output)
    segment = segmenter.load(arguments.model)
    files.check_writable(arguments.output)
    with Progress(console=Console(stderr=True)) as bar:
        every, images = bar.add_task("files", total=len(planned)), bar.add_task("images", visible=False)
        failed = 0
        for path, target in planned:
            try:
                score = prediction.predict(segment, path, target, arguments.batch, lambda done, total: bar.update(
                    images, completed=done, total=total, visible=total > 1))
                said = f"{target}" + ("" if score is None else f"  (DSC {score:.3f} against its own masks)")
            except InputError as error:
                said, failed = f"error: {error}", failed + 1
            bar.console.print(said, markup=False, soft_wrap=True)
            bar.advance(every)
    if failed and len(planned) > 1:
        print(f"{failed} of {len(planned)} files have no mask, for the reasons above", file=sys.stderr)
    return 2 if failed else 0


def _export(arguments):
    from ilnrepro.use import segmenter

    segmenter.export(arguments.run, arguments.output)
    print(arguments.output)
    return 0


def _inspect(arguments):
    if arguments.case is not None:
        if arguments.data is None:
            raise InputError("--case: the image is not in the run file; name the data set with --data FILE")
        output = arguments.output or Path(f"case-{arguments.case}.png")
        inspection.draw_case(arguments.file, arguments.data, arguments.case, output)
        print(output)
        return 0
    found = inspection.describe(arguments.file)
    if arguments.json:
        json.dump(found, sys.stdout, indent=1)
        print()
    else:
        inspection.show(found, Console())
    return 0


def _verify(arguments):
    found = verification.problems(arguments.results)
    for kind, path, text in found:
        print(f"{kind}: {path}: {text}")
    print(f"{len(found)} problem(s) in {arguments.results}")
    return 1 if found else 0


def _methods(_):
    table = Table(title="Methods", caption="G stands for a number of groups: gn4, gn16, iln8, ...")
    for heading in ("name", "title", "what it is"):
        table.add_column(heading)
    for name, row in METHODS.items():
        table.add_row(name, row.title, row.description)
    Console().print(table)
    return 0


def _summary(arguments):
    from ilnrepro.networks.unet import check_sides, summary

    kind = NETWORKS[arguments.network]
    check_sides((arguments.size, arguments.size))
    method(arguments.method).rule.parameters(kind.start_channels, Settings())
    network = kind(arguments.method)
    rows = summary(network, arguments.size)
    table = Table(title=f"{arguments.network}, method {arguments.method}, "
                        f"{'×'.join(map(str, rows[-1][1][:-1]))} {'image' if network.dimensions == 2 else 'slab'}")
    for heading in ("layer", "output", "variable", "shape", "numbers"):
        table.add_column(heading, justify="right" if heading == "numbers" else "left")
    before = None
    for layer, output, role, shape, numbers, trainable in rows:
        first = layer != before
        table.add_row(layer if first else "", "×".join(map(str, output)) if first else "",
                      role if trainable else f"{role} (not trained)", str(list(shape)), f"{numbers:,}")
        before = layer
    trained = sum(row[4] for row in rows if row[5])
    table.caption = f"{len(network.normalizations)} normalized layers, {trained:,} trainable parameters"
    Console().print(table)
    return 0
