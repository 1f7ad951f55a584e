"""The cost of ILN and IN in both forms: seconds for 200 training iterations of the U-Net, and parameters."""

import numpy as np

from experiments.measure.clock import device, time_in_turns
from ilnrepro import tf
from ilnrepro.norms import FORMS
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.training.step import Training

ITERATIONS = 200
METHODS = ("in", "iln")
_ROUND = 20  # iterations in one turn of a network


def measure(size=256, progress=True):
    """Measures IN and ILN in both forms on random images of `size` × `size` pixels, in turns.

    Returns:
      a dictionary of numbers and text, from which the table is built.
    """
    trainings = {}
    for form in FORMS:
        for method in METHODS:
            configuration = Configuration("random", "", "LV", method, 1, 0.05, 0, protocol("paper", form=form))
            trainings[method, form] = Training(configuration)
    rng = np.random.default_rng(0)
    image = tf.constant(rng.random((1, size, size, 1)), tf.float32)
    mask = tf.constant(rng.integers(0, 2, (1, size, size)), tf.int32)
    batches = iter(tf.data.Dataset.from_tensors((image, mask)).repeat())
    for training in trainings.values():
        training.block(batches, tf.constant(0.0), tf.constant(2))  # traced and warmed up
    seconds = time_in_turns(
        {key: lambda training=training: training.block(batches, tf.constant(0.0), tf.constant(_ROUND)).numpy()
         for key, training in trainings.items()}, ITERATIONS // _ROUND,
        f"cost: {ITERATIONS} iterations of {len(trainings)} networks at {size}²" if progress else None)
    rows = [{"method": method, "form": form, "seconds_per_200_iterations": sum(seconds[method, form]),
             "rounds": seconds[method, form],
             "parameters": sum(int(tf.size(v)) for v in training.trainable)}
            for (method, form), training in trainings.items()]
    return {"rows": rows, "size": size, "batch": 1, **device()}
