"""The check that a peer trains the same network: from the same weights, its losses are the same, step by step."""

import json
import subprocess
import sys

import numpy as np

from ilnrepro import tf
from ilnrepro.networks.unet import UNet

RATE, STEPS = 0.05, 3  # the third step shows the momentum
SIZE = (32, 48)  # not square, so that no axis can be taken for another
TOLERANCE = 1e-9  # relative, in float64


def batch():
    """Random images `[2, H, W, 1]` and masks, for our network and the peers'."""
    rng = np.random.default_rng(0)
    return rng.random((2, *SIZE, 1)), rng.integers(0, 2, (2, *SIZE))


def losses(method):
    """(weights in float64 of which no two are equal, losses of a few steps of our network from there)."""
    network = UNet(method, form="reference", dtype=tf.float64)
    rng = np.random.default_rng(1)
    variables = network.named_variables
    for variable in variables.values():
        variable.assign_add(rng.normal(0, 0.02, variable.shape))
    weights = {name: v.numpy() for name, v in variables.items()}
    momenta = dict.fromkeys(variables, 0.0)
    images, masks = (tf.constant(values) for values in batch())
    step_losses = []
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            scores = network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(masks, scores))
        for name, gradient in tape.gradient(loss, variables).items():
            momenta[name] = 0.9 * momenta[name] + gradient
            variables[name].assign_sub(RATE * momenta[name])
        step_losses.append(float(loss))
    return weights, step_losses


def torch_losses(method, weights, layout="channels_last"):
    """PyTorch's losses from these weights."""
    from experiments.measure.bench import torch_peer

    network = torch_peer.UNet(method).double()
    torch_peer.load(network, weights)
    step = torch_peer.training_step(network, *batch(), RATE, layout)
    return [step() for _ in range(STEPS)]


def keras_losses(method, weights):
    """Keras's losses from these weights, in float64, to which the caller has set Keras."""
    from experiments.measure.bench import keras_peer

    model = keras_peer.unet(method, SIZE, 2)
    keras_peer.load(model, weights)
    step = keras_peer.training_step(model, *batch(), RATE)
    return [step() for _ in range(STEPS)]


PEERS = {"torch_peer": torch_losses, "keras_peer": keras_losses}


def refusal(module, methods):
    """The reason why a peer, a key of `PEERS`, must not be timed: the method by which it differs; None if all agree.

    The comparison takes a process of its own. A peer that cannot be loaded gives None; its worker reports why.
    """
    done = subprocess.run([sys.executable, "-m", __name__, module, ",".join(methods)], capture_output=True,
                          encoding="utf-8")
    answer = next((line for line in done.stdout.splitlines() if line.startswith("{")), "{}")
    for method, difference in json.loads(answer).items():
        if not difference <= TOLERANCE:
            return f"its {method} is another network: losses differ by {difference:.1e}"
    return None


def main(module, methods):
    """Prints the largest relative difference of the losses by method."""
    if module == "keras_peer":
        import keras

        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
    errors = {}
    for method in methods.split(","):
        weights, ours = losses(method)
        errors[method] = float(np.max(np.abs(np.array(PEERS[module](method, weights)) / ours - 1)))
    print(json.dumps(errors))


if __name__ == "__main__":
    main(*sys.argv[1:])
