"""The 3-D Res-U-Net: its shape, its numbers, its convolutions by hand, and that every rule serves it."""

import numpy as np
import pytest
import tensorflow as tf
from layers import seldom

from experiments.papers.kolarik.printed import ROWS
from ilnrepro.errors import InputError
from ilnrepro.networks.res_unet import Convolution3D, ResUNet3D
from ilnrepro.networks.summary import summary
from ilnrepro.norms import Normalization, kernels

SMALL = {"start_channels": 2, "pools": 2}


def volumes(*shape):
    return np.random.default_rng(0).random((*shape, 1)).astype(np.float32)


@pytest.fixture
def double(monkeypatch):
    """TensorFlow's own pooling of volumes knows no float64."""
    def max_pool3d(x, *_):
        x = tf.maximum(x[:, ::2], x[:, 1::2])
        x = tf.maximum(x[:, :, ::2], x[:, :, 1::2])
        return tf.maximum(x[:, :, :, ::2], x[:, :, :, 1::2])

    monkeypatch.setattr(tf.nn, "max_pool3d", max_pool3d)


def numbers(network, trainable=True):
    return sum(int(tf.size(v)) for v in network.named_variables.values() if v.trainable == trainable)


def expected_numbers(affine, start=32, pools=4):
    """Weights and biases counted level by level; γ and β where `affine`."""
    inputs, total = 1, 0

    def block(inputs, outputs):
        return 27 * inputs * outputs + 27 * outputs**2 + 2 * outputs * (3 if affine else 1)

    levels = [start * 2**k for k in range(pools + 1)]
    for outputs in levels:
        total, inputs = total + block(inputs, outputs), inputs + outputs
    for outputs in reversed(levels[:-1]):
        total += 8 * inputs * outputs + outputs + block(2 * outputs, outputs)
        inputs = 3 * outputs
    return total + inputs + 1


@pytest.mark.parametrize("method, affine, start", seldom([("none", False, 2), ("in", True, 2), ("gn32", True, 32)],
                                                         [("none", False, 2), ("in", True, 2)]))
def test_parameters_and_which_layers_are_normalized(method, affine, start):
    assert ResUNet3D.start_channels == 32
    network = ResUNet3D(method, start_channels=start)
    assert numbers(network) == expected_numbers(affine, start)
    stages = ["down1", "down2", "down3", "down4", "bottom", "up4", "up3", "up2", "up1"]
    assert list(network.normalizations) == [f"{s}/{kind}" for s in stages for kind in ("dilated", "standard")]
    assert [layer.name for layer in network.layers if layer.name not in network.normalizations] == [
        "up4/transposed", "up3/transposed", "up2/transposed", "up1/transposed", "head"]
    assert [network.normalizations[f"{s}/standard"].bias.shape[0] for s in stages] == [
        k * start for k in (1, 2, 4, 8, 16, 8, 4, 2, 1)]
    assert len(network.named_variables) == 23 * 2 + (18 * 2 if affine else 0)


def test_bn_has_moving_averages_beside():
    assert numbers(ResUNet3D("bn", **SMALL), trainable=False) == 2 * 2 * (2 * (2 + 4) + 8)


def test_the_start():
    network = ResUNet3D("in", seed=3, start_channels=16, pools=2)
    for layer in network.layers:
        *kernel, a, b = layer.weights.shape
        limit = np.sqrt(6 / (np.prod(kernel) * (a + b)))
        w = layer.weights.numpy()
        assert np.abs(w).max() <= limit
        if w.size > 5000:
            assert abs(w.std() - limit / np.sqrt(3)) < 0.05 * limit and abs(w.mean()) < 0.05 * limit
        assert not layer.named_variables["bias"].numpy().any()
    same = ResUNet3D("none", seed=3, start_channels=16, pools=2).layers
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(network.layers, same, strict=True))
    other = ResUNet3D("in", seed=4, start_channels=16, pools=0).layers[0]
    assert not np.array_equal(other.weights, network.layers[0].weights)


def by_hand(x, weights, dilation):
    """A 3×3×3 convolution of [D, H, W, C] under zeros, a sum over 27 shifted products."""
    d = dilation
    padded = np.pad(x, [(d, d)] * 3 + [(0, 0)])
    sides = x.shape[:3]
    return sum(padded[tuple(slice(k * d, k * d + n) for k, n in zip(offset, sides, strict=True))] @ weights[offset]
               for offset in np.ndindex(3, 3, 3))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("sides", [(8, 6, 4), (1, 2, 2), (3, 4, 5)], ids=str)
def test_convolutions_and_their_gradients_by_hand(dilation, sides):
    rng = np.random.default_rng(0)
    x, w, upstream = rng.normal(size=(*sides, 3)), rng.normal(size=(3, 3, 3, 3, 5)), rng.normal(size=(*sides, 5))
    normalization = Normalization("none", 5, bias=0.0, dtype=tf.float64)
    layer = Convolution3D("c", tf.Variable(w), normalization, dilation)
    with tf.GradientTape() as tape:
        tape.watch(t := tf.constant(x[np.newaxis]))
        y = layer(t, False)
    wanted = by_hand(x, w, dilation)
    assert np.abs(y[0] - np.maximum(wanted, 0)).max() < 1e-12
    dx, dw = tape.gradient(y, (t, layer.weights), upstream[np.newaxis])
    g = np.where(wanted > 0, upstream, 0)
    turned = np.swapaxes(w[::-1, ::-1, ::-1], 3, 4)
    assert np.abs(dx[0] - by_hand(g, turned, dilation)).max() < 1e-12
    for offset in np.ndindex(3, 3, 3):
        one = np.zeros((3, 3, 3, 1, 1))
        one[offset] = 1
        moved = np.concatenate([by_hand(x[..., [c]], one, dilation) for c in range(3)], -1)
        assert np.abs(dw[offset] - np.tensordot(moved, g, ([0, 1, 2],) * 2)).max() < 1e-11


def test_the_whole_network_by_hand(eagerly, double):
    """Without normalization, one pool: blocks, residual concatenations, skip, transposed convolution, head."""
    network = ResUNet3D("none", seed=1, start_channels=2, pools=1, dtype=tf.float64)
    layers = {layer.name: layer for layer in network.layers}
    x = volumes(1, 4, 6, 2)

    def block(stage, x):
        y = x
        for kind, dilation in (("dilated", 2), ("standard", 1)):
            y = np.maximum(by_hand(y, layers[f"{stage}/{kind}"].weights.numpy(), dilation), 0)
        return y, np.concatenate([x, y], -1)

    skip, down = block("down1", x[0])
    pooled = down.reshape(2, 2, 3, 2, 1, 2, -1).max((1, 3, 5))
    _, bottom = block("bottom", pooled)
    w = layers["up1/transposed"].weights.numpy()  # [2, 2, 2, outputs, inputs]
    up = np.zeros((4, 6, 2, 2))
    for a, b, c in np.ndindex(2, 2, 2):
        up[a::2, b::2, c::2] = bottom @ w[a, b, c].T
    _, last = block("up1", np.concatenate([up, skip], -1))
    wanted = last @ layers["head"].weights.numpy()[0, 0, 0]
    assert np.abs(network(tf.constant(x, tf.float64))[0] - wanted).max() < 1e-12 * np.abs(wanted).max()


@pytest.mark.parametrize("method", seldom([*ROWS, "ln", "iln"], ["none", "bn", "gn2", "in", "iln"]))
def test_native_kernels_and_the_reference_agree_on_volumes(method, use, eagerly, double):
    """One step's scores and gradients of a whole small network, fused on each kernels against the equations."""
    groups = int(method.removeprefix("gn")) if method.startswith("gn") else 16 if method == "iln" else 2
    settings = {"start_channels": groups, "pools": 1, "dtype": tf.float64}
    x, mask = tf.constant(volumes(1, 4, 4, 4), tf.float64), np.random.default_rng(1).normal(size=(1, 4, 4, 4, 1))
    outputs = []
    for form in ("reference", "tensorflow", "native"):
        if form != "reference":
            use(form)
        network = ResUNet3D(method, form="reference" if form == "reference" else "fused", **settings)
        with tf.GradientTape() as tape:
            y = network(x, training=True)
            trained = {k: v for k, v in network.named_variables.items() if v.trainable}
        gradients = tape.gradient(y, trained, mask)
        outputs.append((y.numpy(), {k: tf.convert_to_tensor(g).numpy() for k, g in gradients.items()}))
    (y, gradients), *others = outputs
    for other, slopes in others:
        assert np.abs(other - y).max() < 1e-11 * np.abs(y).max()
        for name, slope in slopes.items():
            assert np.abs(slope - gradients[name]).max() < 1e-9 * max(1, np.abs(gradients[name]).max()), name


def test_one_layer_on_the_native_kernels_against_float64(use):
    """float32 on the native kernels, rule compiled, against the equations in float64: output and every gradient."""
    from layers import built, run

    rng = np.random.default_rng(2)
    x, upstream = rng.normal(1, 2, (2, 4, 6, 5, 8)), rng.normal(size=(2, 4, 6, 5, 8))
    values = {"bias": rng.normal(size=8), "gamma": rng.normal(1, 0.2, 8), "beta": rng.normal(size=8)}
    for name in ("in", "ln", "gn4"):
        y, gradients = run(built(name, values, "reference"), x, upstream, relu=True)
        use("native")
        assert kernels.in_use() == "native"
        fast, slopes = run(built(name, values, "fused", dtype="float32"), x, upstream, relu=True)
        assert np.abs(fast - y).max() < 1e-5 * np.abs(y).max()
        for key, gradient in gradients.items():
            assert np.abs(slopes[key] - gradient).max() < 3e-5 * max(1, np.abs(gradient).max()), (name, key)


def test_sides_initializers_and_groups_that_do_not_fit():
    with pytest.raises(InputError, match="16×24×32: sides must be divisible by 16"):
        ResUNet3D("in", start_channels=2)(tf.zeros([1, 16, 24, 32, 1]))
    with pytest.raises(InputError, match="initializer: 'root' is unknown; choose one of glorot"):
        ResUNet3D("in", initializer="root")
    with pytest.raises(InputError, match="64 groups do not divide 32 channels"):
        ResUNet3D("gn64")


def test_sizes_unknown_in_a_function():
    network = ResUNet3D("in", **SMALL)
    x = volumes(2, 4, 8, 4)
    call = tf.function(network, autograph=False, input_signature=[tf.TensorSpec([None, None, None, None, 1])])
    assert np.abs(call(tf.constant(x)) - network(tf.constant(x))).max() < 1e-3  # float32, two compilers


def test_the_summary_tells_the_shapes_that_come_out(eagerly, monkeypatch):
    network, shapes = ResUNet3D("none", start_channels=2, pools=2), []
    for layer in network.layers:
        kind = type(layer)
        if not hasattr(kind, "plain"):
            monkeypatch.setattr(kind, "plain", kind.__call__, raising=False)
            monkeypatch.setattr(kind, "__call__", lambda self, *a: (lambda y: (shapes.append(y.shape[1:]), y)[1])(
                self.plain(*a)))
    network(tf.zeros([1, 8, 16, 16, 1]))
    rows = summary(network, size=16, slab=8)
    told = list(dict.fromkeys((row[0], row[1]) for row in rows))
    assert [tuple(s) for s in shapes] == [shape for _, shape in told]
