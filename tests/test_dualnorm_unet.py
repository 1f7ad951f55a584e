"""DualNorm-UNet: its shape and numbers, class-aware normalization and the whole network by hand, its two steps."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from layers import seldom

from ilnrepro import networks
from ilnrepro.errors import InputError
from ilnrepro.networks.dualnorm_unet import ClassAware, DualNormUNet, resize
from ilnrepro.networks.summary import summary
from ilnrepro.norms import Normalization
from ilnrepro.ops.losses import soft_dice
from ilnrepro.ops.optimizers import Adam
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.training.step import Training

EPSILON = 1e-5


def numbers(network):
    return sum(int(tf.size(v)) for v in network.named_variables.values() if v.trainable)


def expected_numbers(start=32, pools=4, aware=True):
    """Weights, biases, γ and β, counted level by level."""
    levels, inputs, total = [start * 2**k for k in range(pools + 1)], 1, 0

    def convolution(side, inputs, outputs):
        return (side**2 * inputs + 1) * outputs

    def block(channels):
        return 2 * (convolution(3, channels, channels) + 2 * channels)

    for k, outputs in enumerate(levels):
        total += convolution(1 if k == 0 else 3, inputs, outputs) + block(outputs)
        if aware and k < 4:
            total += 2 * (convolution(3, 2, outputs // 2) + 2 * convolution(3, outputs // 2, outputs))
        inputs = outputs
    total += block(inputs)
    for outputs in reversed(levels[:-1]):
        total += 2 * inputs + convolution(3, inputs, outputs) + convolution(3, 2 * outputs, outputs) + block(outputs)
        inputs = outputs
    return total + 2 * inputs + convolution(1, inputs, 2)


def test_parameters_and_which_layers_are_class_aware():
    assert DualNormUNet.start_channels == 32
    network = DualNormUNet("bn", start_channels=8)
    assert numbers(network) == expected_numbers(8)
    masked = [name for name in network.normalizations if name.endswith("/masked")]
    assert masked == [f"down{k}/block{i}/masked" for k in (1, 2, 3, 4) for i in (1, 2)]
    assert all(network.normalizations[name].gamma is None for name in masked)
    assert len(network.normalizations) == 2 * 10 + 4 + 1 + 8
    # Each has moving averages of its own.
    averages = {id(n.parameters["moving_mean"]) for n in network.normalizations.values()}
    assert len(averages) == len(network.normalizations)


def test_the_baseline_has_nothing_class_aware():
    network = DualNormUNet("bn", class_mask="none", start_channels=4, pools=2)
    assert numbers(network) == expected_numbers(4, 2, aware=False)
    assert not [name for name in network.named_variables if "masked" in name]
    same = DualNormUNet("bn", start_channels=4, pools=2).named_variables
    assert all(np.array_equal(v, same[name]) for name, v in network.named_variables.items())


def test_the_start():
    network = DualNormUNet("bn", seed=3, start_channels=8)
    for name, variable in network.named_variables.items():
        values = variable.numpy()
        if values.ndim == 4:
            fan_in = 9 * values.shape[2] if "transposed" in name else np.prod(values.shape[:3])
            limit = 1 / np.sqrt(fan_in)
            assert np.abs(values).max() <= limit * 1.000001, name
            if values.size > 5000:
                assert abs(values.std() - limit / np.sqrt(3)) < 0.05 * limit, name
        elif name.endswith("bias"):
            assert 0 < np.abs(values).max() < 1 and np.unique(values).size == values.size, name
    weights = [v.numpy().ravel()[:8] for v in network.named_variables.values() if len(v.shape) == 4]
    assert len({tuple(np.sign(w - np.median(w)).tolist() + w.tolist()) for w in weights}) == len(weights)


def by_hand(x, weights, bias):
    """A convolution of [H, W, C] under zeros, a sum over shifted products."""
    k = weights.shape[0] // 2
    padded = np.pad(x, [(k, k), (k, k), (0, 0)])
    h, w = x.shape[:2]
    return bias + sum(padded[i:i + h, j:j + w] @ weights[i, j] for i, j in np.ndindex(weights.shape[:2]))


def normalized(x, gamma=1, beta=0):
    """By the moments of the batch, [N, H, W, C]."""
    return gamma * (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + EPSILON) + beta


def bilinear(mask, height, width):
    """[H, W, C] at another size, corners aligned."""
    rows, columns = (np.linspace(0, n - 1, m) for n, m in ((mask.shape[0], height), (mask.shape[1], width)))
    i, j = (np.minimum(at.astype(int), n - 2) for at, n in ((rows, mask.shape[0]), (columns, mask.shape[1])))
    a, b = (rows - i)[:, None, None], (columns - j)[None, :, None]
    return ((1 - a) * (1 - b) * mask[i][:, j] + a * (1 - b) * mask[i + 1][:, j]
            + (1 - a) * b * mask[i][:, j + 1] + a * b * mask[i + 1][:, j + 1])


def test_masks_are_resized_with_corners_aligned_or_to_the_nearest():
    mask = np.random.default_rng(0).random((1, 9, 8, 2)).astype(np.float32)
    for size in ((4, 5), (9, 8), (3, 2)):
        assert np.abs(resize(mask, size, "bilinear")[0] - bilinear(mask[0], *size)).max() < 1e-6
    nearest = resize(mask, (4, 4), "nearest")[0]
    rows, columns = np.floor(np.arange(4) * 9 / 4).astype(int), np.arange(4) * 2
    np.testing.assert_array_equal(nearest, mask[0][rows][:, columns])


@pytest.mark.parametrize("form", ["reference", "fused"])
def test_class_aware_normalization_by_hand(form, eagerly):
    rng = np.random.default_rng(1)
    x, mask = rng.normal(2, 3, (3, 4, 5, 6)), rng.dirichlet([1, 1], (3, 4, 5))
    a, b, c, d = (rng.normal(size=s) for s in ((3, 3, 2, 3), (3,), (3, 3, 3, 12), (12,)))
    normalization = Normalization("bn", 6, form=form, bias=None, affine=False, dtype=tf.float64)
    assert list(normalization.named_variables) == ["moving_mean", "moving_variance"]
    y = ClassAware(normalization, *map(tf.Variable, (a, b, c, d)))(tf.constant(x), True, tf.constant(mask))
    for i in range(3):
        both = by_hand(np.maximum(by_hand(mask[i], a, b), 0), c, d)
        wanted = normalized(x)[i] * (1 + both[..., :6]) + both[..., 6:]
        assert np.abs(y[i] - wanted).max() < 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("given", [False, True])
def test_the_whole_network_by_hand(given, eagerly):
    """One pool, batch statistics: stem, blocks, class-aware where a mask is given, skip, transposed convolution."""
    network = DualNormUNet("bn", seed=1, start_channels=4, pools=1, dtype=tf.float64)
    v = {name: variable.numpy().astype(float) for name, variable in network.named_variables.items()}
    rng = np.random.default_rng(2)
    for name in v:
        if name.endswith(("gamma", "beta")):
            v[name] = rng.normal(1, 0.3, v[name].shape)
            network.named_variables[name].assign(v[name])
    images, mask = rng.random((2, 8, 6, 1)), rng.dirichlet([1, 1], (2, 8, 6))

    def convolved(x, name):
        return np.stack([by_hand(one, v[f"{name}/weights"], v[f"{name}/bias"]) for one in x])

    def pre_activated(x, name, mask):
        if mask is None:
            y = normalized(x, v[f"{name}/gamma"], v[f"{name}/beta"])
        else:
            parts = []
            for m in mask:
                hidden = np.maximum(by_hand(bilinear(m, *x.shape[1:3]), v[f"{name}/masked/shared_weights"],
                                            v[f"{name}/masked/shared_bias"]), 0)
                parts.append(by_hand(hidden, *(v[f"{name}/masked/modulation_{role}"] for role in ("weights", "bias"))))
            gamma, beta = np.split(np.stack(parts), 2, -1)
            y = normalized(x) * (1 + gamma) + beta
        return np.maximum(y, 0)

    def block(x, stage, mask=None):
        y = x
        for i in (1, 2):
            y = convolved(pre_activated(y, f"{stage}{i}", mask), f"{stage}{i}")
        return x + y

    m = mask if given else None
    skip = block(convolved(images, "down1/conv"), "down1/block", m)
    pooled = skip.reshape(2, 4, 2, 3, 2, 4).max((2, 4))
    x = block(convolved(pooled, "bottom/conv"), "bottom/block", m)  # the second of the first four levels
    x = block(x, "bottom/second")
    x = pre_activated(x, "up1/transposed", None)
    w, up = v["up1/transposed/weights"], np.zeros((2, 8, 6, 4))  # w: [3, 3, outputs, inputs]
    for i, j in np.ndindex(3, 3):  # SAME, stride 2, even sides: output (2a + i, 2b + j), what leaves the image cut off
        placed = np.zeros((2, 9, 7, 4))
        placed[:, i:i + 7:2, j:j + 5:2] = x @ w[i, j].T
        up += placed[:, :8, :6]
    up += v["up1/transposed/bias"]
    x = block(convolved(np.concatenate([skip, up], -1), "up1/conv"), "up1/block")
    wanted = convolved(pre_activated(x, "head", None), "head")
    actual = network(tf.constant(images), training=True, mask=tf.constant(mask) if given else None)
    assert np.abs(actual - wanted).max() < 1e-6 * np.abs(wanted).max()  # masks are resized in float32


def training_of(monkeypatch, mode):
    build = networks.build

    def small(configuration):
        p = configuration.protocol
        return DualNormUNet(configuration.method, configuration.seed, p.settings, class_mask=p.class_mask,
                            start_channels=4, pools=1, dtype=tf.float64)

    monkeypatch.setattr(networks, "build", small)
    training = Training(Configuration("d", "", "LV", "bn", 1, 1e-3, 5, protocol("dualnorm-quick", class_mask=mode)))
    monkeypatch.setattr(networks, "build", build)
    return training


def batch():
    rng = np.random.default_rng(3)
    return tf.constant(rng.random((4, 16, 16, 1))), tf.constant(rng.integers(0, 2, (4, 16, 16)), tf.int32)


@pytest.mark.parametrize("mode", seldom(["none", "predicted", "oracle"], ["predicted", "oracle"]))
def test_a_batch_takes_two_steps(mode, monkeypatch, eagerly):
    """Against the steps written out: the second mask comes from the first pass, and only the second's gradients are
    clipped."""
    images, masks = batch()
    training, other = training_of(monkeypatch, mode), training_of(monkeypatch, mode)
    network, variables = other.network, other.trainable
    optimizer = Adam(variables, [1] * len(variables), protocol("dualnorm-quick"))
    passes = []
    for second in (False, True):
        mask = None
        if second and mode != "none":
            mask = tf.nn.softmax(passes[0]) if mode == "predicted" else tf.one_hot(masks, 2, dtype=tf.float64)
        with tf.GradientTape() as tape:
            passes.append(network(images, training=True, mask=mask))
            loss = soft_dice(passes[-1], masks)
        gradients = [tf.zeros_like(v) if g is None else g
                     for g, v in zip(tape.gradient(loss, variables), variables, strict=True)]
        if second:
            gradients = [tf.clip_by_value(g, -0.1, 0.1) for g in gradients]
        optimizer.apply(gradients, tf.constant(1e-3))
    assert abs(float(training.step(images, masks, tf.constant(1e-3))) - float(loss)) < 1e-12
    for (name, a), b in zip(training.network.named_variables.items(), network.named_variables.values(), strict=True):
        assert np.abs(a - b).max() < 1e-9, name
    before = training_of(monkeypatch, mode).network.named_variables
    for name, variable in training.network.named_variables.items():
        assert not np.array_equal(variable, before[name]), name


def test_the_clip_bounds_every_element(monkeypatch, eagerly):
    images, masks = batch()
    seen = []
    training = training_of(monkeypatch, "predicted")
    training.clip = 1e-4
    monkeypatch.setattr(training.optimizer, "apply", lambda gradients, rate: seen.append(
        max(float(tf.reduce_max(tf.abs(g))) for g in gradients)))
    training.step(images, masks, tf.constant(1e-3))
    assert seen[0] > 1e-3 and seen[1] <= 1e-4


@pytest.mark.parametrize("mode", seldom(["none", "predicted", "oracle"], ["predicted", "oracle"]))
def test_prediction_passes_twice(mode, monkeypatch):
    images, masks = batch()
    training = training_of(monkeypatch, mode)
    network = training.network
    scores = network(images)
    half = np.median(scores[..., 1] - scores[..., 0])
    network.layers[-1].bias.assign_sub([0, half])  # so that either class has its half of the pixels
    first = network(images)
    mask = {"none": None, "predicted": tf.nn.softmax(first),
            "oracle": tf.one_hot(masks, 2, dtype=tf.float64)}[mode]
    second = network(images, mask=mask)
    wanted, sure = np.argmax(second, -1), np.abs(second[..., 1] - second[..., 0]) > 1e-9
    actual = training.predict(images, masks if mode == "oracle" else None)
    np.testing.assert_array_equal(actual.numpy()[sure], wanted[sure])
    if mode != "none":
        assert np.any(wanted != np.argmax(first, -1))


@pytest.mark.parametrize("method", seldom(["bn", "in", "iln4", "none"], ["in"]))
def test_any_rule_serves_it(method):
    network = DualNormUNet(method, start_channels=4, pools=1)
    images, masks = batch()
    with tf.GradientTape() as tape:
        loss = soft_dice(network(tf.cast(images, tf.float32), training=True, mask=tf.one_hot(masks, 2)), masks)
    slopes = tape.gradient(loss, {k: v for k, v in network.named_variables.items() if v.trainable and "masked" in k})
    assert all(g is not None and np.isfinite(g).all() for g in slopes.values())


def test_what_protocols_without_masks_say():
    with pytest.raises(InputError, match="class_mask: 'oracle': protocol quick has none; leave it out"):
        protocol("quick", class_mask="oracle")
    with pytest.raises(InputError, match="class_mask: 'wrong' is unknown; choose one of none, predicted, oracle"):
        protocol("dualnorm-quick", class_mask="wrong")
    with pytest.raises(InputError, match="site: 'a/b' holds more than letters"):
        protocol("dualnorm-quick", site="a/b")


def test_paths_tell_mode_and_site():
    for changes in ({}, {"class_mask": "oracle"}, {"class_mask": "none", "site": "HF-I", "shrink": 4},
                    {"mask_resizing": "nearest", "site": "2"}):
        c = Configuration("d", "", "", "bn", 1, 1e-3, 0, protocol("dualnorm", **changes))
        assert Configuration.from_path(c.path) == replace(c, dataset_checksum="", structure="")


def test_the_summary_tells_every_layer():
    rows = summary(DualNormUNet("bn", start_channels=8), 64)
    assert rows[0][:2] == ("down1/conv", (64, 64, 8)) and rows[-1][:2] == ("head", (64, 64, 2))
    assert sum(row[4] for row in rows if row[5]) == expected_numbers(8)
