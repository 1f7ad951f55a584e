"""The benchmark's peers compute what this network computes: same weights, same losses step by step."""

import keras
import numpy as np
import pytest

from experiments.measure.bench import keras_peer, parity

pytestmark = pytest.mark.slow
METHODS = ("none", "in", "gn4", "iln")


@pytest.fixture(scope="module", params=METHODS)
def ours(request):
    """A method, weights, and the losses of a few steps from there."""
    weights, losses = parity.losses(request.param)
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
def test_torch_takes_the_same_steps(torch, ours, layout):
    from experiments.measure.bench import torch_peer

    method, weights, losses = ours
    assert sum(p.numel() for p in torch_peer.UNet(method).parameters()) == sum(w.size for w in weights.values())
    np.testing.assert_allclose(parity.torch_losses(method, weights, layout), losses, rtol=parity.TOLERANCE)


def test_keras_takes_the_same_steps(keras_in_float64, ours):
    method, weights, losses = ours
    assert keras_peer.unet(method, parity.SIZE, 2).count_params() == sum(w.size for w in weights.values())
    np.testing.assert_allclose(parity.keras_losses(method, weights), losses, rtol=parity.TOLERANCE)


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
