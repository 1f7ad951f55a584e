"""Networks in use: as exported, and as predicting here."""

import tempfile
from pathlib import Path

import numpy as np

from ilnrepro import tf
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.storage import runfile
from ilnrepro.training import loop
from ilnrepro.use.segmenter import export, load


def steps(size, batch, methods):
    """{(way, method): step}; `step` segments one batch with a network trained for a step, 'exported' or by 'predict'
    from its run file."""
    from data_prep.phantom import phantom

    data = phantom("LV", size, 3)
    images = tf.constant(np.random.default_rng(0).random((batch, size, size)), tf.float32)
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in methods:
            path, model = Path(folder) / f"{method}.h5", Path(folder) / method
            trained = loop.run(Configuration("phantom", "", "LV", method, 1, 0.1, 0,
                                             protocol("paper", epochs=1, steps_per_epoch=1)), data)
            runfile.write(path, trained)
            export(path, model)
            for way, source in (("exported", model), ("predict", path)):
                made[way, method] = _step(load(source), images)
    return made


def _step(segment, images):
    return lambda: segment(images)["mask"].numpy()
