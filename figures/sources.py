"""What a picture of a test case is drawn from: the data set where it is given, else what the run file has of it."""

import numpy as np

from ilnrepro.ops.augmentation import prepare


def source(run, case, data):
    """(image or None, true mask or None) of one of a run's test cases: of its `DataSet`, or without one the mask that
    the run file may have."""
    if data is not None:
        one = slice(run.test["index"][case], run.test["index"][case] + 1)
        image, mask = prepare(data.images[one], data.masks[one], run.configuration.protocol.shrink)
        return image[0], mask[0]
    here = np.flatnonzero(run.examples[:len(run.example_truth)] == case)
    return None, run.example_truth[here[0]] if len(here) else None
