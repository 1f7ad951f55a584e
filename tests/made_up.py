"""A made-up data set and run files of it, without training: for tests of what is made from run files."""

import numpy as np

from ilnrepro.ops.metrics import overlap
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.storage import dataset, runfile

HOSTILE = ('<script>alert("name")</script>', "\"quotes' & </script>", "</svg><b>bold", "<img src=x onerror=alert(2)>",
           "{{ 7 * 7 }}", "心臓 ☃", "שלום עולם", "--><!--")
LAYERS, CHANNELS = ["down0/conv0", "down1/conv0", "bottom/conv0"], [16, 32, 256]
SIDE, SUBJECTS, SLICES = 32, 4, 6
METHODS, RATES = ("none", "in", "iln", "softmax"), (1.5, 0.1)
STEPS, RECORDS = 100, 5


def data(path, synthetic=False):
    """Discs of several sizes, in three folds, their names and the title hostile; written to `path`."""
    n = 3 * SUBJECTS * SLICES
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centres, radii = rng.uniform(12, 20, [n, 2]), rng.uniform(3, 8, n)
    masks = np.array([(rows - y) ** 2 + (columns - x) ** 2 < r**2 for (y, x), r in zip(centres, radii, strict=True)])
    images = (60 * masks + rng.integers(40, 120, masks.shape)).astype(np.uint8)
    subject = np.repeat([f"S{i} {HOSTILE[i % len(HOSTILE)]}" for i in range(3 * SUBJECTS)], SLICES)
    name = np.array([f"{HOSTILE[i % len(HOSTILE)]} {i}" for i in range(n)])
    fold = np.repeat([1, 2, 3], SUBJECTS * SLICES)
    title = f"Sunnybrook {HOSTILE[0]}"
    dataset.write(path, dataset.DataSet(images, masks.astype(np.uint8), subject, name, fold, title, "LV", "", "", "",
                                        synthetic))
    return path


def runs(path, results, **changes):
    """Run files of METHODS on every fold, at RATES, below `results`; no normalization diverges at the higher rate and
    collapses on fold 2. `changes` are of their protocol."""
    source = dataset.read(path)
    for method in METHODS:
        for fold in source.folds:
            for rate in RATES:
                configuration = Configuration(path.stem, source.checksum, "LV", method, fold, rate, 0,
                                              protocol("quick", **changes))
                outcome = "complete"
                if method == "none":
                    outcome = "diverged" if rate > 1 else "collapsed" if fold == 2 else "complete"
                runfile.write(results / configuration.path, _run(source, configuration, outcome))
    return results


def _run(source, configuration, outcome):
    testing = np.flatnonzero(source.fold == configuration.fold)
    truth = source.masks[testing]
    rng = np.random.default_rng([configuration.fold, *map(ord, configuration.method)])
    shift = rng.integers(0, 4 if configuration.rate < 1 else 6, len(truth))
    predicted = np.array([np.roll(mask, s, 1) for mask, s in zip(truth, shift, strict=True)])
    if outcome == "collapsed":
        predicted[:] = 0
    loss = (0.5 * np.exp(-np.arange(STEPS) / 40) + rng.uniform(0.01, 0.05, STEPS)).astype(np.float32)
    pixels = dict(zip(("truth_pixels", "predicted_pixels", "common_pixels"), overlap(truth, predicted), strict=True))
    test = {"name": source.name[testing], "subject": source.subject[testing], "index": testing, **pixels}
    if outcome == "diverged":
        test, predicted, loss[-1] = {}, predicted[:0], np.nan
    numbers = {"iln": 1, "softmax": 2}.get(configuration.method, 0)
    rho = 0.5 + np.cumsum(rng.normal(0, 0.02, [RECORDS, len(LAYERS), numbers]), axis=0)
    examples = np.arange(0, len(predicted), 3)
    return runfile.Run(
        configuration=configuration, title=source.title, synthetic=source.synthetic, loss=loss,
        rate=np.full(STEPS, configuration.rate, np.float32), gate_step=np.arange(RECORDS) * (STEPS // RECORDS), rho=rho,
        gate=rho[..., 0] if numbers else rho, layers=LAYERS if numbers else [], channels=CHANNELS if numbers else [],
        parameters=100 + 22 * (configuration.method == "iln"), test=test, masks=predicted, examples=examples,
        example_truth=truth[examples], timing={"training": 3.0, "test": 1.0, "steps": STEPS},
        provenance={"system": "Linux", "processor": "x86_64", "gpu": "none", "kernels": "native",
                    "tensorflow": "2.21.0", "python": "3.11.0"})
