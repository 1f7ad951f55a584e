"""The benchmark's peers compute what this network computes: same weights, same losses step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments.measure.bench import keras_peer
from ilnrepro.networks.unet import UNet

pytestmark = pytest.mark.slow
METHODS = ("none", "in", "gn4", "iln")
RATE = 0.05
STEPS = 3  # the third shows the momentum
SIZE = (32, 48)  # not square, so that no axis can be taken for another


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return rng.random((2, *SIZE, 1)), rng.integers(0, 2, (2, *SIZE))


@pytest.fixture(scope="module", params=METHODS)
def ours(request, batch):
    """A method, float64 weights of which no two are alike, and the losses of a few steps from there."""
    network = UNet(request.param, form="reference", dtype=tf.float64)
    rng = np.random.default_rng(1)
    variables = network.named_variables
    for variable in variables.values():
        variable.assign_add(rng.normal(0, 0.02, variable.shape))
    weights = {name: v.numpy() for name, v in variables.items()}
    momenta = dict.fromkeys(variables, 0.0)
    images, masks = (tf.constant(values) for values in batch)
    losses = []
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            scores = network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(masks, scores))
        for name, gradient in tape.gradient(loss, variables).items():
            momenta[name] = 0.9 * momenta[name] + gradient
            variables[name].assign_sub(RATE * momenta[name])
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 1e-4
    return request.param, weights, losses


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch", reason="the benchmark's peer PyTorch is not installed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small images: a second thread would mostly wait for the first
    yield torch
    torch.set_num_threads(threads)


@pytest.fixture
def keras_in_float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_torch_takes_the_same_steps(torch, ours, batch, layout):
    from experiments.measure.bench import torch_peer

    method, weights, losses = ours
    network = torch_peer.UNet(method).double()
    assert sum(p.numel() for p in network.parameters()) == sum(w.size for w in weights.values())
    torch_peer.load(network, weights)
    step = torch_peer.training_step(network, *batch, RATE, layout)
    np.testing.assert_allclose([step() for _ in range(STEPS)], losses, rtol=1e-9)


def test_keras_takes_the_same_steps(keras_in_float64, ours, batch):
    method, weights, losses = ours
    model = keras_peer.unet(method, SIZE, 2)
    assert model.count_params() == sum(w.size for w in weights.values())
    keras_peer.load(model, weights)
    step = keras_peer.training_step(model, *batch, RATE)
    np.testing.assert_allclose([step() for _ in range(STEPS)], losses, rtol=1e-9)


def test_torch_steps(torch):
    from experiments.measure.bench import torch_peer

    steps = torch_peer.steps(32, 1, ["none", "iln"])
    assert set(steps) == {(f"torch-{kind}", method, layout) for kind in ("eager", "compile")
                          for method in ("none", "iln") for layout in ("channels_last", "contiguous")}
    for (implementation, _, _), step in steps.items():
        if implementation == "torch-eager":
            first = step()
            assert isinstance(first, float) and step() < first


def test_keras_steps():
    steps = keras_peer.steps(32, 1, ["none"])
    assert set(steps) == {("keras", "none")}
    first = steps["keras", "none"]()
    assert isinstance(first, float) and steps["keras", "none"]() < first
