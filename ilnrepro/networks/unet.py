"""The U-Net of the paper (section 2.2), built on `tf.nn`."""

from __future__ import annotations

import math

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.networks.convolutions import max_pool
from ilnrepro.networks.layers import Convolution, PlainConvolution, TransposedConvolution, check_sides
from ilnrepro.norms import Normalization


class UNet:
    """A U-Net with four max-pools and 16 channels doubling to 256.

    Each level has two 3×3 convolutions. Upwards, 3×3 transposed convolutions of stride 2 are concatenated with the
    skips. The head is a 1×1 convolution. All others are followed by normalization and ReLU, so that 22 layers are
    normalized.

    Args:
      method: a name of `norms.METHODS`.
      seed: of the weights, which are the same for all methods.
      settings, form: of the normalization layers, see `norms.Normalization`.
      initializer: 'root' takes √(2/(3²·C)) as standard deviation of the weights, C the layer's output channels;
        'printed' takes 2/(3²·C), as the paper prints it.
      classes, start_channels, pools: 2, 16, 4 in the paper.

    Attributes:
      layers: the convolutions in the order of computation, the head last.
    """

    dimensions = 2
    initializers = ("root", "printed")
    start_channels = 16  # paper, section 2.2
    choices = {}

    def __init__(self, method, seed=0, settings=None, form="fused", initializer="root", classes=2,
                 start_channels=start_channels, pools=4, dtype="float32"):
        if initializer not in self.initializers:
            raise InputError(f"initializer: {initializer!r} is unknown; choose one of {', '.join(self.initializers)}")
        self.pools = pools
        self.layers = []

        def weights(shape, channels):
            stddev = 2 / (9 * channels) if initializer == "printed" else math.sqrt(2 / (9 * channels))
            # Philox is named because the default algorithm differs between devices.
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
        # The head's weights have the standard deviation of the last level, as in the authors' code for the preceding
        # paper.
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
            x = max_pool(x)
        x = two_convolutions(x)
        for skip in reversed(skips):
            x = two_convolutions([skip, next(layers)(x, training)])
        return next(layers)(x)

    def scores(self, images, truth=None):
        """Class scores at test time."""
        return self(images)

    @property
    def normalizations(self):
        """The normalization layers by name, in the order of computation."""
        return {layer.name: layer.normalization for layer in self.layers[:-1]}

    @property
    def named_variables(self):
        """{layer/role: variable}, in a fixed order."""
        return {f"{layer.name}/{role}": variable for layer in self.layers
                for role, variable in layer.named_variables.items()}
