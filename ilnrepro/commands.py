"""The subcommands of `ilnrepro`, each a function from the parsed arguments to the exit status."""

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

from ilnrepro import api
from ilnrepro.arguments import variants
from ilnrepro.console import stopping_signals
from ilnrepro.errors import InputError
from ilnrepro.networks import NETWORKS
from ilnrepro.norms import METHODS, Settings, method
from ilnrepro.protocols import WHOLE, Configuration, protocol
from ilnrepro.storage import checkpoint, dataset, files, inspection, runfile, verification
from ilnrepro.storage.locking import locked


def run(arguments):
    """Does one run, training and test, and writes its run file."""
    from ilnrepro.training import loop

    if arguments.progress == "lines":
        exit_when_stdout_closes()
    if arguments.fold == WHOLE:
        raise InputError(f"--fold: folds are numbered from 1; `ilnrepro train {arguments.data}` trains on all of them")
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


def compare(arguments):
    """Compares methods, and prints the findings."""
    findings = api.compare(arguments.data, arguments.methods, hours=arguments.hours, reference=arguments.reference,
                           results=arguments.results, rates=arguments.rates, seeds=arguments.seeds, jobs=arguments.jobs,
                           protocol=arguments.protocol, plugin=arguments.plugin, **variants(arguments))
    print("\n".join(findings.lines))
    print(f"page: {findings.page}")
    return 0


def train(arguments):
    """Trains on all subjects and writes a network for use."""
    title = f"{arguments.method} on all subjects"
    with _progress("bar", title) as report, _stopped_as_interruption():
        path = api.train(
            arguments.data, arguments.method, arguments.output, arguments.rate, protocol=arguments.protocol,
            seed=arguments.seed, results=arguments.results, plugin=arguments.plugin, progress=report,
            stop=_stop_on_signal(), **variants(arguments))
    print(f"{path}: {runfile.read(path).expected['text']}")
    return 0


@contextlib.contextmanager
def _stopped_as_interruption():
    """Turns the end of a training that was asked to stop into an interruption."""
    from ilnrepro.training import loop

    try:
        yield
    except loop.Stopped:
        raise KeyboardInterrupt from None


def _train_and_write(configuration, data, path, arguments):
    from ilnrepro.training import loop, process
    from ilnrepro.training.tensorboard import Curves

    process.set_up(configuration)
    options = {}
    if arguments.tensorboard:
        options["record"] = Curves(arguments.tensorboard / configuration.path.relative_to("runs").with_suffix(""))
    title = f"{configuration.method} fold {configuration.fold}"
    with _progress(arguments.progress, title) as report, _stopped_as_interruption():
        outcome = loop.run(configuration, data, report, path, _stop_on_signal(), arguments.checkpoint_seconds,
                           **options)
    if not arguments.keep_weights:
        outcome.weights = {}
    runfile.write(path, outcome)
    checkpoint.remove(path)
    score = f"after {len(outcome.loss)} steps"
    if outcome.test:
        score = f"DSC {outcome.dice.mean():.3f}±{outcome.dice.std():.3f}"
    print(f"{path}: {outcome.status}, {score}")


def exit_when_stdout_closes():
    """Ends this process, as a kill would, as soon as nobody reads its standard output.

    Its driver has then ended, and the run would hold its lock against the next driver.
    """
    if not hasattr(select, "poll"):  # Windows, where it ends when it next reports progress
        return
    closed = select.poll()
    closed.register(sys.stdout.fileno(), 0)  # wakes on an error alone, which comes when the last reader has gone
    threading.Thread(target=lambda: closed.poll() and os._exit(1), daemon=True).start()


def _stop_on_signal():
    """A function that returns whether a signal to stop has come; a second SIGINT interrupts at once."""
    received = []

    def record(number, _):
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in stopping_signals():
        signal.signal(number, record)
    return lambda: bool(received)


@contextlib.contextmanager
def _progress(kind, title):
    """A context manager with a function (steps done, steps in all) that shows progress, as lines or as a bar."""
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


def predict(arguments):
    """Segments files and writes their masks."""
    from ilnrepro.use import prediction, segmenter, structures

    pairs = prediction.plan(arguments.inputs, arguments.output)
    if arguments.further:
        segment = structures.load_together([arguments.model, *arguments.further])
        print(f"labels: {prediction.legend(segment.names)}")
    else:
        segment = segmenter.load(arguments.model)
    files.check_writable(arguments.output)
    with Progress(console=Console(stderr=True)) as bar:
        files_task, images = bar.add_task("files", total=len(pairs)), bar.add_task("images", visible=False)
        failed = 0
        for path, target in pairs:
            try:
                outcome = prediction.predict(segment, path, target, arguments.batch, lambda done, total: bar.update(
                    images, completed=done, total=total, visible=total > 1), arguments.probability)
                line = f"{target}{_notes_on(outcome)}"
            except InputError as error:
                line, failed = f"error: {error}", failed + 1
            bar.console.print(line, markup=False, soft_wrap=True)
            bar.advance(files_task)
    if failed and len(pairs) > 1:
        print(f"{failed} of {len(pairs)} files have no mask, for the reasons above", file=sys.stderr)
    return 2 if failed else 0


def _notes_on(outcome):
    """The text in brackets on a prediction's Dice and the networks' disagreement, where they are known."""
    parts = [f"DSC {outcome.dice:.3f} against its own masks"] if outcome.dice is not None else []
    if outcome.disagreement is not None:
        parts.append(f"the networks disagree by {outcome.disagreement:.3f}")
    if outcome.pixels is not None:
        found = ", ".join(f"{name} {n}" for name, n in outcome.pixels.items())
        parts.append(f"pixels: {found}; claimed by several: {outcome.contested}")
    return f"  ({', '.join(parts)})" if parts else ""


def ensemble(arguments):
    """Puts several trained networks into one file."""
    files.check_writable(arguments.output.parent)
    print(api.ensemble(arguments.runs, arguments.output, arguments.half))
    return 0


def export(arguments):
    """Writes a SavedModel, or an ONNX file."""
    print(api.export(arguments.run, arguments.output))
    return 0


def inspect(arguments):
    """Prints the content of a file, of a packaged network its card before, or draws one case."""
    from ilnrepro.use import packaged

    if arguments.case is not None:
        if arguments.data is None:
            raise InputError("--case: the image is not in the run file; name the data set with --data FILE")
        output = arguments.output or Path(f"case-{arguments.case}.png")
        inspection.draw_case(arguments.file, arguments.data, arguments.case, output)
        print(output)
        return 0
    path = packaged.located(arguments.file)
    description = inspection.describe(path)
    if arguments.json:
        json.dump(description, sys.stdout, indent=1)
        print()
    else:
        print(packaged.card(path), end="")
        inspection.show(description, Console(), arguments.all)
    return 0


def verify(arguments):
    """Prints the problems of the files in a results folder."""
    problems = verification.problems(arguments.results)
    for kind, path, text in problems:
        print(f"{kind}: {path}: {text}")
    print(f"{len(problems)} problem(s) in {arguments.results}")
    return 1 if problems else 0


def methods(arguments):
    """Lists the methods, or checks one."""
    if arguments.check:
        from ilnrepro.norms import check

        print(check(arguments.check))
        return 0
    table = Table(title="Methods", caption="G stands for a number of groups: gn4, gn16, iln8, ...")
    for heading in ("name", "title", "what it is"):
        table.add_column(heading)
    for name, row in METHODS.items():
        table.add_row(name, row.title, row.description)
    Console().print(table)
    return 0


def summary(arguments):
    """Prints the layers of a network."""
    from ilnrepro.networks.layers import check_sides
    from ilnrepro.networks.summary import summary as rows_of

    kind = NETWORKS[arguments.network]
    check_sides((arguments.size, arguments.size))
    method(arguments.method).rule.parameters(kind.start_channels, Settings())
    network = kind(arguments.method)
    rows = rows_of(network, arguments.size)
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
