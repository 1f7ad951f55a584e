"""The training step: a network, its loss and its optimizer in one graph."""

import math

import numpy as np

from ilnrepro import networks, tf
from ilnrepro.ops.losses import LOSSES, margin
from ilnrepro.ops.optimizers import OPTIMIZERS
from ilnrepro.training.process import uses_xla

QUANTILES = (0, 0.25, 0.5, 0.75, 1)  # kept of the ρ of a layer that has one a channel


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
        self.threshold_logit = math.log(protocol.threshold / (1 - protocol.threshold))
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
        return tf.cast(margin(self.network.scores(images, truth)) > self.threshold_logit, tf.uint8)

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
