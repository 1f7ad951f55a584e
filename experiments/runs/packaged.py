"""The command `python -m experiments packaged`: a network for the package, trained on all subjects, and its card."""

import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.runs import card, options
from ilnrepro import api, console
from ilnrepro.comparison import scores
from ilnrepro.comparison.choice import cells
from ilnrepro.errors import InputError
from ilnrepro.storage import dataset, ensemble, files, runfile
from ilnrepro.studies import answer
from ilnrepro.use import packaged

NETWORKS = 3
LARGEST = 5e6  # bytes a network
AUGMENTATION = {"zoom": 1.4, "gamma": 1.5}

# What the runs say: their `answer.Answer`, the protocol's name, {fold: rate chosen}, and of each test image of the best
# method at these rates, `[seeds · images]`, Dice and the pixels of the true and the predicted mask, in the data set's
# own pixels.
Evidence = namedtuple("Evidence", "answer protocol rates dice truth predicted")
# How the network does on another data set: its title, size, `api.Scores`, and the true pixels of each image.
Elsewhere = namedtuple("Elsewhere", "title size scores truth")


def add(commands, pixel):
    """Adds the command to the subparsers `commands`.

    Args:
      pixel: mm a side of a pixel, for a data set that tells none.
    """
    parser = commands.add_parser("packaged", help="train the network that comes with the package, by the method and "
                                 "rate that the runs of a results folder favour, and write its card")
    parser.add_argument("--data", type=Path, required=True, help="the data set file of the runs")
    options.add_results(parser)
    parser.add_argument("--elsewhere", type=Path, help="a data set of other scanners, to score the network on")
    parser.add_argument("--work", type=Path, default=Path("build/packaged"), help="folder for the trainings, which go "
                        "on there (default: build/packaged)")
    parser.add_argument("--output", type=Path, default=packaged.FOLDER, help="folder to write (default: the package's)")
    parser.set_defaults(act=lambda arguments: _make(arguments, pixel))


def _make(arguments, pixel):
    data = dataset.read(arguments.data)
    if data.restricted:
        raise InputError(f"{arguments.data}: its licence ({data.licence}) does not let what was made of it be passed "
                         "on; give other data")
    if data.images.ndim != 3:
        raise InputError(f"{arguments.data}: holds volumes; packaged networks are of images")
    elsewhere = arguments.elsewhere and dataset.read(arguments.elsewhere)
    if elsewhere and (elsewhere.structure, elsewhere.images.ndim) != (data.structure, 3):
        raise InputError(f"{arguments.elsewhere}: holds {elsewhere.structure}, {elsewhere.size}; give images of "
                         f"{data.structure}")
    found = evidence(arguments.results, arguments.data.stem, data)
    for folder in (arguments.work, arguments.output):
        files.check_writable(folder)
    best = found.answer.standings[0]
    print(f"{best.method} at rate {best.rate:g}, cross-validated Dice {best.dice:.3f}: training {NETWORKS} networks on "
          f"{data.size}", flush=True)
    trained = []
    for seed in range(NETWORKS):
        trained.append(arguments.work / f"{best.method}-lr{best.rate:g}-seed{seed}.h5")
        status = console.call([sys.executable, "-m", "ilnrepro", *_training(arguments.data, best, found.protocol, seed,
                                                                            trained[-1])])
        if status:
            return status
    target = arguments.output / f"{arguments.data.stem}.h5"
    content = _packed(trained, best, pixel, arguments.work / "packed")
    files.write(target, content)
    scored = elsewhere and _scored(target, elsewhere, arguments.elsewhere)
    text = card.text(target.stem, data, found, runfile.read(trained[0]).configuration, packed_pixel(data, pixel),
                     len(content), scored)
    files.write(target.with_suffix(".md"), text)
    print(f"{target}: {len(content) / 1e6:.1f} MB; card: {target.with_suffix('.md')}")
    return 0


def evidence(results, name, data):
    """The `Evidence` of a results folder's runs on a data set: of all methods with runs on each of its folds, the rate
    of each fold chosen on the others.

    Raises:
      InputError: there are no such runs, or they are of another content of the data set.
    """
    records = scores.collect(results, datasets=[name])
    folds = {}
    for record in records:
        c = record.configuration
        if c.dataset_checksum != data.checksum:
            raise InputError(f"{record.path}: its run was on another content of the data set {name}; give that")
        folds.setdefault(c.method, set()).add(c.fold)
    records = [r for r in records if folds[r.configuration.method] == set(data.folds)]
    if not records:
        raise InputError(f"{results}: no method has runs on each of the folds {', '.join(map(str, data.folds))}; do "
                         "those first")
    found = answer.answer(records)
    best, first = found.standings[0].method, records[0].configuration
    rule = "cross-fold" if len({r.configuration.rate for r in records}) > 1 else "test"
    selected = {fold: cell for (m, _, fold), cell in cells(records, rule).items() if m == best}
    runs = [run for cell in selected.values() for run in cell.records if len(run.dice)]
    whole = first.protocol.shrink ** 2
    return Evidence(found, first.protocol.name, {fold: cell.rate for fold, cell in sorted(selected.items())},
                    np.concatenate([run.dice for run in runs]),
                    *(whole * np.concatenate([run.measures[f"{key}_pixels"] for run in runs])
                      for key in ("truth", "predicted")))


def _training(data, best, name, seed, output):
    """The words of one training's command."""
    changes = [word for key, value in AUGMENTATION.items() for word in (f"--{key}", f"{value:g}")]
    return ["train", str(data), "--method", best.method, "--rate", f"{best.rate:g}", "--protocol", name, *changes,
            "--seed", str(seed), "--output", str(output)]


def packed_pixel(data, pixel):
    """mm a side of the pixels that the network gets: those that the data set was resampled to, else `pixel`."""
    return data.preparation.spacing or pixel


def _packed(trained, best, pixel, folder):
    """The bytes of an ensemble of trained networks with half weights, which resamples images to `pixel` mm.

    Raises:
      InputError: it is too large to be packaged.
    """
    expected = {"text": f"Dice {card.with_interval(best.dice, best.low, best.high)} in cross-validation by the same "
                "method and protocol, without augmentation of scale and grey levels", "dice": best.dice,
                "low": best.low, "high": best.high}
    for path in trained:
        run = runfile.read(path)
        spacing = packed_pixel(run, pixel)
        run.preparation = replace(run.preparation, spacing=spacing, assumed=spacing)
        run.expected = expected
        runfile.write(folder / path.name, run)
    together = folder / "ensemble.h5"
    ensemble.write(together, [folder / path.name for path in trained], half=True)
    content = together.read_bytes()
    if len(content) > LARGEST * len(trained):
        raise InputError(f"{together}: {len(content) / 1e6:.1f} MB for {len(trained)} networks, and "
                         f"{LARGEST / 1e6:g} MB each may be packaged; choose a smaller network")
    return content


def _scored(model, data, path):
    """The `Elsewhere` of a packaged network on a data set."""
    from ilnrepro.use import prediction, segmenter

    spacings = data.optional.get("spacing", [None] * len(data))
    masks = prediction.masks_of(segmenter.load(model), data.images, spacings, path)
    truth = np.asarray(data.masks)
    return Elsewhere(data.title, data.size, api.scores(truth, masks, data.subject), truth.sum((1, 2)))
