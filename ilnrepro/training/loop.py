"""The loop of one run: it trains on all folds but one, tests on that one, and returns a `Run`; or trains on all."""

import time

import numpy as np

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.networks import NETWORKS
from ilnrepro.networks.layers import check_sides
from ilnrepro.norms import method
from ilnrepro.ops.augmentation import batches, epoch_order, factors, prepare
from ilnrepro.ops.slabs import cut
from ilnrepro.protocols import WHOLE
from ilnrepro.storage import checkpoint
from ilnrepro.storage.runfile import Run
from ilnrepro.training import testing
from ilnrepro.training.provenance import peak_bytes, provenance
from ilnrepro.training.step import Training

EXAMPLES = 8  # test images whose true masks are kept (paper, figure 2)
CHECKPOINT_SECONDS = 180


class Stopped(Exception):
    """The run was asked to stop; its state is saved."""


def check(configuration, data):
    """Raises InputError unless data set, method and protocol fit together.

    The data set must have the fold and the site, and dimensions and sides that suit the network; the method's groups
    must divide the network's channels.
    """
    if configuration.fold not in (WHOLE, *data.folds):
        raise InputError(f"fold: {configuration.fold} is not in the data set {configuration.dataset} "
                         f"(it has {', '.join(map(str, data.folds))})")
    protocol, dimensions = configuration.protocol, data.images.ndim - 1
    data.trained_on(configuration.fold, protocol.site)
    network = NETWORKS[protocol.network]
    if dimensions != network.dimensions:
        kinds = {2: "images [n, H, W]", 3: "volumes [n, D, H, W]"}
        raise InputError(f"data set {configuration.dataset}: holds {kinds[dimensions]}, and protocol {protocol.name} "
                         f"takes {kinds[network.dimensions]}; choose another protocol or data set")
    images, _ = prepare(np.asarray(data.images[:1]), np.asarray(data.masks[:1]), protocol.shrink)
    if protocol.slab:
        images = cut(images, protocol.slab)
    check_sides(images.shape[1:], protocol.pools)
    method(configuration.method).rule.parameters(network.start_channels, protocol.settings)


def run(configuration, data, progress=lambda done, total: None, path=None, stop=lambda: False,
        checkpoint_seconds=CHECKPOINT_SECONDS, record=lambda history: None):
    """Trains and tests one run, from its latest checkpoint if there is one.

    Args:
      configuration: a `Configuration`, for which `process.set_up` has been called.
      data: the `DataSet` that it names.
      progress: called with (steps done, steps in all) after each block of steps.
      path: the run file that will be written; checkpoints lie beside it. None keeps no checkpoints.
      stop: called after each block; where it returns True, the state is saved and Stopped raised.
      checkpoint_seconds: time between two checkpoints.
      record: called with the `History` before training and after each block.

    Returns:
      a `Run`.

    Raises:
      InputError: as `check`.
      Stopped: `stop` returned True.
    """
    check(configuration, data)
    protocol = configuration.protocol
    images, masks = prepare(data.images, data.masks, protocol.shrink)
    tested, trained = data.fold == configuration.fold, data.trained_on(configuration.fold, protocol.site)
    training = Training(configuration)
    history = _train(training, configuration, images[trained], masks[trained], progress, path, stop,
                     checkpoint_seconds, record)
    started = time.perf_counter()
    test, predicted, examples, truth = {}, np.zeros([0, *images.shape[1:]], np.uint8), [], []
    if np.isfinite(history.loss).all() and tested.any():
        predicted = testing.predict(training, images[tested], masks[tested], protocol)
        spacing = data.optional["spacing"][tested] if "spacing" in data.optional else None
        test = {"name": data.name[tested], "subject": data.subject[tested], "index": np.flatnonzero(tested),
                **testing.scores(masks[tested], predicted, data.masks[tested], spacing)}
        if "site" in data.optional:
            test["site"] = data.optional["site"][tested].astype(str)
        examples = np.sort(np.random.default_rng(configuration.fold).permutation(len(predicted))[:EXAMPLES])
        truth = np.asarray(masks[tested][examples[:0] if data.restricted else examples])
    gated = training.gated
    return Run(
        configuration=configuration, title=data.title, synthetic=data.synthetic, preparation=data.preparation,
        loss=history.loss, rate=history.rate, gate_step=history.gate_step, rho=history.rho, gate=history.share,
        layers=list(gated), channels=[layer.channels for layer in gated.values()],
        parameters=sum(int(tf.size(v)) for v in training.trainable), test=test, masks=predicted,
        examples=np.asarray(examples, int), example_truth=np.asarray(truth, np.uint8),
        weights={name: v.numpy() for name, v in training.network.named_variables.items()},
        provenance=provenance(protocol),
        timing={"training": history.seconds, "test": time.perf_counter() - started, "steps": len(history.loss),
                "first_block": history.first_block, "first_block_steps": history.first_block_steps,
                "peak_bytes": peak_bytes()})


class History:
    """The curves of a run, up to its present step.

    Attributes:
      layers: names of the layers with a learned gate.
      loss, rate: at each step, `[steps]`.
      gate_step: number of steps before each record of the gates, `[records]`; there is one before training and one
        after each block.
      rho, share: the gates' ρ, `[records, layers, numbers]`, and shares, `[records, layers]`, see `Training.gates`.
      seconds: training time.
      first_block, first_block_steps: seconds and steps of this process's first block, in which graphs are built.
    """

    def __init__(self, training):
        self.layers = list(training.gated)
        self.loss, self.rate = np.zeros(0, np.float32), np.zeros(0, np.float32)
        self.gate_step = np.zeros(1, np.int64)
        self.rho, self.share = (values[np.newaxis] for values in training.gates())
        self.seconds, self.first_block, self.first_block_steps = 0.0, 0.0, 0

    def add(self, loss, rate, training, seconds):
        """Appends a block, up to its first loss that is not finite; returns whether all losses are finite."""
        finite = np.isfinite(loss)
        loss = loss if finite.all() else loss[:np.argmin(finite) + 1]
        self.loss = np.append(self.loss, loss)
        self.rate = np.append(self.rate, np.full(len(loss), rate, np.float32))
        self.gate_step = np.append(self.gate_step, len(self.loss))
        rho, share = training.gates()
        self.rho, self.share = np.append(self.rho, [rho], axis=0), np.append(self.share, [share], axis=0)
        self.seconds += seconds
        if not self.first_block_steps:
            self.first_block, self.first_block_steps = seconds, len(loss)
        return finite.all()


_CURVES = ("loss", "rate", "gate_step", "rho", "share")


def _train(training, configuration, images, masks, progress, path, stop, checkpoint_seconds, record):
    """Trains to the end, or to the first loss that is not finite; returns the `History`."""
    if slab := configuration.protocol.slab:
        images, masks = cut(images, slab), cut(masks, slab)
    image_index, angle, rates, blocks = schedule(configuration, len(images))
    history = History(training)
    resumed = checkpoint.latest(path, configuration) if path else None
    if resumed:
        done, arrays, history.seconds = resumed
        training.restore(arrays)
        for name in _CURVES:
            setattr(history, name, arrays[name])
    else:
        done = 0
    record(history)
    drawn = {name: values[done:] for name, values in augmentation(configuration, angle.shape).items()}
    iterator = iter(batches(images, masks, image_index[done:], angle[done:], **drawn))
    last_saved = time.monotonic()

    def save():
        arrays = {name: getattr(history, name) for name in _CURVES} | training.state()
        checkpoint.save(path, configuration, len(history.loss), arrays, history.seconds)

    for start, end in blocks:
        if start < done:
            continue
        began = time.perf_counter()
        loss = training.block(iterator, tf.constant(rates[start]), tf.constant(end - start)).numpy()
        finite = history.add(loss, rates[start], training, time.perf_counter() - began)
        record(history)
        if not finite:
            break
        progress(end, len(rates))
        if path and stop():
            save()
            raise Stopped
        if path and end < len(rates) and time.monotonic() - last_saved > checkpoint_seconds:
            save()
            last_saved = time.monotonic()
    return history


def schedule(configuration, images):
    """(image indices `[steps, B]`, angles in radians `[steps, B]`, learning rates `[steps]`, blocks) of a run's steps.

    A block of steps is (first, end).
    """
    protocol = configuration.protocol
    angles = np.deg2rad(configuration.angles)
    orders, rates, blocks = [], [], []
    for epoch in range(protocol.epochs):
        orders.append(epoch_order(images, len(angles), protocol.batch, configuration.seed, epoch,
                                  protocol.steps_per_epoch))
        first, steps = len(rates), len(orders[-1][0])
        blocks += [(first + i, first + min(i + protocol.block, steps)) for i in range(0, steps, protocol.block)]
        rates += [configuration.rate / protocol.rate_divisor**epoch] * steps
    image_index, angle_index = (np.concatenate(parts) for parts in zip(*orders, strict=True))
    return image_index, angles[angle_index], np.float32(rates), blocks


def augmentation(configuration, shape):
    """{'zoom' or 'gamma': the factors of a run's steps, of the shape `[steps, B]`}, those that the protocol asks for.

    They depend on the seed alone, so that a run that goes on draws the same.
    """
    protocol = configuration.protocol
    return {name: factors(getattr(protocol, name), shape, configuration.seed, stream)
            for stream, name in enumerate(("zoom", "gamma"), 1) if getattr(protocol, name) != 1}
