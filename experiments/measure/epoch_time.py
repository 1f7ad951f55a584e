"""Table 1 of Kolarik et al. 2020: seconds an epoch and a prediction, and their ratios to no normalization.

Steps and predictions of every method are measured in turns on slabs of one size, and multiplied by the slabs of an
epoch and of a test volume. The runs' own times would not do: they are made side by side, with little work a step.
"""

import statistics
from pathlib import Path

import numpy as np

from experiments.measure.cost import device, in_turns
from experiments.papers import KOLARIK_ROWS, kolarik_published
from ilnrepro import tf
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.comparison.sheet import write as write_sheet
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.storage import dataset, files
from ilnrepro.training.slabs import starts
from ilnrepro.training.step import Training

STEM = "kolarik-table1"


def measure(name, data_path, size=None, methods=None, rounds=7, steps=2, progress=True):
    """Times a training step and a slab's prediction of every method, in turns.

    Args:
      name: of the protocol.
      data_path: the data set whose slabs are counted, fold 1 tested.
      size: pixels a side of the slabs measured; None takes the data set's.
      methods: None takes the paper's.
      steps: taken in one turn.

    Returns:
      plain numbers and text, as `write` needs them.

    Raises:
      InputError: the data set holds no volumes.
    """
    data, chosen = dataset.read(data_path), protocol(name)
    if data.images.ndim != 4:
        raise InputError(f"{data_path}: holds images [n, H, W], and protocol {name} takes volumes; choose another")
    slabs = len(starts(data.images.shape[1], chosen.slab))
    size = size or data.images.shape[-1]
    rng = np.random.default_rng(0)
    image = tf.constant(rng.random((1, chosen.slab, size, size, 1)), tf.float32)
    mask = tf.constant(rng.integers(0, 2, (1, chosen.slab, size, size)), tf.int32)
    ready = iter(tf.data.Dataset.from_tensors((image, mask)).repeat())
    works, parameters = {}, {}
    for method in methods or KOLARIK_ROWS:
        training = Training(Configuration("random", "", "spine", method, 1, 1e-3, 0, chosen))
        works[method, "step"] = lambda t=training: t.block(ready, tf.constant(0.0), tf.constant(steps)).numpy()
        works[method, "prediction"] = lambda t=training: [t.predict(image).numpy() for _ in range(steps)]
        parameters[method] = sum(int(tf.size(v)) for v in training.trainable)
    tf.get_logger().setLevel("ERROR")  # it takes so many networks in one process for one that is traced again and again
    for work in works.values():
        work()  # traced and warmed up
    title = f"time: {rounds} rounds of {len(parameters)} networks at {chosen.slab}×{size}×{size}" if progress else None
    seconds = in_turns(works, rounds, title)
    rows = []
    for method in parameters:
        row = {"method": method, "parameters": parameters[method]}
        for what in ("step", "prediction"):
            ratios = [a / b for a, b in zip(seconds[method, what], seconds["none", what], strict=True)] \
                if ("none", what) in seconds else []
            row[f"{what}_seconds"] = statistics.median(seconds[method, what]) / steps
            row[f"{what}_ratio"] = statistics.median(ratios) if ratios else None
        rows.append(row)
    return {"rows": rows, "protocol": name, "dataset": Path(data_path).stem, "synthetic": data.synthetic,
            "slab": chosen.slab, "size": size, "batch": chosen.batch, "rounds": rounds,
            "epoch_slabs": int((data.fold != 1).sum()) * slabs, "volume_slabs": slabs, **device()}


def _with_paper(measured):
    """Rows with seconds an epoch and a volume, and the paper's numbers and ratios."""
    published = kolarik_published(1)
    rows = []
    for row in measured["rows"]:
        paper, none = published.get(row["method"]), published["none"]
        of_paper = {column: float(paper[column]) if paper else None
                    for column in ("seconds_per_epoch", "prediction_seconds")}
        rows.append({
            "method": row["method"], "parameters": row["parameters"],
            "seconds_per_epoch": row["step_seconds"] * measured["epoch_slabs"], "epoch_ratio": row["step_ratio"],
            "prediction_seconds": row["prediction_seconds"] * measured["volume_slabs"],
            "prediction_ratio": row["prediction_ratio"],
            **{f"published_{column}": value for column, value in of_paper.items()},
            **{f"published_{ratio}": of_paper[column] / float(none[column]) if paper else None for ratio, column in
               (("epoch_ratio", "seconds_per_epoch"), ("prediction_ratio", "prediction_seconds"))}})
    return rows


def caption(measured):
    """What the table shows."""
    m = measured
    return (f"Table 1 of Kolarik et al. 2020: seconds for one epoch of {m['epoch_slabs']} slabs and for the prediction "
            f"of one volume of {m['volume_slabs']} slabs, the numbers of slabs from the data set {m['dataset']} "
            f"({'SYNTHETIC, ' if m['synthetic'] else ''}fold 1 tested), each slab {m['slab']}×{m['size']}×{m['size']}, "
            f"batch {m['batch']}; step and prediction measured by themselves, medians of {m['rounds']} rounds in "
            f"turns; ratios to no normalization, round by round. {m['device']}, {m['threads']} threads, {m['kernels']} "
            f"kernels, TensorFlow {m['tensorflow']}. 'published' is the paper's, slabs of 16×256×256 on an Nvidia RTX "
            "2080 Ti, the numbers of slabs not stated: only the ratios compare.")


def write(measured, results):
    """Writes the table's files below `results`/tables and the measurement beside them; returns a screen table."""
    results = Path(results)
    files.write_json(results / f"{STEM}.json", measured)
    rows = _with_paper(measured)

    def shown(value, digits):
        return "" if value is None else f"{value:.{digits}f}"

    body = [[method_row(row["method"]).title, shown(row["seconds_per_epoch"], 1), shown(row["epoch_ratio"], 2),
             shown(row["published_seconds_per_epoch"], 0), shown(row["published_epoch_ratio"], 2),
             shown(row["prediction_seconds"], 2), shown(row["prediction_ratio"], 2),
             shown(row["published_prediction_seconds"], 0), shown(row["published_prediction_ratio"], 2),
             f"{row['parameters']:,}"] for row in rows]
    headings = ["Method", "s an epoch", "ratio to none", "published s", "published ratio", "s a prediction",
                "ratio to none", "published s", "published ratio", "parameters"]
    table = Sheet("Table 1 of Kolarik et al. 2020 (only the ratios compare with the paper's)", caption(measured),
                  headings, body)
    write_sheet(results / "tables", STEM, table, rows)
    return table.rich()
