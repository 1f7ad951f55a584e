"""The cost of the modes: parameters, and the time of a training batch and of a prediction."""

import statistics

import numpy as np

from experiments.analysis.sites import MODES
from experiments.measure.clock import device, time_in_turns
from ilnrepro import tf
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.training.step import Training

STEM = "dualnorm-cost"


def measure(name, size, rounds=5, steps=1, progress=True):
    """Measures the time of a training batch (two steps) and of a prediction in each mode, in turns.

    Args:
      name: of the protocol.
      size: pixels a side of the random images.
      rounds: turns of each mode.
      steps: batches in one turn.
      progress: whether to show a progress bar.

    Returns:
      a dictionary of numbers and text, for `sheet`.
    """
    settings = protocol(name)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((settings.batch, size, size, 1)), tf.float32)
    masks = tf.constant(rng.integers(0, 2, (settings.batch, size, size)), tf.int32)
    batches = iter(tf.data.Dataset.from_tensors((images, masks)).repeat())
    functions, parameters = {}, {}
    for mode in MODES:
        training = Training(Configuration("random", "", "LV", "bn", 1, 1e-3, 0, protocol(name, class_mask=mode)))
        truth = masks if mode == "oracle" else None
        functions[mode, "batch"] = lambda t=training: t.block(batches, tf.constant(0.0), tf.constant(steps)).numpy()
        functions[mode, "prediction"] = lambda t=training, m=truth: [t.predict(images, m).numpy() for _ in range(steps)]
        parameters[mode] = sum(int(tf.size(v)) for v in training.trainable)
    for function in functions.values():
        function()  # traced and warmed up
    title = f"time: {rounds} rounds of {len(MODES)} modes at {size}²" if progress else None
    seconds = time_in_turns(functions, rounds, title)
    rows = [{"mode": mode, "parameters": parameters[mode],
             **{f"{what}_seconds": statistics.median(seconds[mode, what]) / steps for what in ("batch", "prediction")},
             **{f"{what}_ratio": statistics.median(a / b for a, b in zip(seconds[mode, what], seconds["none", what],
                                                                         strict=True))
                for what in ("batch", "prediction")}} for mode in MODES]
    return {"rows": rows, "protocol": name, "size": size, "batch": settings.batch, "rounds": rounds, **device()}


def sheet(measured):
    """The `Sheet` of a measurement."""
    m = measured
    base = m["rows"][0]["parameters"]
    body = [[MODES[r["mode"]], f"{r['parameters']:,}", f"{r['parameters'] - base:,}",
             f"{1000 * r['batch_seconds']:.0f}", f"{r['batch_ratio']:.2f}",
             f"{1000 * r['prediction_seconds']:.0f}", f"{r['prediction_ratio']:.2f}"] for r in m["rows"]]
    return Sheet("DualNorm-UNet: cost", "DualNorm-UNet (Xiao et al. 2021): trainable parameters, milliseconds for a "
                 f"training batch (two steps) and for the prediction of a batch, {m['batch']} random images of "
                 f"{m['size']}×{m['size']}; medians of {m['rounds']} rounds in turns, ratios to the baseline round by "
                 f"round. {m['device']}, {m['threads']} threads, {m['kernels']} kernels, TensorFlow {m['tensorflow']}. "
                 "The paper's abstract gives no times.",
                 ["mode", "parameters", "more", "ms a batch", "ratio", "ms a prediction", "ratio"], body)
