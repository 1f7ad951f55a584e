"""The benchmark's peers compute what this network computes: same weights, same loss, same step."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.bench import keras_peer
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.training import Training

METHODS = ("none", "in", "gn4", "iln")
RATE = 0.05
STEPS = 3
TOLERANCE = [1e-6, 1e-5, 5e-4]  # relative; later losses feel the ReLUs and maxima that rounding tips over
SIZE = (64, 48)  # not square, so that no axis can be taken for another


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return rng.random((2, *SIZE, 1), np.float32), rng.integers(0, 2, (2, *SIZE))


@pytest.fixture(scope="module", params=METHODS)
def ours(request, batch):
    """A method, weights of which no two are alike, and the losses of a few steps from there."""
    reference = protocol("paper", form="reference")
    training = Training(Configuration("random", "", "LV", request.param, 1, RATE, 0, reference))
    rng = np.random.default_rng(1)
    for variable in training.trainable:
        variable.assign_add(rng.normal(0, 0.02, variable.shape))
    weights = {name: v.numpy() for name, v in training.network.named_variables.items()}
    images, masks = (tf.constant(values) for values in batch)
    step = tf.function(training.step)
    losses = [float(step(images, masks, tf.constant(RATE))) for _ in range(STEPS)]
    assert losses[-1] < losses[0] - 1e-3
    return request.param, weights, losses


@pytest.fixture(scope="module")
def torch_peer():
    pytest.importorskip("torch", reason="the benchmark's peer PyTorch is not installed")
    from experiments.bench import torch_peer
    return torch_peer


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_torch_takes_the_same_steps(torch_peer, ours, batch, layout):
    method, weights, losses = ours
    network = torch_peer.UNet(method)
    assert sum(p.numel() for p in network.parameters()) == sum(w.size for w in weights.values())
    torch_peer.load(network, weights)
    step = torch_peer.training_step(network, *batch, RATE, layout)
    assert (np.abs([step() / loss - 1 for loss in losses]) < TOLERANCE).all()


def test_keras_takes_the_same_steps(ours, batch):
    method, weights, losses = ours
    model = keras_peer.unet(method, SIZE, 2)
    assert model.count_params() == sum(w.size for w in weights.values())
    keras_peer.load(model, weights)
    step = keras_peer.training_step(model, *batch, RATE)
    assert (np.abs([step() / loss - 1 for loss in losses]) < TOLERANCE).all()


def test_torch_steps(torch_peer):
    steps = torch_peer.steps(32, 1, ["none", "iln"])
    assert set(steps) == {(f"torch-{kind}", method, layout) for kind in ("eager", "compile")
                          for method in ("none", "iln") for layout in ("channels_last", "contiguous")}
    for (implementation, _, _), step in steps.items():
        if implementation == "torch-eager":
            first = step()
            assert isinstance(first, float) and step() < first


def test_keras_steps():
    steps = keras_peer.steps(16, 1, ["none"])
    assert set(steps) == {("keras", "none")}
    first = steps["keras", "none"]()
    assert isinstance(first, float) and steps["keras", "none"]() < first
