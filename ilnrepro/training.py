"""One run: train on the other folds, test on one, and hand back all that is kept."""

import datetime
import importlib.metadata
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from ilnrepro.augmentation import batches, epoch_order, prepare
from ilnrepro.errors import InputError
from ilnrepro.metrics import overlap
from ilnrepro.norms import kernels
from ilnrepro.runfile import Run
from ilnrepro.unet import UNet, check_sides

EXAMPLES = 8  # paper, Figure 2


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
    kernels.use("tensorflow" if protocol.xla else protocol.kernels)


class Training:
    """A network, its optimizer's state, and one graph that takes a block of steps.

    SGD with momentum: a ← momentum·a + dw, w ← w − rate·a.
    """

    def __init__(self, configuration):
        protocol = configuration.protocol
        self.network = UNet(configuration.method, configuration.seed, protocol.settings, protocol.form,
                            protocol.initializer)
        self.trainable = [v for v in self.network.named_variables.values() if v.trainable]
        self.momenta = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self.trainable]
        self.momentum = protocol.momentum
        self.step = tf.function(self._step, jit_compile=True) if protocol.xla else self._step

    @tf.autograph.experimental.do_not_convert
    def _step(self, images, masks, rate):
        with tf.GradientTape() as tape:
            scores = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(masks, scores))
        for variable, momentum, gradient in zip(self.trainable, self.momenta, tape.gradient(loss, self.trainable),
                                                strict=True):
            tf.raw_ops.ResourceApplyMomentum(var=variable.handle, accum=momentum.handle, lr=rate, grad=gradient,
                                             momentum=self.momentum)
        return loss

    @tf.function
    def block(self, iterator, rate, steps):
        """Takes `steps` steps and returns their losses, `[steps]`: one visit to the host a block."""
        losses = tf.TensorArray(tf.float32, steps)
        for i in tf.range(steps):
            images, masks = next(iterator)
            losses = losses.write(i, self.step(images, masks, rate))
        return losses.stack()

    @tf.function(reduce_retracing=True)
    def predict(self, images):
        """Masks uint8 `[n, H, W]` of images `[n, H, W, 1]`: 1 where the structure's score is the larger."""
        scores = self.network(images)
        return tf.cast(scores[..., 1] > scores[..., 0], tf.uint8)

    @property
    def gated(self):
        """The layers with a learned gate, by name."""
        return {name: layer for name, layer in self.network.normalizations.items() if layer.share is not None}

    def gates(self):
        """ρ of every gated layer, `[layers, numbers]`, and the share of the first map, `[layers]`."""
        layers = self.gated.values()
        return (np.array([np.atleast_1d(layer.parameters["rho"].numpy()) for layer in layers], np.float32),
                np.array([layer.share.numpy() for layer in layers], np.float32))


def run(configuration, data, progress=lambda done, total: None):
    """Trains and tests as the configuration says.

    Args:
      configuration: a `Configuration`; `set_up` has been called for it.
      data: the `DataSet` it names.
      progress: called with (steps done, steps in all) after every block.

    Returns:
      a `Run`.

    Raises:
      InputError: the data set lacks the fold, or its sides do not suit the network.
    """
    protocol = configuration.protocol
    if configuration.fold not in data.folds:
        raise InputError(f"fold: {configuration.fold} is not in the data set {configuration.dataset} "
                         f"(it has {', '.join(map(str, data.folds))})")
    images, masks = prepare(data.images, data.masks, protocol.shrink)
    check_sides(images.shape[1:])
    testing = data.fold == configuration.fold
    started = time.perf_counter()
    training = Training(configuration)
    loss, rate, gate_step, gates = _train(training, configuration, images[~testing], masks[~testing], progress)
    trained = time.perf_counter()
    status, test, predicted, examples, truth = "diverged", {}, np.zeros([0, *images.shape[1:]], np.uint8), [], []
    if np.isfinite(loss).all():
        predicted = _predict(training, images[testing], protocol.batch)
        truth_pixels, predicted_pixels, common = overlap(masks[testing], predicted)
        status = "complete" if predicted_pixels.any() else "collapsed"
        test = {"name": data.name[testing], "subject": data.subject[testing], "index": np.flatnonzero(testing),
                "truth_pixels": truth_pixels, "predicted_pixels": predicted_pixels, "common_pixels": common}
        drawn = np.random.default_rng(configuration.fold).permutation(len(predicted))[:EXAMPLES]
        examples, truth = np.sort(drawn), masks[testing][np.sort(drawn)]
    tested = time.perf_counter()
    gated = training.gated
    return Run(
        configuration=configuration, status=status, title=data.title, synthetic=data.synthetic,
        loss=loss, rate=rate, gate_step=np.asarray(gate_step), rho=np.stack([rho for rho, _ in gates]),
        gate=np.stack([share for _, share in gates]), layers=list(gated),
        channels=[layer.bias.shape[0] for layer in gated.values()],
        parameters=sum(int(tf.size(v)) for v in training.trainable), test=test, masks=predicted,
        examples=np.asarray(examples, int), example_truth=np.asarray(truth, np.uint8),
        weights={name: v.numpy() for name, v in training.network.named_variables.items()},
        provenance=provenance(), timing={"training": trained - started, "test": tested - trained, "steps": len(loss)})


def _train(training, configuration, images, masks, progress):
    """Losses and rates at every step, and the gates after every block; stops at the first loss that is not finite."""
    protocol = configuration.protocol
    angles = np.deg2rad(configuration.angles)
    orders = [epoch_order(len(images), len(angles), protocol.batch, configuration.seed, epoch, protocol.steps_per_epoch)
              for epoch in range(protocol.epochs)]
    total = sum(len(order) for order, _ in orders)
    losses, rates, gate_step = [], [], [0]
    gates = [training.gates()]
    for epoch, (image_index, angle_index) in enumerate(orders):
        iterator = iter(batches(images, masks, image_index, angles[angle_index]))
        rate = configuration.rate / protocol.rate_divisor**epoch
        for start in range(0, len(image_index), protocol.block):
            steps = min(protocol.block, len(image_index) - start)
            loss = training.block(iterator, tf.constant(rate, tf.float32), tf.constant(steps)).numpy()
            finite = np.isfinite(loss)
            if not finite.all():
                loss = loss[:np.argmin(finite) + 1]
            losses.append(loss)
            rates.append(np.full(len(loss), rate, np.float32))
            gate_step.append(gate_step[-1] + len(loss))
            gates.append(training.gates())
            progress(gate_step[-1], total)
            if not finite.all():
                break
        else:
            continue
        break
    return np.concatenate(losses), np.concatenate(rates), gate_step, gates


def _predict(training, images, batch):
    parts = [training.predict(tf.constant(images[i:i + batch, ..., np.newaxis])).numpy()
             for i in range(0, len(images), batch)]
    return np.concatenate(parts)


def provenance():
    """What made a run: versions, machine class, kernels, date and commit."""
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "numpy", "h5py")}
    gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
            for gpu in tf.config.list_physical_devices("GPU")]
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "python": platform.python_version(),
            "system": platform.system(), "processor": platform.machine(), "gpu": ", ".join(gpus) or "none",
            "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "kernels": kernels.chosen(), "commit": _commit(), **versions}


def _commit():
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"
