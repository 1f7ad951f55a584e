"""The U-Net of the paper (section 2.2), hand-built on `tf.nn`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ilnrepro import tf
from ilnrepro.convolutions import convolution, transposed
from ilnrepro.errors import InputError
from ilnrepro.norms import Normalization


class UNet:
    """Four max-pools, 16 channels doubling to 256, two 3×3 convolutions a level, 3×3 stride-2 transposed convolutions
    up, skips concatenated, a 1×1 head; convolution, normalization, ReLU in that order.

    22 layers are normalized: every convolution and transposed convolution but the head.

    Args:
      method: a name of `norms.METHODS`.
      seed: of the weights; the same for every method.
      settings, form: of the normalization layers, see `norms.Normalization`.
      initializer: 'root' takes √(2/(3²·C)) as standard deviation of the weights, C the layer's output channels;
        'printed' takes 2/(3²·C), the paper's words.
      classes, start_channels, pools: 2, 16, 4 in the paper.

    Attributes:
      layers: the convolutions in the order of computation, the head last.
    """

    dimensions = 2
    initializers = ("root", "printed")
    start_channels = 16  # paper, section 2.2

    def __init__(self, method, seed=0, settings=None, form="fused", initializer="root", classes=2,
                 start_channels=start_channels, pools=4, dtype="float32"):
        if initializer not in self.initializers:
            raise InputError(f"initializer: {initializer!r} is unknown; choose one of {', '.join(self.initializers)}")
        self.pools = pools
        self.layers = []

        def weights(shape, channels):
            stddev = 2 / (9 * channels) if initializer == "printed" else math.sqrt(2 / (9 * channels))
            # Philox by name: the default algorithm differs between devices.
            values = tf.random.stateless_truncated_normal(shape, (seed, len(self.layers)), 0, stddev, alg="philox")
            return tf.Variable(tf.cast(values, dtype), name="weights")

        def add(kind, name, inputs, outputs):
            normalization = Normalization(method, outputs, settings, form, dtype=dtype)
            self.layers.append(kind(name, weights(kind.weight_shape(inputs, outputs), outputs), normalization))

        channels = [start_channels * 2**level for level in range(pools + 1)]
        inputs = 1
        for level, outputs in enumerate(channels, 1):
            stage = f"down{level}" if level <= pools else "bottom"
            add(Convolution, f"{stage}/conv1", inputs, outputs)
            add(Convolution, f"{stage}/conv2", outputs, outputs)
            inputs = outputs
        for level, outputs in reversed(list(enumerate(channels[:-1], 1))):
            add(TransposedConvolution, f"up{level}/transposed", 2 * outputs, outputs)
            add(Convolution, f"up{level}/conv1", 2 * outputs, outputs)
            add(Convolution, f"up{level}/conv2", outputs, outputs)
        # The head takes the last level's deviation, as the authors' code for the preceding paper does.
        self.layers.append(PlainConvolution("head", weights([1, 1, start_channels, classes], start_channels),
                                tf.Variable(tf.fill([classes], tf.cast(0.1, dtype)), name="bias")))

    def __call__(self, images, training=False):
        """Class scores (logits) `[N, H, W, classes]` of images `[N, H, W, 1]`, sides divisible by 2^pools.

        Raises:
          InputError: a side is not divisible.
        """
        check_sides(images.shape[1:3], self.pools)
        layers = iter(self.layers)

        def two_convolutions(x):
            for _ in range(2):
                x = next(layers)(x, training)
            return x

        x, skips = images, []
        for _ in range(self.pools):
            x = two_convolutions(x)
            skips.append(x)
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = two_convolutions(x)
        for skip in reversed(skips):
            x = tf.concat([skip, next(layers)(x, training)], -1)
            x = two_convolutions(x)
        return next(layers)(x)

    @property
    def normalizations(self):
        """The normalization layers by name, in the order of computation."""
        return {layer.name: layer.normalization for layer in self.layers[:-1]}

    @property
    def named_variables(self):
        """All variables by a name that tells layer and role, in a fixed order."""
        return {f"{layer.name}/{role}": variable for layer in self.layers
                for role, variable in layer.named_variables.items()}


@dataclass
class Convolution:
    """3×3 convolution, normalization, ReLU."""

    name: str
    weights: tf.Variable
    normalization: Normalization

    @staticmethod
    def weight_shape(inputs, outputs):
        return [3, 3, inputs, outputs]

    def __call__(self, x, training):
        return self.normalization(convolution(x, self.weights, self.normalization.form), training)

    @property
    def named_variables(self):
        return {"weights": self.weights, **self.normalization.named_variables}


@dataclass
class TransposedConvolution:
    """3×3 transposed convolution of stride 2, normalization, ReLU."""

    name: str
    weights: tf.Variable
    normalization: Normalization

    @staticmethod
    def weight_shape(inputs, outputs):
        return [3, 3, outputs, inputs]

    def __call__(self, x, training):
        return self.normalization(transposed(x, self.weights, self.normalization.form), training)

    named_variables = Convolution.named_variables


@dataclass
class PlainConvolution:
    """Convolution with a bias and nothing after it, such as the 1×1 head."""

    name: str
    weights: tf.Variable
    bias: tf.Variable

    def __call__(self, x):
        return tf.nn.bias_add(tf.nn.conv2d(x, self.weights, 1, "SAME"), self.bias)

    @property
    def named_variables(self):
        return {"weights": self.weights, "bias": self.bias}


def check_sides(sides, pools=4):
    """Raises InputError unless every side is divisible by 2^pools."""
    for side in sides:
        if side is not None and side % 2**pools:
            raise InputError(f"image size {'×'.join(map(str, sides))}: sides must be divisible by {2**pools} "
                             f"({pools} max-pools); crop or pad the images")


def summary(network, size=256, slab=16):
    """Rows (layer, output shape, variable, shape, numbers, whether trained), one a variable, for an image of `size`²,
    or for a volume of `slab` slices of it."""
    rows = []
    sides = (slab, size, size)[-network.dimensions:]
    levels = {f"{side}{k}": k - 1 for side in ("down", "up") for k in range(1, network.pools + 1)}
    levels |= {"bottom": network.pools, "head": 0}
    for layer in network.layers:
        level = levels[layer.name.split("/")[0]]
        shape = (*(side // 2**level for side in sides), layer.named_variables["bias"].shape[0])
        for role, variable in layer.named_variables.items():
            rows.append((layer.name, shape, role, tuple(variable.shape), int(tf.size(variable)), variable.trainable))
    return rows
