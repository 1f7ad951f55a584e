"""The description of a file's content, for people and for programs."""

import json

import h5py
import numpy as np
from rich.table import Table

from ilnrepro.errors import InputError
from ilnrepro.norms import method
from ilnrepro.ops.augmentation import prepare
from ilnrepro.ops.metrics import fullest_slice
from ilnrepro.protocols import WHOLE
from ilnrepro.storage import dataset, ensemble, files, hdf5, runfile

_COLUMNS, _ROWS = 64, 4  # size of the curve in a terminal


def describe(path):
    """The content of a run or data set file as plain numbers, text, lists and dictionaries."""
    try:
        hdf5.check_bytes(path)
        with h5py.File(path, "r", locking=False) as file:
            kind = file.attrs.get("kind")
    except (InputError, OSError):
        kind = "run"
    if kind == ensemble.KIND:
        return _describe_ensemble(path)
    return _describe_data(path) if kind == "data set" else _describe_run(path)


def _describe_ensemble(path):
    networks = ensemble.read(path)
    first = networks[0]
    rows = [{"fold": c.fold, "rate": c.rate, "seed": c.seed, "status": run.status, "parameters": run.parameters,
             "Dice of its own test": float(run.dice.mean()) if run.test else "none: it trained on all subjects"}
            for run in networks for c in [run.configuration]]
    return {"file": str(path), "kind": ensemble.KIND, "title": first.title, "synthetic": first.synthetic,
            "configuration": ensemble.shared_settings(first), "networks": rows, "weights": _shapes(first)}


def _shapes(run):
    return {name: list(values.shape) for name, values in run.weights.items()}


def _describe_run(path):
    run = runfile.read(path)
    configuration = run.configuration
    settings = {"protocol_version": run.versions[0], **configuration.as_dict()}
    protocol = settings.pop("protocol")
    content = {"file": str(path), "kind": "run", "status": run.status, "title": run.title, "synthetic": run.synthetic,
             "configuration": {**settings, "configuration_hash": configuration.hash,
                               **{f"protocol.{key}": value for key, value in protocol.items()}},
             "preparation": str(run.preparation), "parameters": run.parameters, "steps": len(run.loss),
             "loss": {"first": float(run.loss[0]), "last 50 steps": float(run.loss[-50:].mean()),
                      "curve": _curve(run.loss)},
             "provenance": _plain(run.provenance), "timing": _plain(run.timing)}
    if run.test:
        scores = run.dice
        content["dice"] = {"n": len(scores), "mean": float(scores.mean()), "std": float(scores.std()),
                         "median": float(np.median(scores)), "least": float(scores.min()), "both_empty": run.both_empty}
        content["cases"] = [{"case": i, "name": str(name), "subject": str(subject), "dice": float(score),
                           "true pixels": int(true), "predicted pixels": int(predicted)}
                          for i, (name, subject, score, true, predicted) in enumerate(zip(
                              run.test["name"], run.test["subject"], scores, run.test["truth_pixels"],
                              run.test["predicted_pixels"], strict=True))]
    if configuration.fold == WHOLE:
        content["expected"] = _plain(run.expected)
    if len(run.layers):
        content["gates"] = [{"layer": str(layer), "channels": int(channels), "rho": run.rho[-1, i].tolist(),
                           "share": float(run.gate[-1, i]),
                           "largest change of rho": float(np.abs(run.rho[:, i] - run.rho[0, i]).max())}
                          for i, (layer, channels) in enumerate(zip(run.layers, run.channels, strict=True))]
    if run.weights:
        content["weights"] = _shapes(run)
    return content


def _describe_data(path):
    data = dataset.read(path)
    return {"file": str(path), "kind": "data set", "title": data.title, "structure": data.structure,
            "synthetic": data.synthetic, "source": data.source, "licence": data.licence, "citation": data.citation,
            "preparation": str(data.preparation),
            "images": len(data), "shape": list(data.images.shape[1:]), "type": str(data.images.dtype),
            "mask_pixels": {"least": int(_areas(data).min()), "median": float(np.median(_areas(data))),
                            "most": int(_areas(data).max())},
            "folds": [{"fold": k, "subjects": len(set(data.subject[data.fold == k])),
                       "images": int((data.fold == k).sum())} for k in data.folds],
            "optional": sorted(data.optional), "checksum": data.checksum,
            "audit": json.loads(data.audit) if data.audit else {}}


def _areas(data):
    return np.array([mask.sum() for mask in data.masks])


def _plain(values):
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}


def _curve(loss):
    """The medians of up to `_COLUMNS` equal parts of the finite part of a loss curve."""
    finite = loss[np.isfinite(loss)]
    return [float(np.median(part)) for part in np.array_split(finite, min(_COLUMNS, len(finite)) or 1) if len(part)]


def show(description, console, everything=False):
    """Prints a description of `describe`.

    For a run it prints headline, curve, worst cases and gates, and with `everything` the rest too; for a data set, all.
    """
    rest = dict(description)
    if description["kind"] == "run":
        _headline(rest, console)
        if not everything:
            console.print("configuration, versions, timing: --all; all of it for programs: --json", style="dim")
            return
    for key, value in rest.items():
        if isinstance(value, dict):
            _table(console, key, [{"field": k, "value": v} for k, v in value.items()])
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            _table(console, key, value)
        else:
            console.print(f"[bold]{key}[/bold]: ", end="")
            console.print(str(value), markup=False)


def _headline(rest, console):
    """Prints what people read first, and removes it from `rest`."""
    c, dice, cases = rest["configuration"], rest.pop("dice", None), rest.pop("cases", [])
    title = f"{method(c['method']).title} on {'SYNTHETIC data: ' if rest['synthetic'] else ''}{rest.pop('title')}"
    score = f"expected {rest['expected']['text']}" if "expected" in rest else "no test images"
    if dice:
        score = f"Dice {dice['mean']:.3f}±{dice['std']:.3f} (median {dice['median']:.3f}), {dice['n']} test images"
    console.print(f"{title}: {score}", markup=False, style="bold")
    seconds, steps = rest["timing"]["training"], rest["steps"]
    fold = "all" if c["fold"] == WHOLE else c["fold"]
    console.print(f"{rest['status']}; {c['structure']}-{fold}, rate {c['rate']:g}, seed {c['seed']}, protocol "
                  f"{c['protocol.name']}; {steps:,} steps in {seconds:.0f} s; {rest['parameters']:,} parameters; "
                  f"{rest['preparation']}\n", markup=False)
    curve = rest["loss"].pop("curve")
    if len(curve) > 1:
        console.print(f"loss, median of each of {len(curve)} stretches, logarithmic")
        console.print("\n".join(_blocks(curve)), markup=False, highlight=False, no_wrap=True)
        console.print()
    worst = sorted(cases, key=lambda case: (case["dice"], -case["true pixels"]))[:10]
    _table(console, f"the {len(worst)} worst of {len(cases)} test images", worst)
    console.print()
    _table(console, "gates at the end of training", rest.pop("gates", []))


def _blocks(curve):
    """A curve as `_ROWS` lines of block characters, with its largest and smallest value beside them."""
    logs = np.log(np.maximum(curve, 1e-30))
    low, high = logs.min(), logs.max()
    heights = np.rint((logs - low) / max(high - low, 1e-9) * (8 * _ROWS - 1)).astype(int) + 1
    labels = {0: f"{max(curve):.3g}", _ROWS - 1: f"{min(curve):.3g}"}
    return [f"{labels.get(row, ''):>8} " + "".join(" ▁▂▃▄▅▆▇█"[np.clip(h - 8 * (_ROWS - 1 - row), 0, 8)]
                                                   for h in heights) for row in range(_ROWS)]


def _table(console, title, rows):
    if not rows:
        return
    table = Table(title=title, title_justify="left", box=None)
    for heading in rows[0]:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    console.print(table)


def _text(value):
    from rich.markup import escape

    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return escape(", ".join(_text(v) for v in value[:8]) + (", ..." if len(value) > 8 else ""))
    return escape(str(value))


def draw_case(run_path, data_path, case, output):
    """Draws a test image with the contours of truth and prediction; of a volume, the slice with most of the true mask.

    Raises:
      InputError: there is no such case, the run used another data set, or `output` cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    run, data = runfile.read(run_path), dataset.read(data_path)
    if data.checksum != run.configuration.dataset_checksum:
        raise InputError(f"{data_path}: not the data set of this run (it used {run.configuration.dataset}, "
                         f"checksum {run.configuration.dataset_checksum[:12]}); give that file")
    if not run.test:
        why = "trained on all subjects" if run.configuration.fold == WHOLE else run.status
        raise InputError(f"{run_path}: the run {why}, so it has no test images")
    if not 0 <= case < len(run.masks):
        raise InputError(f"--case: {case} is not one of 0 to {len(run.masks) - 1}")
    index = run.test["index"][case]
    one = slice(index, index + 1)
    images, masks = prepare(data.images[one], data.masks[one], run.configuration.protocol.shrink)
    image, truth, predicted, where = images[0], masks[0], run.masks[case], ""
    if image.ndim == 3:
        k = fullest_slice(truth)
        where = f", slice {k + 1} of {len(image)}"
        image, truth, predicted = image[k], truth[k], predicted[k]
    figure, axes = plt.subplots(1, 2, figsize=(8, 4.4), layout="constrained")
    for axis in axes:
        axis.imshow(image, cmap="gray")
        axis.set_axis_off()
    for mask, colour in ((truth, "red"), (predicted, "lime")):
        if mask.any() and not mask.all():
            axes[1].contour(mask, [0.5], colors=colour, linewidths=1)
    synthetic = "SYNTHETIC, " if run.synthetic else ""
    figure.suptitle(f"{synthetic}{run.test['name'][case]}{where}: DSC {run.dice[case]:.3f}\n"
                    "truth red, prediction green", fontsize=9)
    try:
        files.write_figure(output, figure, dpi=150)
    finally:
        plt.close(figure)
