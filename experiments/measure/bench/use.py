"""The benchmark's part on networks in use: as exported models, and as `predict` uses a run file."""

import tempfile
from pathlib import Path

import numpy as np

from ilnrepro import tf
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.storage import runfile
from ilnrepro.training import loop
from ilnrepro.use.segmenter import export, load


def steps(size, batch, methods):
    """{(way, method): step}; `step` segments one batch with a network that was trained for one step.

    The way is 'exported' for an exported model, and 'predict' for the run file itself.
    """
    from data_prep.phantom import phantom

    data = phantom("LV", size, 3)
    images = tf.constant(np.random.default_rng(0).random((batch, size, size)), tf.float32)
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in methods:
            path, model = Path(folder) / f"{method}.h5", Path(folder) / method
            run = loop.run(Configuration("phantom", "", "LV", method, 1, 0.1, 0,
                                         protocol("paper", epochs=1, steps_per_epoch=1)), data)
            runfile.write(path, run)
            export(path, model)
            for way, source in (("exported", model), ("predict", path)):
                result[way, method] = _step(load(source), images)
    return result


def _step(segment, images):
    return lambda: segment(images)["mask"].numpy()
