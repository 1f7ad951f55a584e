"""DualNorm-UNet (Xiao et al. 2021): a residual U-Net whose first blocks have a normalization modulated by class masks.

The abstract describes it; the numbers are from the authors' public code (github.com/lambert-x/DualNorm-Unet):

- pre-activation residual blocks: (normalization, ReLU, 3×3 convolution) twice, beside the identity;
- stem: 1×1 convolution to 32 channels, a block; four times down: 2×2 max-pool, 3×3 convolution (64, 128, 256, 512
  channels), a block; one more block at the bottom; four times up: normalization, ReLU, 3×3 stride-2 transposed
  convolution that halves the channels, concatenated with the skip, 3×3 convolution, a block; normalization, ReLU, 1×1
  head;
- the blocks of stem and down 1 to 3 (here 'down1' to 'down4') have two normalizations at each place, each with moving
  averages of its own: a plain one, with an affine part, for the pass without class masks, and `ClassAware` for the
  pass with them;
- each batch passes through the network twice: without a mask, then with the class probabilities of the first pass, see
  `training.step.Training`. Prediction does the same.

The initial values are PyTorch's default, as in the authors' code: uniform in ±1/√n, n the number of products that an
output of the convolution sums.

What we do otherwise: one grey channel (there three neighbouring slices); intensities stretched to [0, 1] (there
whitened); no training of the plain network beforehand (there DualNorm starts from its weights); a constant learning
rate (there halved where the loss on a validation set stalls for five epochs).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.networks.convolutions import convolution, transposed
from ilnrepro.networks.layers import PlainConvolution, check_sides
from ilnrepro.networks.unet import UNet
from ilnrepro.norms import Normalization

MASKS = ("none", "predicted", "oracle")
RESIZINGS = ("bilinear", "nearest")


class DualNormUNet:
    """A U-Net of five levels of pre-activation residual blocks, 32 channels doubling to 512, see the module.

    Args:
      method: a name of `norms.METHODS`, of the plain normalizations and of the affine-free part of the class-aware
        ones; batch normalization in the paper.
      seed: of the weights, which are the same for all methods.
      settings, form: of the normalization layers, see `norms.Normalization`.
      initializer: 'fan-in', uniform in ±1/√(k·C_in), k the kernel's pixels, biases too.
      class_mask: the class masks of the second pass. 'predicted': the class probabilities of the first pass, as in the
        paper. 'oracle': the true masks, an upper bound that no use of the network can reach. 'none': no class-aware
        normalization, a baseline with the same two steps for each batch.
      mask_resizing: how masks are resized to a layer's size, 'bilinear' with corners aligned or 'nearest' (the authors'
        'soft' and 'hard').
      classes, start_channels, pools: 2, 32 and 4.

    Attributes:
      layers: the layers in the order of computation, the head last.
    """

    dimensions = 2
    initializers = ("fan-in",)
    start_channels = 32
    choices = {"class_mask": MASKS, "mask_resizing": RESIZINGS}
    class_aware = 4  # the number of levels with class-aware normalization, from the first

    def __init__(self, method, seed=0, settings=None, form="fused", initializer="fan-in", class_mask="predicted",
                 mask_resizing="bilinear", classes=2, start_channels=start_channels, pools=4, dtype="float32"):
        if initializer not in self.initializers:
            raise InputError(f"initializer: {initializer!r} is unknown; choose one of {', '.join(self.initializers)}")
        self.pools, self.classes, self.class_mask, self.mask_resizing = pools, classes, class_mask, mask_resizing
        self.layers = []

        def norm(channels, affine=True):
            return Normalization(method, channels, settings, form, bias=None, affine=affine, dtype=dtype)

        def draw(name, *shape):
            return _convolution(seed, name, shape, dtype)

        def add(name, side, inputs, outputs):
            self.layers.append(PlainConvolution(name, *draw(name, side, inputs, outputs)))

        def add_block(stage, channels, aware=False):
            for name in (f"{stage}1", f"{stage}2"):
                masked = None
                if aware and class_mask != "none":
                    hidden = channels // 2
                    masked = ClassAware(norm(channels, affine=False), *draw(f"{name}/shared", 3, classes, hidden),
                                        *draw(f"{name}/modulation", 3, hidden, 2 * channels))
                self.layers.append(PreActivated(name, norm(channels), *draw(name, 3, channels, channels), masked))

        channels = [start_channels * 2**level for level in range(pools + 1)]
        inputs = 1
        for level, outputs in enumerate(channels, 1):
            stage = f"down{level}" if level <= pools else "bottom"
            add(f"{stage}/conv", 1 if level == 1 else 3, inputs, outputs)
            add_block(f"{stage}/block", outputs, aware=level <= self.class_aware)
            inputs = outputs
        add_block("bottom/second", inputs)
        for level, outputs in reversed(list(enumerate(channels[:-1], 1))):
            name = f"up{level}/transposed"
            weights, bias = _convolution(seed, name, (3, outputs, inputs), dtype, transposed=True)
            self.layers.append(PreActivated(name, norm(inputs), weights, bias, doubles=True))
            add(f"up{level}/conv", 3, 2 * outputs, outputs)
            add_block(f"up{level}/block", outputs)
            inputs = outputs
        self.layers.append(PreActivated("head", norm(inputs), *draw("head", 1, inputs, classes)))

    def __call__(self, images, training=False, mask=None):
        """Class scores (logits) `[N, H, W, classes]` of images `[N, H, W, 1]`, sides divisible by 2^pools.

        Args:
          mask: class probabilities `[N, H, W, classes]` for the class-aware blocks; None takes their plain
            normalizations.

        Raises:
          InputError: a side is not divisible.
        """
        check_sides(images.shape[1:3], self.pools)
        layers = iter(self.layers)

        def block(x, mask=None):
            resized = None if mask is None else resize(mask, tf.shape(x)[1:3], self.mask_resizing)
            y = x
            for _ in range(2):
                y = next(layers)(y, training, resized)
            return x + y

        x, skips = images, []
        for level in range(1, self.pools + 2):
            x = next(layers)(x)
            x = block(x, mask if level <= self.class_aware else None)
            if level <= self.pools:
                skips.append(x)
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = block(x)
        for skip in reversed(skips):
            x = tf.concat([skip, next(layers)(x, training)], -1)
            x = block(next(layers)(x))
        return next(layers)(x, training)

    def scores(self, images, truth=None):
        """Class scores at test time, from the second pass if there is one; only the oracle uses `truth`."""
        first = self(images)
        mask = self.mask_of(first, truth)
        return first if mask is None else self(images, mask=mask)

    def mask_of(self, scores, truth):
        """The class masks of the second pass: probabilities `[N, H, W, classes]` without a gradient, or None.

        Args:
          scores: of the first pass, `[N, H, W, classes]`.
          truth: true masks `[N, H, W]` of class numbers; may be None where the class masks are not the oracle's.
        """
        if self.class_mask == "oracle":
            return tf.one_hot(truth, self.classes, dtype=scores.dtype)
        return tf.stop_gradient(tf.nn.softmax(scores)) if self.class_mask == "predicted" else None

    @property
    def normalizations(self):
        """The normalization layers by name, in the order of computation; the class-aware ones end in '/masked'."""
        layers = {}
        for layer in self.layers:
            if isinstance(layer, PreActivated):
                layers[layer.name] = layer.normalization
                if layer.masked:
                    layers[f"{layer.name}/masked"] = layer.masked.normalization
        return layers

    named_variables = UNet.named_variables


def resize(mask, size, how):
    """Class probabilities `[N, H, W, classes]` resized to `size`: 'bilinear' with corners aligned, or 'nearest'."""
    if how == "nearest":
        return tf.raw_ops.ResizeNearestNeighbor(images=mask, size=size)
    return tf.cast(tf.raw_ops.ResizeBilinear(images=mask, size=size, align_corners=True), mask.dtype)


@dataclass
class ClassAware:
    """Class-aware normalization: y = N(x)·(1 + γ(m)) + β(m).

    N is a normalization without affine part, and m are the class probabilities at the size of x. γ and β are 3×3
    convolutions of relu(3×3 convolution of m to half of x's channels), computed together as one convolution.
    """

    normalization: Normalization
    shared_weights: tf.Variable
    shared_bias: tf.Variable
    weights: tf.Variable
    bias: tf.Variable

    def __call__(self, x, training, mask):
        form = self.normalization.form
        hidden = tf.nn.relu(tf.nn.bias_add(convolution(mask, self.shared_weights, form), self.shared_bias))
        gamma, beta = tf.split(tf.nn.bias_add(convolution(hidden, self.weights, form), self.bias), 2, -1)
        return self.normalization(x, training) * (1 + gamma) + beta

    @property
    def named_variables(self):
        return {"shared_weights": self.shared_weights, "shared_bias": self.shared_bias, "modulation_weights":
                self.weights, "modulation_bias": self.bias, **self.normalization.named_variables}


@dataclass
class PreActivated:
    """Normalization (class-aware where a mask is given), ReLU, and a convolution with a bias.

    Where `doubles`, the convolution is a transposed one of stride 2, which doubles the sides.
    """

    name: str
    normalization: Normalization
    weights: tf.Variable
    bias: tf.Variable
    masked: ClassAware | None = None
    doubles: bool = False

    def __call__(self, x, training, mask=None):
        y = self.normalization(x, training, relu=True) if mask is None else tf.nn.relu(self.masked(x, training, mask))
        convolve = transposed if self.doubles else convolution
        return tf.nn.bias_add(convolve(y, self.weights, self.normalization.form), self.bias)

    @property
    def named_variables(self):
        masked = {} if self.masked is None else {f"masked/{k}": v for k, v in self.masked.named_variables.items()}
        return {**self.normalization.named_variables, "weights": self.weights, "bias": self.bias, **masked}


def _convolution(seed, name, shape, dtype, transposed=False):
    """(weights, bias) of a convolution, uniform in ±1/√(side²·shape[1]), PyTorch's default.

    The values depend on the seed and the name alone, so that networks with different class masks start alike in the
    layers that they share.

    Args:
      shape: (side, inputs, outputs), or (side, outputs, inputs) of a transposed convolution.
    """
    side, *channels = shape
    limit = 1 / math.sqrt(side**2 * channels[0])
    outputs = channels[0] if transposed else channels[1]

    def uniform(role, shape):
        # Philox is named because the default algorithm differs between devices.
        key = (seed, zlib.crc32(f"{name}/{role}".encode()) & 0x7FFFFFFF)
        return tf.Variable(tf.cast(tf.random.stateless_uniform(shape, key, -limit, limit, alg="philox"), dtype))

    return uniform("weights", [side, side, *channels]), uniform("bias", [outputs])
