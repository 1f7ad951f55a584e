"""The training step: a network, its loss and its optimizer in one graph."""

import math

import numpy as np

from ilnrepro import networks, tf
from ilnrepro.ops.losses import LOSSES, margin
from ilnrepro.ops.optimizers import OPTIMIZERS
from ilnrepro.training.process import uses_xla

QUANTILES = (0, 0.25, 0.5, 0.75, 1)  # of the ρ of a layer's channels, where each channel has its own


class Training:
    """A network, its loss and its optimizer, compiled into one graph that takes a block of steps.

    The parameters of a normalization may have a learning rate of their own, a multiple of the network's, and a
    constraint to which they are projected after each step.

    Attributes:
      block: block(iterator, rate, steps) takes steps and returns their losses, `[steps]`.
      predict: predict(images) gives masks uint8 `[n, ...]` of images `[n, ..., 1]`.
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
        self.threshold_logit = math.log(protocol.threshold / (1 - protocol.threshold))
        step = tf.autograph.experimental.do_not_convert(self._step)
        self.step = tf.function(step, jit_compile=True) if uses_xla(protocol) else step
        self.block = tf.function(self._block)
        self.predict = tf.function(self._masks, autograph=False, reduce_retracing=True)

    def _step(self, images, masks, rate):
        """Takes one optimizer step on a batch, or two where the network has class masks; returns the last loss."""
        loss, scores = self._update(images, masks, rate)
        if self.two_steps:
            mask = self.network.mask_of(scores, masks)
            loss, _ = self._update(images, masks, rate, self.clip, **({} if mask is None else {"mask": mask}))
        return loss

    def _update(self, images, masks, rate, clip=None, **class_mask):
        with tf.GradientTape() as tape:
            scores = self.network(images, training=True, **class_mask)
            loss = self.loss(scores, masks)
        # Variables that one of the two passes does not use get a gradient of zero, so that their momentum still moves
        # them, as in PyTorch.
        gradients = tape.gradient(loss, self.trainable, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        if clip is not None:
            gradients = [tf.clip_by_value(gradient, -clip, clip) for gradient in gradients]
        self.optimizer.apply(gradients, rate)
        for variable in self.trainable:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
        return loss, scores

    def _block(self, iterator, rate, steps):
        """Takes `steps` steps and returns their losses, `[steps]`; control returns to the host once a block."""
        losses = tf.TensorArray(tf.float32, steps)
        for i in tf.range(steps):
            images, masks = next(iterator)
            losses = losses.write(i, tf.cast(self.step(images, masks, rate), tf.float32))
        return losses.stack()

    def _masks(self, images, truth=None):
        """Masks uint8 `[n, ...]` of images `[n, ..., 1]`: 1 where the structure's probability exceeds the threshold.

        Args:
          truth: true masks, which only a network whose class masks are the oracle's reads.
        """
        return tf.cast(margin(self.network.scores(images, truth)) > self.threshold_logit, tf.uint8)

    @property
    def _state(self):
        named = {f"variables/{name}": v for name, v in self.network.named_variables.items()}
        return named | self.optimizer.named_variables

    def state(self):
        """All variables of network and optimizer by name, as arrays."""
        return {name: variable.numpy() for name, variable in self._state.items()}

    def restore(self, arrays):
        """Assigns all variables from the arrays that `state` returned."""
        for name, variable in self._state.items():
            variable.assign(arrays[name])

    @property
    def gated(self):
        """The layers with a learned gate, by name."""
        return {name: layer for name, layer in self.network.normalizations.items() if layer.mix is not None}

    def gates(self):
        """ρ of the gated layers, `[layers, numbers]`, and the share of the first map that it gives, `[layers]`.

        Where each channel has its own ρ, the numbers are QUANTILES over the layer's channels, and the share is the mean
        over channels. Where means and variances have shares of their own, the share is the mean of the two.
        """
        layers = list(self.gated.values())
        if not layers:
            return np.zeros([0], np.float32), np.zeros([0], np.float32)
        mix = layers[0].mix
        rho = [layer.parameters[mix.rho].numpy() for layer in layers]
        if mix.gate.shape is None:
            return (np.array([np.quantile(values, QUANTILES) for values in rho], np.float32),
                    np.array([mix.gate.shares(tf.constant(values))[0].numpy().mean() for values in rho]))
        rho = np.array(rho)
        share = mix.gate.shares(tf.constant(rho))[0].numpy()
        return rho.reshape(len(layers), -1), share.reshape(len(layers), -1).mean(axis=1)
