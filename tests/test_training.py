"""The training step and its schedule."""

import numpy as np
import pytest
import tensorflow as tf
from layers import seldom

from ilnrepro import networks
from ilnrepro.networks.unet import UNet
from ilnrepro.ops.losses import bce_dice, cross_entropy
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.training.loop import schedule
from ilnrepro.training.step import Training

pytestmark = pytest.mark.usefixtures("uncompiled")

# Of a loss, which is recorded in float32; weights in float64 differ by far less, whatever the compiler or processor.
RECORDED, DOUBLE = 1e-6, 1e-9


def configuration(method="iln", rate=0.5, **changes):
    """Of a network of one pool, which has a layer of every kind: two down, two at the bottom, three up."""
    return Configuration("d", "0", "LV", method, 1, rate, 0, protocol("tiny", **{"pools": 1} | changes))


def test_cross_entropy_is_tensorflow_s():
    rng = np.random.default_rng(0)
    scores, masks = tf.constant(rng.normal(size=(2, 8, 8, 2)) * 20), rng.integers(0, 2, (2, 8, 8))
    actual = []
    for loss in (cross_entropy, lambda s, m: tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(m, s))):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            value = loss(scores, masks)
        actual.append((float(value), tape.gradient(value, scores).numpy()))
    (value, slope), (expected, expected_slope) = actual
    assert abs(value - expected) < 1e-12 and np.abs(slope - expected_slope).max() < 1e-15


def batch(dtype=tf.float32, size=16, n=2):
    rng = np.random.default_rng(0)
    return (tf.constant(rng.random((n, size, size, 1)), dtype),
            tf.constant(rng.integers(0, 2, (n, size, size)), tf.int32))


@pytest.fixture
def double(monkeypatch):
    """Networks in float64: several float32 steps amplify rounding, and that is the processor's own."""
    def build(c):
        p = c.protocol
        return UNet(c.method, c.seed, p.settings, p.form, p.initializer, pools=p.pools, dtype=tf.float64)

    monkeypatch.setattr(networks, "build", build)


def assert_same_weights(actual, wanted):
    for name, variable in actual.network.named_variables.items():
        expected = wanted.network.named_variables[name]
        assert np.abs(variable - expected).max() < DOUBLE * max(1, np.abs(expected).max()), name


def test_two_steps_of_sgd_with_momentum_by_hand(double):
    training = Training(configuration("in"))
    images, masks = batch(tf.float64)
    weights = [v.numpy() for v in training.trainable]
    momenta = [np.zeros_like(w) for w in weights]
    for rate in (0.5, 0.125):  # as float32 and as float64 the same
        with tf.GradientTape() as tape:
            scores = training.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(masks, scores))
        gradients = [g.numpy() for g in tape.gradient(loss, training.trainable)]
        momenta = [0.9 * m + g for m, g in zip(momenta, gradients, strict=True)]
        weights = [w - rate * m for w, m in zip(weights, momenta, strict=True)]
        assert abs(float(one_step(training, images, masks, rate)[0]) - float(loss)) < RECORDED
        for variable, weight in zip(training.trainable, weights, strict=True):
            assert np.abs(variable - weight).max() < DOUBLE * max(1, np.abs(weight).max()), variable.name


def test_three_steps_of_adam_by_hand(double):
    """The textbook's bias-corrected moments; TensorFlow's ε stands beside the uncorrected root."""
    training = Training(configuration("in", optimizer="adam", loss="bce-dice"))
    images, masks = batch(tf.float64)
    rate = 2.0**-10
    weights = [v.numpy() for v in training.trainable]
    first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for t in (1, 2, 3):
        with tf.GradientTape() as tape:
            loss = bce_dice(training.network(images, training=True), masks)
        gradients = [g.numpy() for g in tape.gradient(loss, training.trainable)]
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, gradients, strict=True)]
        step = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        assert abs(float(one_step(training, images, masks, rate)[0]) - float(loss)) < RECORDED
        for variable, weight, m, v in zip(training.trainable, weights, first, second, strict=True):
            # A gradient that is nothing but rounding, 1e-17, is a ten-millionth of a step.
            assert np.abs(variable.numpy() - weight + step * m / (np.sqrt(v) + 1e-8)).max() < DOUBLE, variable.name
        weights = [v.numpy() for v in training.trainable]
    powers = [v.numpy() for name, v in training.optimizer.named_variables.items() if "power" in name]
    np.testing.assert_allclose(powers, [0.9**4, 0.999**4], rtol=1e-12)


def test_a_run_with_adam_stopped_and_resumed_is_the_whole_run(tmp_path):
    """Losses, weights and predictions, bit for bit: moments and powers are in the checkpoint."""
    from test_dataset import made_up

    from ilnrepro.training import loop

    data, asked = made_up(), configuration("in", rate=1e-3, optimizer="adam", loss="bce-dice",
                                             steps_per_epoch=6, block=2)
    whole = loop.run(asked, data)
    calls = iter([False, True])
    with pytest.raises(loop.Stopped):
        loop.run(asked, data, path=tmp_path / "run.h5", stop=lambda: next(calls))
    assert len(list(tmp_path.glob(".*.checkpoint"))) == 1
    reported = []
    again = loop.run(asked, data, lambda done, total: reported.append(done), tmp_path / "run.h5")
    assert reported == [6, 8, 10, 12]
    np.testing.assert_array_equal(again.loss, whole.loss)
    np.testing.assert_array_equal(again.masks, whole.masks)
    for name, values in whole.weights.items():
        np.testing.assert_array_equal(again.weights[name], values, err_msg=name)


def test_the_threshold_is_on_the_probability():
    images, _ = batch()
    masks = {}
    for threshold in (0.5, 128 / 255, 0.9):
        training = Training(configuration("in", threshold=threshold))
        probability = tf.nn.softmax(training.network(images))[..., 1].numpy()
        masks[threshold] = training.predict(images).numpy()
        sure = np.abs(probability - threshold) > 1e-5
        np.testing.assert_array_equal(masks[threshold][sure], (probability > threshold)[sure])
    assert masks[0.5].sum() > masks[0.9].sum()


def test_a_block_takes_its_steps_one_after_another(double):
    images, masks = batch(tf.float64)
    ready = iter(tf.data.Dataset.from_tensors((images, masks)).repeat())
    together, apart = Training(configuration("in")), Training(configuration("in"))
    losses = together.block(ready, tf.constant(0.5), tf.constant(3)).numpy()
    single = [apart.block(ready, tf.constant(0.5), tf.constant(1)).numpy()[0] for _ in range(3)]
    assert losses.shape == (3,) and np.abs(losses - single).max() < RECORDED and losses[2] < losses[0]
    assert_same_weights(together, apart)


def steps(training, images, masks, rate, count):
    ready = iter(tf.data.Dataset.from_tensors((images, masks)).repeat())
    return training.block(ready, tf.constant(rate), tf.constant(count)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["in", "iln"])
def test_xla_takes_the_same_steps(method, use, monkeypatch):
    monkeypatch.setattr(networks, "build", lambda c: UNet(c.method, pools=1, dtype=tf.float64))
    use("tensorflow")
    plain, compiled = (Training(configuration(method, xla=xla, kernels="tensorflow")) for xla in ("off", "on"))
    losses = [steps(training, *batch(tf.float64), 0.5, 3) for training in (plain, compiled)]
    assert np.abs(losses[0] - losses[1]).max() < RECORDED
    assert_same_weights(compiled, plain)


@pytest.mark.parametrize("method", seldom(["in", "iln"], ["in"]))
def test_native_and_tensorflow_kernels_train_alike(method, use, double):
    actual = {}
    for choice in ("tensorflow", "native"):
        use(choice)
        training = Training(configuration(method, kernels=choice))
        actual[choice] = steps(training, *batch(tf.float64, 32, 1), 0.1, 10), training
    losses, training = actual["native"]
    assert losses[-1] < 0.9 * losses[0] and np.abs(losses - actual["tensorflow"][0]).max() < RECORDED
    assert_same_weights(training, actual["tensorflow"][1])


@pytest.mark.slow
@pytest.mark.parametrize("xla", ["off", "on"])
def test_a_float32_step_is_the_float64_one_to_rounding(xla, monkeypatch, use):
    """The network as it is used. Of a gradient no more than a thousandth is lost, of its layer's largest."""
    use("tensorflow" if xla == "on" else "auto")
    moved = {}
    for dtype in (tf.float64, tf.float32):
        monkeypatch.setattr(networks, "build", lambda c, dtype=dtype: UNet(c.method, pools=2, dtype=dtype))
        training = Training(configuration("iln", xla=xla))
        before = {name: v.numpy() for name, v in training.network.named_variables.items()}
        one_step(training, *batch(dtype), 1.0)
        moved[dtype] = {name: v.numpy() - before[name] for name, v in training.network.named_variables.items()}
    for name, wanted in moved[tf.float64].items():
        bound = 1e-3 * np.abs(wanted).max() + 4 * np.finfo(np.float32).eps  # and of a weight near 1, its own rounding
        assert np.abs(moved[tf.float32][name] - wanted).max() < bound, name


def test_the_schedule_is_the_protocol_s():
    index, angle, rates, blocks = schedule(configuration(rate=1.0, steps_per_epoch=25), images=30)
    assert index.shape == angle.shape == (50, 1)
    np.testing.assert_allclose(rates, [1.0] * 25 + [0.2] * 25)
    assert blocks == [(0, 10), (10, 20), (20, 25), (25, 35), (35, 45), (45, 50)]
    np.testing.assert_allclose(sorted(set(np.rad2deg(angle).round(6).ravel())), range(-60, 61, 20))
    whole = schedule(Configuration("d", "0", "RV", "in", 1, 1.0, 0, protocol("paper")), images=30)
    assert len(whole[2]) == 2 * 30 * 7
    assert sorted(zip(whole[0][:210, 0], whole[1][:210, 0], strict=True)) == sorted(
        (i, a) for i in range(30) for a in np.deg2rad(range(-30, 31, 10)))


@pytest.mark.parametrize("method, numbers", [("in", 0), ("iln", 1), ("softmax", 2), ("sn", 6), ("iln-clamped", 5)])
def test_gates_are_read(method, numbers):
    rho, share = Training(configuration(method)).gates()
    assert rho.shape == ((7, numbers) if numbers else (0,)) and share.shape == ((7,) if numbers else (0,))
    if numbers:
        expected = {1: 1 / (1 + np.exp(-0.5)), 2: 0.5, 6: 1 / 3, 5: 0}[numbers]
        assert np.abs(share - expected).max() < 1e-6


def one_step(training, images, masks, rate):
    ready = iter(tf.data.Dataset.from_tensors((images, masks)))
    return training.block(ready, tf.constant(rate), tf.constant(1))


def test_a_gate_takes_ten_times_the_rate_and_is_projected(double):
    training = Training(configuration("bin-projected"))
    images, masks = batch(tf.float64)
    rho = {name: v.numpy() for name, v in training.network.named_variables.items() if name.endswith("/rho")}
    momenta = {name: 0 for name in rho}
    seen = {"within": 0, "at the bound": 0}
    for rate in (0.5, 0.125):
        variables = [training.network.named_variables[name] for name in rho]
        with tf.GradientTape() as tape:
            loss = cross_entropy(training.network(images, training=True), masks)
        gradients = dict(zip(rho, tape.gradient(loss, variables), strict=True))
        momenta = {name: 0.9 * momenta[name] + gradients[name].numpy() for name in rho}
        rho = {name: np.clip(rho[name] - 10 * rate * momenta[name], 0, 1) for name in rho}
        one_step(training, images, masks, rate)
        for name, wanted in rho.items():
            actual = training.network.named_variables[name].numpy()
            assert np.abs(actual - wanted).max() < DOUBLE, name
            seen["within"] += np.sum((actual > 0) & (actual < 1))
            seen["at the bound"] += np.sum(actual == 1)
    assert min(seen.values()) > 100  # both were tried


@pytest.mark.parametrize("method, stays", [("iln-clamped", True), ("iln-unclamped", False)])
def test_a_gate_stays_within_its_limits_if_it_has_any(method, stays):
    training = Training(configuration(method))
    images, masks = batch()
    for _ in range(3):
        one_step(training, images, masks, 0.5)
    rho = np.concatenate([layer.parameters["rho"].numpy() for layer in training.network.normalizations.values()])
    assert (rho.min() >= 0) == stays and rho.max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["brn", "sn", "bin-projected"])
def test_a_state_given_back_goes_on_to_the_same_bits(method):
    images, masks = batch()
    changes = {"renorm_steps": 1} if method == "brn" else {}
    whole, again = (Training(configuration(method, **changes)) for _ in range(2))
    for _ in range(2):
        one_step(whole, images, masks, 0.5)
    again.restore(whole.state())
    losses = [float(one_step(training, images, masks, 0.1)[0]) for training in (whole, again)]
    assert losses[0] == losses[1]
    for key, values in whole.state().items():
        np.testing.assert_array_equal(again.state()[key], values)
    if method == "brn":
        assert whole.network.named_variables["bottom/conv1/steps"].numpy() == 3


def test_methods_without_limits_pay_nothing_for_them():
    images, masks = batch()
    names = {}
    for method in ("iln-unclamped", "iln-clamped"):
        step = tf.function(Training(configuration(method))._step, autograph=False)
        graph = step.get_concrete_function(images, masks, 0.1).graph
        names[method] = [op.type for op in graph.get_operations()]
    assert names["iln-unclamped"].count("AssignVariableOp") == 0
    assert names["iln-clamped"].count("AssignVariableOp") == 7
