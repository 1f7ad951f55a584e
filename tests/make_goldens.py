"""`python tests/make_goldens.py`: writes the stored numbers with which tests compare.

Make them again only when numbers change on purpose, and say why in the commit.
"""

import json
import pathlib

import numpy as np
import tensorflow as tf
from formulas import NAMES, example
from layers import built, run

from ilnrepro.networks.unet import UNet
from ilnrepro.norms import METHODS

NORMS = pathlib.Path(__file__).with_name("goldens") / "norms.json"
UNETS = NORMS.with_name("unet.json")


def norm_golden(name, form):
    """Output and gradients of a layer with a ReLU in training; of feature maps, one number in seven."""
    x, values, upstream = example(name, (2, 2), seed=7)
    y, gradients = run(built(name, values, form), x, upstream, training=True, relu=True)
    return {"y": _rounded(y.ravel()[::7]), "x": _rounded(gradients.pop("x").ravel()[::7]),
            **{key: _rounded(gradient) for key, gradient in gradients.items()}}


def unet_golden(name, form="fused"):
    """Number of trainable parameters, first weights of one layer in three, and some logits of one 32×32 image, for
    seed 1."""
    network = UNet(name, seed=1, form=form, dtype=tf.float64)
    image = np.random.default_rng(0).uniform(size=(1, 32, 32, 1))
    variables = network.named_variables.values()
    return {"numbers": int(sum(np.prod(v.shape) for v in variables if v.trainable)),
            "weights": _rounded([layer.weights.numpy().ravel()[:3] for layer in network.layers[::3]]),
            "logits": _rounded(network(tf.constant(image), training=True).numpy().ravel()[::101])}


def _rounded(numbers):
    return np.round(numbers, 10).tolist()


def _write(path, goldens):
    path.parent.mkdir(exist_ok=True)
    methods = []
    for name, golden in goldens.items():
        lines = (f' "{key}": {json.dumps(numbers)}' for key, numbers in golden.items())
        methods.append(f'"{name}": {{\n' + ",\n".join(lines) + "}")
    path.write_text("{" + ",\n".join(methods) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    _write(NORMS, {name: norm_golden(name, "reference") for name in NAMES})
    rows = [row.replace("<G>", "4") for row in METHODS]
    _write(UNETS, {name: unet_golden(name, "reference") for name in rows})
