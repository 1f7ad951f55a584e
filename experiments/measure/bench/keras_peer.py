"""The benchmark's Keras peer: the same U-Net and training step from Keras' layers, on TensorFlow."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

IMPLEMENTATION = "keras"
METHODS = ("none", "in", "gn4", "iln")
RATE = 0.01
EPSILON = 1e-5


class Gate(keras.Layer):
    """Sigmoid(ρ)·first + (1 − Sigmoid(ρ))·second."""

    def build(self, input_shape):
        self.rho = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.5), name="rho")

    def call(self, inputs):
        first, second = inputs
        gate = keras.ops.sigmoid(self.rho)
        return gate * first + (1 - gate) * second


def normalize(x, method, name):
    """x normalized by one of `METHODS`, with γ and β."""
    if method == "none":
        return x
    if method == "iln":
        plain = {"epsilon": EPSILON, "center": False, "scale": False}
        x = Gate(name=f"{name}-gate")([layers.GroupNormalization(-1, **plain)(x),
                                       layers.GroupNormalization(1, **plain)(x)])
    groups = {"in": -1, "gn4": 4, "iln": 16}[method]
    return layers.GroupNormalization(groups, epsilon=EPSILON, name=f"{name}-normalization")(x)


def unet(method, size, batch, seed=0):
    """A model of the paper's U-Net: scores `[batch, size, size, 2]` of images `[batch, size, size, 1]`.

    size: of the images, one number or (height, width).
    """
    def initializers(channels):
        deviation = (2 / (9 * channels)) ** 0.5
        return {"kernel_initializer": keras.initializers.TruncatedNormal(0, deviation, seed),
                "bias_initializer": keras.initializers.Constant(0.1)}

    def layer(kind, name, x, channels, strides=1):
        x = kind(channels, 3, strides, "same", name=name, **initializers(channels))(x)
        return layers.ReLU()(normalize(x, method, name))

    def two_convolutions(stage, x, channels):
        x = layer(layers.Conv2D, f"{stage}-conv1", x, channels)
        return layer(layers.Conv2D, f"{stage}-conv2", x, channels)

    sides = size if isinstance(size, tuple) else (size, size)
    inputs = x = keras.Input((*sides, 1), batch)
    skips = []
    for level, channels in enumerate([16, 32, 64, 128], 1):
        skips.append(two_convolutions(f"down{level}", x, channels))
        x = layers.MaxPooling2D()(skips[-1])
    x = two_convolutions("bottom", x, 256)
    for level, channels in zip([4, 3, 2, 1], [128, 64, 32, 16], strict=True):
        x = layer(layers.Conv2DTranspose, f"up{level}-transposed", x, channels, 2)
        x = two_convolutions(f"up{level}", layers.Concatenate()([skips.pop(), x]), channels)
    return keras.Model(inputs, layers.Conv2D(2, 1, name="head", **initializers(16))(x))


def load(model, arrays):
    """Takes the weights of an `ilnrepro.networks.unet.UNet`, arrays by the names of its `named_variables`."""
    for layer in model.layers:
        name = layer.name.removesuffix("-gate").removesuffix("-normalization").replace("-", "/")
        for variable in layer.weights:
            variable.assign(arrays[f"{name}/{'weights' if variable.name == 'kernel' else variable.name}"])


def training_step(model, images, masks, rate=RATE, jit_compile=False):
    """A function that takes one step of SGD with momentum 0.9 and returns the loss before it, a float.

    Args:
      model: of `unet`; each step changes it.
      images: `[N, H, W, 1]`; masks: integers `[N, H, W]`.
      jit_compile: as in `keras.Model.compile`.
    """
    model.compile(keras.optimizers.SGD(rate, momentum=0.9),
                  keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=jit_compile)
    x, y = tf.constant(images, model.compute_dtype), tf.constant(masks, tf.int32)
    return lambda: float(model.train_on_batch(x, y))


def steps(size, batch, methods=METHODS):
    """A training step for each of some methods.

    The number of threads is the caller's choice (`tf.config.threading`). A step is traced when it is first taken.

    Args:
      size: side of the images; batch: images a step.
      methods: some of `METHODS`.

    Returns:
      {("keras", method): step}; step() takes one step on a fixed random batch and returns its loss.
    """
    rng = np.random.default_rng(0)
    images = rng.random((batch, size, size, 1), np.float32)
    masks = rng.integers(0, 2, (batch, size, size))
    return {(IMPLEMENTATION, method): training_step(unet(method, size, batch), images, masks)
            for method in methods}
