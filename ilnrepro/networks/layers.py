"""Layers that several networks use: convolutions, most of them followed by normalization and ReLU."""

from __future__ import annotations

from dataclasses import dataclass

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.networks.convolutions import with_moments
from ilnrepro.norms import Normalization


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
        return _normalized(self, x, training)

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
        return _normalized(self, x, training, transpose=True)

    named_variables = Convolution.named_variables


def _normalized(layer, x, training, transpose=False):
    normalization = layer.normalization
    y, moments = with_moments(x, layer.weights, normalization.form, transpose, normalization.rule.needs_moments)
    return normalization(y, training, relu=True, moments=moments)


@dataclass
class PlainConvolution:
    """Convolution with a bias, without normalization or ReLU, such as the 1×1 head."""

    name: str
    weights: tf.Variable
    bias: tf.Variable

    def __call__(self, x):
        y, _ = with_moments(x, self.weights, "plain", needed=False)
        return tf.nn.bias_add(y, self.bias)

    @property
    def named_variables(self):
        return {"weights": self.weights, "bias": self.bias}


def check_sides(sides, pools=4):
    """Raises InputError unless all sides are divisible by 2^pools."""
    for side in sides:
        if side is not None and side % 2**pools:
            raise InputError(f"image size {'×'.join(map(str, sides))}: sides must be divisible by {2**pools} "
                             f"({pools} max-pools); crop or pad the images")
