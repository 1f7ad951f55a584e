"""The source of a picture of a test case: the data set if it is given, else the run file."""

import numpy as np

from ilnrepro.ops.augmentation import prepare


def source(run, case, data):
    """(image or None, true mask or None) of a run's test case.

    Both come from `data`, the run's `DataSet`. Where that is None there is no image, and the mask is the run file's.
    """
    if data is not None:
        one = slice(run.test["index"][case], run.test["index"][case] + 1)
        image, mask = prepare(data.images[one], data.masks[one], run.configuration.protocol.shrink)
        return image[0], mask[0]
    places = np.flatnonzero(run.examples[:len(run.example_truth)] == case)
    return None, run.example_truth[places[0]] if len(places) else None
