"""The time of a training step and a prediction with each method, on slabs of volumes.

Steps and predictions are measured in turns on slabs of one size; the table multiplies them by the number of slabs of an
epoch and of a test volume. The times in run files do not serve, because runs are done side by side.
"""

import statistics
from pathlib import Path

import numpy as np

from experiments.measure.clock import device, time_in_turns
from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.ops.slabs import starts
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.storage import dataset
from ilnrepro.training.step import Training


def measure(name, data_path, methods, size=None, rounds=7, steps=2, progress=True):
    """Measures the time of a training step and of a slab's prediction with each method, in turns.

    Args:
      name: of the protocol.
      data_path: the data set whose slabs are counted, with fold 1 for the test.
      methods: names.
      size: pixels a side of the measured slabs; None takes the data set's.
      rounds: turns of each method.
      steps: number in one turn.
      progress: whether to show a progress bar.

    Returns:
      a dictionary of numbers and text, from which the table is built.

    Raises:
      InputError: the data set holds no volumes.
    """
    data, settings = dataset.read(data_path), protocol(name)
    if data.images.ndim != 4:
        raise InputError(f"{data_path}: holds images [n, H, W], and protocol {name} takes volumes; choose another")
    slabs = len(starts(data.images.shape[1], settings.slab))
    size = size or data.images.shape[-1]
    rng = np.random.default_rng(0)
    image = tf.constant(rng.random((1, settings.slab, size, size, 1)), tf.float32)
    mask = tf.constant(rng.integers(0, 2, (1, settings.slab, size, size)), tf.int32)
    batches = iter(tf.data.Dataset.from_tensors((image, mask)).repeat())
    functions, parameters = {}, {}
    for method in methods:
        training = Training(Configuration("random", "", "spine", method, 1, 1e-3, 0, settings))
        functions[method, "step"] = lambda t=training: t.block(batches, tf.constant(0.0), tf.constant(steps)).numpy()
        functions[method, "prediction"] = lambda t=training: [t.predict(image).numpy() for _ in range(steps)]
        parameters[method] = sum(int(tf.size(v)) for v in training.trainable)
    tf.get_logger().setLevel("ERROR")  # it warns of retracing, since there are so many networks in one process
    for function in functions.values():
        function()  # traced and warmed up
    title = f"time: {rounds} rounds of {len(methods)} networks at {settings.slab}×{size}×{size}" if progress else None
    seconds = time_in_turns(functions, rounds, title)
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
            "slab": settings.slab, "size": size, "batch": settings.batch, "rounds": rounds,
            "epoch_slabs": int((data.fold != 1).sum()) * slabs, "volume_slabs": slabs, **device()}
