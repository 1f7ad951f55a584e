"""One run: train on the other folds, test on one, and hand back all that is kept."""

import datetime
import importlib.metadata
import math
import platform
import subprocess
import time
from pathlib import Path

import numpy as np

from ilnrepro import __version__, checkpoint, convolutions, networks, tf
from ilnrepro.augmentation import batches, epoch_order, prepare
from ilnrepro.errors import InputError
from ilnrepro.losses import LOSSES, margin
from ilnrepro.metrics import overlap, surface_distances
from ilnrepro.norms import kernels, method
from ilnrepro.optimizers import OPTIMIZERS
from ilnrepro.runfile import Run
from ilnrepro.slabs import cut, joined, starts
from ilnrepro.unet import check_sides

EXAMPLES = 8  # paper, Figure 2
CHECKPOINT_SECONDS = 180
QUANTILES = (0, 0.25, 0.5, 0.75, 1)  # kept of the ρ of a layer that has one a channel


def set_up(configuration):
    """Sets this process's threads, determinism and kernels; call before anything else touches TensorFlow.

    On a GPU, memory grows as needed and float32 stays float32 (no TF32).
    """
    protocol = configuration.protocol
    tf.config.threading.set_intra_op_parallelism_threads(protocol.threads)
    tf.config.threading.set_inter_op_parallelism_threads(protocol.threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()
    kernels.use("tensorflow" if uses_xla(protocol) else protocol.kernels)


def uses_xla(protocol):
    """Whether the training step is compiled by XLA: 'auto' does so where TensorFlow sees a GPU."""
    return protocol.xla == "on" or (protocol.xla == "auto" and bool(tf.config.list_physical_devices("GPU")))


class Training:
    """A network, its loss and optimizer, and one graph that takes a block of steps.

    A variable has its own multiple of the learning rate, and its constraint after each step, if its normalization says
    so.
    """

    def __init__(self, configuration):
        protocol = configuration.protocol
        self.network = networks.build(configuration)
        self.two_steps, self.clip = bool(protocol.class_mask), protocol.clip
        self.loss = LOSSES[protocol.loss].function
        trainable = {name: v for name, v in self.network.named_variables.items() if v.trainable}
        self.trainable = list(trainable.values())
        multiples = {f"{name}/{key}": multiple for name, layer in self.network.normalizations.items()
                     for key, multiple in layer.rates.items()}
        self.optimizer = OPTIMIZERS[protocol.optimizer](
            self.trainable, [multiples.get(name, 1) for name in trainable], protocol)
        self.least = math.log(protocol.threshold / (1 - protocol.threshold))  # the threshold's logit
        step = tf.autograph.experimental.do_not_convert(self._step)
        self.step = tf.function(step, jit_compile=True) if uses_xla(protocol) else step
        self.block = tf.function(self._block)
        self.predict = tf.function(self._masks, reduce_retracing=True)

    def _step(self, images, masks, rate):
        """The step or two of a batch; returns the last one's loss."""
        loss, scores = self._update(images, masks, rate)
        if self.two_steps:
            mask = self.network.mask_of(scores, masks)
            loss, _ = self._update(images, masks, rate, self.clip, **({} if mask is None else {"mask": mask}))
        return loss

    def _update(self, images, masks, rate, clip=None, **given):
        with tf.GradientTape() as tape:
            scores = self.network(images, training=True, **given)
            loss = self.loss(scores, masks)
        # What one of two passes leaves aside has a gradient of zero there, so its momentum goes on, as in PyTorch.
        gradients = tape.gradient(loss, self.trainable, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        if clip is not None:
            gradients = [tf.clip_by_value(gradient, -clip, clip) for gradient in gradients]
        self.optimizer.apply(gradients, rate)
        for variable in self.trainable:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
        return loss, scores

    def _block(self, iterator, rate, steps):
        """Takes `steps` steps and returns their losses, `[steps]`: one visit to the host a block."""
        losses = tf.TensorArray(tf.float32, steps)
        for i in tf.range(steps):
            images, masks = next(iterator)
            losses = losses.write(i, tf.cast(self.step(images, masks, rate), tf.float32))
        return losses.stack()

    def _masks(self, images, truth=None):
        """Masks uint8 `[n, ...]` of images `[n, ..., 1]`: 1 where the structure's probability passes the threshold.
        `truth`, the true masks, is looked at by an oracle only."""
        return tf.cast(margin(networks.scores(self.network, images, truth)) > self.least, tf.uint8)

    @property
    def _state(self):
        named = {f"variables/{name}": v for name, v in self.network.named_variables.items()}
        return named | self.optimizer.named_variables

    def state(self):
        """All variables of network and optimizer by name, as arrays."""
        return {name: variable.numpy() for name, variable in self._state.items()}

    def restore(self, arrays):
        """Takes back what `state` gave."""
        for name, variable in self._state.items():
            variable.assign(arrays[name])

    @property
    def gated(self):
        """The layers with a learned gate, by name."""
        return {name: layer for name, layer in self.network.normalizations.items() if layer.mix is not None}

    def gates(self):
        """ρ of every gated layer, `[layers, numbers]`, and the share of the first map, `[layers]`.

        Where each channel has a ρ, the numbers are their QUANTILES over the layer's channels, and the share is the mean
        over them; where means and variances have shares of their own, it is the mean of the two.
        """
        layers = list(self.gated.values())
        if not layers:
            return np.zeros([0], np.float32), np.zeros([0], np.float32)
        mix = layers[0].mix
        rho = [layer.parameters[mix.rho].numpy() for layer in layers]
        if mix.gate.shape is None:
            return (np.array([np.quantile(one, QUANTILES) for one in rho], np.float32),
                    np.array([mix.gate.shares(tf.constant(one))[0].numpy().mean() for one in rho]))
        rho = np.array(rho)
        share = mix.gate.shares(tf.constant(rho))[0].numpy()
        return rho.reshape(len(layers), -1), share.reshape(len(layers), -1).mean(axis=1)


class Stopped(Exception):
    """The run was asked to stop; its state is saved."""


def check(configuration, data):
    """Raises InputError if the data set lacks the fold or the site, or its dimensions, sides or the method's groups do
    not suit the protocol's network."""
    if configuration.fold not in data.folds:
        raise InputError(f"fold: {configuration.fold} is not in the data set {configuration.dataset} "
                         f"(it has {', '.join(map(str, data.folds))})")
    protocol, dimensions = configuration.protocol, data.images.ndim - 1
    data.trained_on(configuration.fold, protocol.site)
    network = networks.NETWORKS[protocol.network]
    if dimensions != network.dimensions:
        kinds = {2: "images [n, H, W]", 3: "volumes [n, D, H, W]"}
        raise InputError(f"data set {configuration.dataset}: holds {kinds[dimensions]}, and protocol {protocol.name} "
                         f"takes {kinds[network.dimensions]}; choose another protocol or data set")
    images, _ = prepare(data.images[:1], data.masks[:1], protocol.shrink)
    if protocol.slab:
        starts(images.shape[1], protocol.slab)
        images = images[:, :protocol.slab]
    check_sides(images.shape[1:], protocol.pools)
    method(configuration.method).rule.parameters(network.start_channels, protocol.settings)


def run(configuration, data, progress=lambda done, total: None, path=None, stop=lambda: False,
        every=CHECKPOINT_SECONDS, record=lambda history: None):
    """Trains and tests as the configuration says, from the latest checkpoint if there is one.

    Args:
      configuration: a `Configuration`; `set_up` has been called for it.
      data: the `DataSet` it names.
      progress: called with (steps done, steps in all) after every block.
      path: of the run file to be; checkpoints lie beside it. None: no checkpoints.
      stop: asked after every block; True saves the state and raises Stopped.
      every: seconds between checkpoints.
      record: called with the `History` before training and after every block.

    Returns:
      a `Run`.

    Raises:
      InputError: as `check`.
    """
    check(configuration, data)
    protocol = configuration.protocol
    images, masks = prepare(data.images, data.masks, protocol.shrink)
    testing, chosen = data.fold == configuration.fold, data.trained_on(configuration.fold, protocol.site)
    training = Training(configuration)
    history = _train(training, configuration, images[chosen], masks[chosen], progress, path, stop, every, record)
    started = time.perf_counter()
    status, test, predicted, examples, truth = "diverged", {}, np.zeros([0, *images.shape[1:]], np.uint8), [], []
    if np.isfinite(history.loss).all():
        predicted = _predict(training, images[testing], masks[testing], protocol)
        truth_pixels, predicted_pixels, common = overlap(masks[testing], predicted)
        status = "complete" if predicted_pixels.any() else "collapsed"
        test = {"name": data.name[testing], "subject": data.subject[testing], "index": np.flatnonzero(testing),
                "truth_pixels": truth_pixels, "predicted_pixels": predicted_pixels, "common_pixels": common,
                **_distances(masks[testing], predicted)}
        if "site" in data.optional:
            test["site"] = data.optional["site"][testing].astype(str)
        drawn = np.random.default_rng(configuration.fold).permutation(len(predicted))[:EXAMPLES]
        examples, truth = np.sort(drawn), masks[testing][np.sort(drawn)]
    gated = training.gated
    return Run(
        configuration=configuration, status=status, title=data.title, synthetic=data.synthetic,
        loss=history.loss, rate=history.rate, gate_step=history.gate_step, rho=history.rho, gate=history.share,
        layers=list(gated), channels=[layer.channels for layer in gated.values()],
        parameters=sum(int(tf.size(v)) for v in training.trainable), test=test, masks=predicted,
        examples=np.asarray(examples, int), example_truth=np.asarray(truth, np.uint8),
        weights={name: v.numpy() for name, v in training.network.named_variables.items()},
        provenance=provenance(protocol),
        timing={"training": history.seconds, "test": time.perf_counter() - started, "steps": len(history.loss)})


class History:
    """The curves of a run so far: loss and rate at every step, gates of `layers` after every block."""

    def __init__(self, training):
        self.layers = list(training.gated)
        self.loss, self.rate = np.zeros(0, np.float32), np.zeros(0, np.float32)
        self.gate_step = np.zeros(1, np.int64)
        self.rho, self.share = (values[np.newaxis] for values in training.gates())
        self.seconds = 0.0

    def add(self, loss, rate, training, seconds):
        """Appends a block; a loss that is not finite ends the curve."""
        finite = np.isfinite(loss)
        loss = loss if finite.all() else loss[:np.argmin(finite) + 1]
        self.loss = np.append(self.loss, loss)
        self.rate = np.append(self.rate, np.full(len(loss), rate, np.float32))
        self.gate_step = np.append(self.gate_step, len(self.loss))
        rho, share = training.gates()
        self.rho, self.share = np.append(self.rho, [rho], axis=0), np.append(self.share, [share], axis=0)
        self.seconds += seconds
        return finite.all()


_CURVES = ("loss", "rate", "gate_step", "rho", "share")


def _train(training, configuration, images, masks, progress, path, stop, every, record):
    """Trains to the end, or to the first loss that is not finite; returns the `History`."""
    if slab := configuration.protocol.slab:
        images, masks = cut(images, slab), cut(masks, slab)
    image_index, angle, rates, blocks = _schedule(configuration, len(images))
    history = History(training)
    found = checkpoint.latest(path, configuration) if path else None
    if found:
        done, arrays, history.seconds = found
        training.restore(arrays)
        for name in _CURVES:
            setattr(history, name, arrays[name])
    else:
        done = 0
    record(history)
    iterator = iter(batches(images, masks, image_index[done:], angle[done:]))
    saved = time.monotonic()

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
        if path and end < len(rates) and time.monotonic() - saved > every:
            save()
            saved = time.monotonic()
    return history


def _schedule(configuration, images):
    """What every step does: images `[steps, B]`, angles in radians `[steps, B]`, rates `[steps]`; and the blocks."""
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


def _predict(training, images, truth, protocol):
    """Masks uint8 of the shape of `images`; volumes are predicted slab by slab."""
    if protocol.slab:
        return np.stack([joined(_in_batches(training, cut(volume[np.newaxis], protocol.slab), protocol.batch),
                                len(volume)) for volume in images])
    return _in_batches(training, images, protocol.batch, truth if protocol.class_mask == "oracle" else None)


def _in_batches(training, images, batch, truth=None):
    parts = []
    for i in range(0, len(images), batch):
        one = tf.constant(images[i:i + batch, ..., np.newaxis])
        parts.append(training.predict(one, None if truth is None else tf.constant(truth[i:i + batch])).numpy())
    return np.concatenate(parts)


def _distances(truth, predicted):
    try:
        hd95, assd = surface_distances(truth, predicted)
    except ImportError:  # an extra; the other scores stand without it
        return {}
    return {"hd95": hd95, "assd": assd}


def provenance(protocol):
    """What made a run: versions, machine class, kernels, date and commit."""
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "numpy", "h5py")}
    gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
            for gpu in tf.config.list_physical_devices("GPU")]
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    chosen = kernels.chosen()
    return {"date": now, "python": platform.python_version(), "system": platform.system(),
            "processor": platform.machine(), "gpu": ", ".join(gpus) or "none",
            "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "kernels": chosen, "instruction_set": kernels.native.instruction_set() if chosen == "native" else "none",
            "convolutions": convolutions.chosen(protocol.form), "onednn": _uses_onednn(), "xla": uses_xla(protocol),
            "ilnrepro": __version__, "commit": _commit(), **versions}


def _uses_onednn():
    """Whether TensorFlow computes by oneDNN, which $TF_ENABLE_ONEDNN_OPTS and the processor decide.

    TensorFlow itself has no public word for it; `test_runs.py` notices if this one goes.
    """
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def _commit():
    """The checkout's; a package installed inside somebody else's repository is not in their commit, and has none."""
    here = Path(__file__)
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD", f"HEAD:./{here.name}"], cwd=here.parent,
                               capture_output=True, encoding="utf-8")
    except OSError:
        return "unknown"
    return found.stdout.split()[0] if found.returncode == 0 else "unknown"
