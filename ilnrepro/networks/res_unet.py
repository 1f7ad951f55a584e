"""The 3-D Res-U-Net of Kolarik, Burget and Riha 2020 (section 3.3 and figure 2), built on `tf.nn`.

The paper describes a U-Net of residual blocks, each a dilated and a standard 3-D convolution with normalization after
both, "residual concatenations", a sigmoid at the end, and slabs of 16×256×256. It leaves open, and we chose:

- filters: 32 doubling to 512, four 2×2×2 max-pools, as in the authors' earlier public 3-D Res-U-Net;
- kernels: 3×3×3; dilation rate 2 in all directions; the dilated convolution first, as the text names it first;
- order: convolution, normalization, ReLU (Keras's `activation` argument would put the ReLU before the normalization);
- residual concatenation: the input of a block is concatenated with the output of its second convolution, and the skip
  carries the latter alone, both as in the earlier code;
- up: 2×2×2 transposed convolutions of stride 2 with a bias, without normalization or ReLU, as in the earlier code;
- head: 1×1×1 convolution to one score for each voxel;
- initial values: Glorot's uniform weights and zero biases, Keras's defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.networks.convolutions import convolution, transposed
from ilnrepro.networks.layers import Convolution, PlainConvolution, check_sides
from ilnrepro.networks.unet import UNet
from ilnrepro.norms import Normalization


class ResUNet3D:
    """A 3-D U-Net of five levels of residual blocks, 32 channels doubling to 512, as the module describes it.

    18 layers are normalized: both convolutions of each of the nine blocks.

    Args:
      method: a name of `norms.METHODS`.
      seed: of the weights, which are the same for all methods.
      settings, form: of the normalization layers, see `norms.Normalization`.
      initializer: 'glorot', uniform in ±√(6/(k·(C_in + C_out))), k the kernel's voxels.
      start_channels, pools: 32 and 4.

    Attributes:
      layers: the convolutions in the order of computation, the head last.
    """

    dimensions = 3
    initializers = ("glorot",)
    start_channels = 32
    choices = {}

    def __init__(self, method, seed=0, settings=None, form="fused", initializer="glorot",
                 start_channels=start_channels, pools=4, dtype="float32"):
        if initializer not in self.initializers:
            raise InputError(f"initializer: {initializer!r} is unknown; choose one of {', '.join(self.initializers)}")
        self.pools = pools
        self.layers = []

        def weights(*shape):
            limit = math.sqrt(6 / (math.prod(shape[:3]) * (shape[3] + shape[4])))
            # Philox is named because the default algorithm differs between devices.
            values = tf.random.stateless_uniform(shape, (seed, len(self.layers)), -limit, limit, alg="philox")
            return tf.Variable(tf.cast(values, dtype), name="weights")

        def zeros(channels):
            return tf.Variable(tf.zeros([channels], dtype), name="bias")

        def add_block(stage, inputs, outputs):
            """Adds a residual block; returns the number of its output channels."""
            for name, dilation, channels in (("dilated", 2, inputs), ("standard", 1, outputs)):
                normalization = Normalization(method, outputs, settings, form, bias=0.0, dtype=dtype)
                self.layers.append(Convolution3D(f"{stage}/{name}", weights(3, 3, 3, channels, outputs), normalization,
                                                 dilation))
            return inputs + outputs

        channels = [start_channels * 2**level for level in range(pools + 1)]
        inputs = 1
        for level, outputs in enumerate(channels, 1):
            inputs = add_block(f"down{level}" if level <= pools else "bottom", inputs, outputs)
        for level, outputs in reversed(list(enumerate(channels[:-1], 1))):
            self.layers.append(TransposedConvolution3D(f"up{level}/transposed", weights(2, 2, 2, outputs, inputs),
                                                       zeros(outputs), form))
            inputs = add_block(f"up{level}", 2 * outputs, outputs)
        self.layers.append(Head3D("head", weights(1, 1, 1, inputs, 1), zeros(1)))

    def __call__(self, volumes, training=False):
        """The structure's score (logit) `[N, D, H, W, 1]` of volumes `[N, D, H, W, 1]`, sides divisible by 2^pools.

        Raises:
          InputError: a side is not divisible.
        """
        check_sides(volumes.shape[1:4], self.pools)
        layers = iter(self.layers)

        def block(x):
            y = x
            for _ in range(2):
                y = next(layers)(y, training)
            return y, tf.concat([x, y], -1)  # the residual concatenation

        x, skips = volumes, []
        for _ in range(self.pools):
            y, x = block(x)
            skips.append(y)
            x = tf.nn.max_pool3d(x, 2, 2, "VALID")
        _, x = block(x)
        for skip in reversed(skips):
            _, x = block(tf.concat([next(layers)(x), skip], -1))
        return next(layers)(x)

    @property
    def normalizations(self):
        """The normalization layers by name, in the order of computation."""
        return {layer.name: layer.normalization for layer in self.layers if isinstance(layer, Convolution3D)}

    scores = UNet.scores
    named_variables = UNet.named_variables


@dataclass
class Convolution3D:
    """3×3×3 convolution, its voxels `dilation` apart, normalization, ReLU."""

    name: str
    weights: tf.Variable
    normalization: Normalization
    dilation: int = 1

    def __call__(self, x, training):
        y = convolution(x, self.weights, self.normalization.form, self.dilation)
        return self.normalization(y, training, relu=True)

    named_variables = Convolution.named_variables


@dataclass
class TransposedConvolution3D:
    """2×2×2 transposed convolution of stride 2 with a bias, without normalization or ReLU."""

    name: str
    weights: tf.Variable
    bias: tf.Variable
    form: str

    def __call__(self, x):
        return tf.nn.bias_add(transposed(x, self.weights, self.form), self.bias)

    named_variables = PlainConvolution.named_variables


@dataclass
class Head3D:
    """1×1×1 convolution with a bias to the structure's score."""

    name: str
    weights: tf.Variable
    bias: tf.Variable

    def __call__(self, x):
        return tf.nn.bias_add(tf.nn.conv3d(x, self.weights, [1] * 5, "SAME"), self.bias)

    named_variables = PlainConvolution.named_variables
