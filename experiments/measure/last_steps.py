"""The share of the variance between seeds that is noise of the last steps.

Runs are tested several times over their last steps, and with the average of the weights over these. An ordinary run is
tested once, where it happens to stop; as far as seeds differ by that, averaging the weights makes seeds unnecessary.
"""

import statistics
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from experiments.measure.clock import device
from ilnrepro import tf
from ilnrepro.arguments import integer
from ilnrepro.comparison import planning
from ilnrepro.comparison.sheet import Sheet, write
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row
from ilnrepro.ops.augmentation import batches, prepare
from ilnrepro.ops.metrics import dice, overlap
from ilnrepro.protocols import PROTOCOLS, protocol
from ilnrepro.storage import dataset, files
from ilnrepro.training import process, testing
from ilnrepro.training.loop import augmentation, check, schedule
from ilnrepro.training.step import Training

STEM = "last-steps"


def add(commands):
    """Adds the command to the subparsers `commands`."""
    parser = commands.add_parser("last-steps", help="how much of the variance between seeds is noise of the last steps")
    parser.add_argument("--data", type=Path, required=True, help="data set file")
    parser.add_argument("--protocol", default="lite", help=f"one of {', '.join(PROTOCOLS)} (default: lite)")
    parser.add_argument("--methods", nargs="+", default=["in", "iln"])
    parser.add_argument("--folds", type=int, nargs="+", default=[1])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--last", type=integer(1), default=2000, help="steps before the end (default: 2000)")
    parser.add_argument("--every", type=integer(1), default=250, help="steps between two tests (default: 250)")
    parser.add_argument("--results", type=Path, required=True, help=f"folder below which tables/{STEM}.* is written")
    parser.set_defaults(act=_last_steps)


def _last_steps(arguments):
    files.check_writable(arguments.results)
    data = dataset.read(arguments.data)
    configurations = [job.configuration for job in planning.plan(
        [arguments.data], arguments.methods, protocol(arguments.protocol), arguments.rates, arguments.seeds,
        arguments.folds)]
    process.set_up(configurations[0])
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("last steps")
        rows = measure(configurations, data, arguments.last, arguments.every,
                       lambda done, total: bar.update(task, completed=done, total=total))
    synthetic = "SYNTHETIC data" if data.synthetic else "Data"
    table = sheet(rows, f"{synthetic}: {data.title}. Protocol {arguments.protocol}, every {arguments.every} of the "
                  f"last {arguments.last} steps; folds {', '.join(map(str, arguments.folds))}; rates "
                  f"{', '.join(f'{rate:g}' for rate in arguments.rates)}; seeds "
                  f"{', '.join(map(str, arguments.seeds))}.")
    write(arguments.results / "tables", STEM, table, rows)
    print(table.markdown())
    return 0


def measure(configurations, data, last=2000, every=250, progress=lambda done, total: None):
    """Trains some runs, and tests each several times over its last steps.

    Args:
      configurations: of runs on `data`; `process.set_up` has been called for one of them.
      last: number of steps before the end over which tests are spread.
      every: number of steps between two tests, which are at the ends of blocks.

    Returns:
      tidy rows, one for each run and test: method, fold, rate, seed, step, dice. For the averaged weights the step is
      'averaged'.

    Raises:
      InputError: as `loop.check`; a run diverged.
    """
    rows = []
    for number, configuration in enumerate(configurations):
        check(configuration, data)
        c = configuration
        run = {"method": c.method, "fold": c.fold, "rate": c.rate, "seed": c.seed}
        rows += [run | score for score in _scores_of_run(
            configuration, data, last, every, lambda share, n=number: progress(n + share, len(configurations)))]
    return rows


def _scores_of_run(configuration, data, last, every, progress):
    protocol, fold = configuration.protocol, configuration.fold
    images, masks = prepare(data.images, data.masks, protocol.shrink)
    test, trained = data.fold == fold, data.trained_on(fold, protocol.site)
    training = Training(configuration)
    image_index, angle, rates, blocks = schedule(configuration, int(trained.sum()))
    iterator = iter(batches(images[trained], masks[trained], image_index, angle,
                            **augmentation(configuration, angle.shape)))
    ends = {end for _, end in blocks[::-1][::max(1, every // protocol.block)][:last // every + 1]}
    variables, states = training.network.named_variables, []

    def score(step):
        predicted = testing.predict(training, images[test], masks[test], protocol)
        return {"step": step, "dice": float(dice(*overlap(masks[test], predicted)).mean())}

    for start, end in blocks:
        loss = training.block(iterator, tf.constant(rates[start]), tf.constant(end - start)).numpy()
        if not np.isfinite(loss).all():
            raise InputError(f"{configuration.path}: its run diverged; choose a lower rate")
        progress(end / len(rates))
        if end in ends:
            yield score(end)
            states.append({name: v.numpy() for name, v in variables.items()})
    for name, variable in variables.items():
        variable.assign(np.mean([state[name] for state in states], axis=0))
    yield score("averaged")


def sheet(rows, about):
    """The `Sheet` of the rows of `measure`.

    For each method it has standard deviations of Dice: over seeds at the last step, over the last steps of a run, and
    over seeds with averaged weights.
    """
    body = []
    for method in dict.fromkeys(r["method"] for r in rows):
        runs = {}
        for r in (r for r in rows if r["method"] == method):
            runs.setdefault(((r["fold"], r["rate"]), r["seed"]), []).append(r["dice"])
        between, averaged = (_variance_over_seeds({key: values[i] for key, values in runs.items()}) for i in (-2, -1))
        within = float(np.mean([np.var(values[:-1], ddof=1) for values in runs.values()]))
        share = "" if not between > 0 else f"{100 * min(1.0, within / between):.0f} %"
        body.append([method_row(method).title, str(len(runs)), *(f"{100 * value ** 0.5:.2f}" for value in
                                                                 (between, within, averaged)), share,
                     *(f"{statistics.mean(values[i] for values in runs.values()):.3f}" for i in (-2, -1))])
    machine = device()
    return Sheet("The last steps", f"Dice on the test fold, tested again over the last steps of a run. {about} "
                 "Standard deviations in points: over seeds at the last step; of a run over its last steps; over seeds "
                 "with the weights averaged over these. Share: of the variance over seeds, what a run's own over its "
                 f"last steps would make. Measured on {machine['device']}.",
                 ["Method", "runs", "SD over seeds", "SD over last steps", "SD over seeds, averaged", "share",
                  "Dice", "Dice, averaged"], body)


def _variance_over_seeds(scores):
    """Mean over folds and rates of the variance over seeds, of {((fold, rate), seed): Dice}; NaN for one seed."""
    folds = {}
    for (fold, _), value in scores.items():
        folds.setdefault(fold, []).append(value)
    variances = [np.var(values, ddof=1) for values in folds.values() if len(values) > 1]
    return float(np.mean(variances)) if variances else float("nan")
