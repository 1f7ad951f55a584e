"""What the methods must have in common, by mathematics; and what independent implementations make of them."""

import numpy as np
import pytest
import tensorflow as tf
from formulas import EACH, NAMES, OVER_BATCH, batch_moments, error, example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layers import built, run

from ilnrepro.norms import Settings

INVARIANT = ["in", "ln", "gn4", "gn16", "iln", "iln8", "clip", "sigmoid", "softmax", "sn", "bin-projected",
             "iln-clamped", "iln-unclamped"]


def both(first, second, form, **options):
    """Outputs and gradients of two methods on one example with the same values, those that both have."""
    x, values, upstream = example(first, **options)
    common = {key: values[key] for key in example(second, **options).values}
    return (run(built(first, values, form), x, upstream, True, True),
            run(built(second, common, form), x, upstream, True, True))


def assert_same(actual, wanted, tolerance=1e-12):
    """Outputs, and the gradients that both have."""
    assert error(actual[0], wanted[0]) < tolerance
    for key in set(actual[1]) & set(wanted[1]) - {"rho"}:
        assert error(actual[1][key], wanted[1][key]) < 10 * tolerance, key


@pytest.mark.parametrize("first, second", [("gn1", "ln"), ("gn32", "in"), ("iln16", "iln")])
def test_the_same_by_two_names(first, second, form):
    assert_same(*both(first, second, form))


def test_batch_normalization_of_one_instance_is_instance_normalization(form):
    assert_same(*both("bn", "in", form, instances=1))


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.3, 1.0, 2.0])
def test_bin_of_one_instance_is_in_for_every_gate_which_gets_no_gradient(rho, form):
    x, values, upstream = example("bin", instances=1)
    actual = run(built("bin", values | {"rho": np.array(rho)}, form), x, upstream, True, True)
    plain = {key: values[key] for key in ("bias", "gamma", "beta")}
    wanted = run(built("in", plain, form), x, upstream, True, True)
    assert_same(actual, wanted)
    assert abs(actual[1]["rho"]) < 1e-11


def test_the_gate_of_bin_moves_with_two_instances(form):
    x, values, upstream = example("bin")
    assert abs(run(built("bin", values, form), x, upstream)[1]["rho"]) > 0.1


@pytest.mark.parametrize("rho", [-3.0, 0.0, 0.5, 4.0])
def test_sigmoid_is_softmax_with_nothing_beside(rho, form):
    x, values, upstream = example("sigmoid")
    actual = run(built("sigmoid", values | {"rho": np.array(rho)}, form), x, upstream, True, True)
    wanted = run(built("softmax", values | {"rho": np.array([rho, 0.0])}, form), x, upstream, True, True)
    assert_same(actual, wanted)
    assert error(actual[1]["rho"], wanted[1]["rho"][0], floor=1e-3) < 1e-9
    assert error(actual[1]["rho"], -wanted[1]["rho"][1], floor=1e-3) < 1e-9


@pytest.mark.parametrize("name", ["clip", "sigmoid", "softmax"])
def test_a_gate_wide_open_or_shut_leaves_one_of_the_two(name, form):
    x, values, upstream = example(name)
    plain = {key: values[key] for key in ("bias", "gamma", "beta")}
    for rho, left in [(60.0, "in"), (-60.0, "ln")]:
        gate = np.array([rho, -rho]) if name == "softmax" else np.array(rho)
        actual = run(built(name, values | {"rho": gate}, form), x, upstream, True, True)
        assert_same(actual, run(built(left, plain, form), x, upstream, True, True))


# The family.

def of(values, name, **changes):
    """Those of `values` that a method has, with some changed or added."""
    return {key: v for key, v in (values | changes).items() if key in example(name).values}


def at(layer, x, upstream):
    return run(layer, x, upstream, True, True)


def test_batch_renormalization_begins_as_batch_normalization(form):
    x, values, upstream = example("brn")
    actual = at(built("brn", values | {"steps": np.array(5000.0)}, form), x, upstream)
    plain = of(values, "bn", moving_variance=np.ones(32))
    assert_same(actual, at(built("bn", plain, form), x, upstream))


def test_batch_renormalization_with_the_batch_s_own_averages_is_batch_normalization(form):
    x, values, upstream = example("brn")
    mean, variance = batch_moments(x + values["bias"])
    values |= {"moving_mean": mean, "moving_deviation": np.sqrt(variance + 1e-5), "steps": np.array(1e5)}
    plain = of(values, "bn", moving_variance=np.ones(32))
    assert_same(at(built("brn", values, form), x, upstream), at(built("bn", plain, form), x, upstream))


def test_within_its_limits_batch_renormalization_trains_on_what_it_tests(form):
    x, values, upstream = example("brn")
    mean, variance = batch_moments(x + values["bias"])
    deviation = np.sqrt(variance + 1e-5)
    values |= {"moving_mean": mean + deviation, "moving_deviation": deviation / 2,
               "steps": np.array(1e5)}
    trained, slopes = run(built("brn", values, form), x, upstream, True)
    tested, _ = run(built("brn", values, form), x, upstream, False)
    assert error(trained, tested) < 1e-12
    # The gradient is that of BN times r = 2, not that of the moving averages' fixed affine map.
    doubled = of(values, "bn", gamma=2 * values["gamma"], moving_variance=np.ones(32))
    assert error(slopes["x"], run(built("bn", doubled, form), x, upstream, True)[1]["x"]) < 1e-11


@pytest.mark.parametrize("k, name", enumerate(["in", "ln", "bn"]))
def test_switchable_normalization_with_all_weight_on_one_is_that_one(k, name, form):
    x, values, upstream = example("sn")
    rho = np.full((2, 3), -60.0)
    rho[:, k] = 60
    actual = at(built("sn", values | {"rho": rho}, form), x, upstream)
    assert_same(actual, at(built(name, of(values, name), form), x, upstream))


def test_switchable_normalization_of_one_instance_takes_the_batch_s_weight_for_the_instance_s(form):
    x, values, upstream = example("sn", instances=1)
    a, b, c = np.exp(values["rho"]).T
    moved = np.log(np.stack([a + c, b, np.full(2, 1e-30)], 1))
    assert_same(at(built("sn", values, form), x, upstream), at(built("sn", values | {"rho": moved}, form), x, upstream))


def test_switchable_normalization_weighs_means_and_variances_apart(form):
    x, values, upstream = example("sn")
    values |= {"rho": np.array([[-60.0, -60, 60], [60, -60, -60]]), "gamma": np.ones(32), "beta": np.zeros(32)}
    y, _ = run(built("sn", values, form), x, upstream)
    z = x + values["bias"]
    assert error(y, (z - z.mean((0, 1, 2))) / np.sqrt(z.var((1, 2), keepdims=True) + 1e-5)) < 1e-12


@pytest.mark.parametrize("gate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name, one", [("bin-projected", "bin"), ("iln-clamped", "clip"), ("iln-unclamped", "clip")])
def test_one_gate_in_every_channel_is_the_layer_s_gate(name, one, gate, form):
    x, values, upstream = example(name)
    actual = at(built(name, values | {"rho": np.full(32, gate)}, form), x, upstream)
    wanted = at(built(one, values | {"rho": np.array(gate)}, form), x, upstream)
    assert_same(actual, wanted)
    if 0 < gate < 1:
        assert error(actual[1]["rho"].sum(), wanted[1]["rho"]) < 1e-10


@pytest.mark.parametrize("name, ends", [("bin-projected", ("in", "bn")), ("iln-clamped", ("ln", "in"))])
def test_each_channel_goes_by_its_own_gate(name, ends, form):
    x, values, upstream = example(name)
    gates = np.arange(32) % 2.0
    actual, _ = at(built(name, values | {"rho": gates}, form), x, upstream)
    for gate, end in enumerate(ends):
        wanted, _ = at(built(end, of(values, end, moving_variance=np.ones(32)), form), x, upstream)
        assert error(actual[..., gates == gate], wanted[..., gates == gate]) < 1e-12


@pytest.mark.parametrize("name", EACH)
def test_gates_at_their_bounds_have_a_gradient(name, form):
    x, values, upstream = example(name)
    for bound in (0.0, 1.0):
        _, slopes = run(built(name, values | {"rho": np.full(32, bound)}, form), x, upstream)
        assert np.min(np.abs(slopes["rho"])) > 1e-6


# GN16 at 16 channels is one channel a group: it undoes the mix.

@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_iln_at_16_channels_is_in_with_another_epsilon(epsilon, form):
    x, values, upstream = example("iln", channels=16)
    values |= {"gamma": np.ones(16), "beta": np.zeros(16)}
    y, _ = run(built("iln", values, form, settings=Settings(epsilon)), x, upstream)
    z = x + values["bias"]
    mean, variance = z.mean((1, 2), keepdims=True), z.var((1, 2), keepdims=True)
    gate = 1 / (1 + np.exp(-values["rho"]))
    layer_variance = z.var((1, 2, 3), keepdims=True)
    s = gate / np.sqrt(variance + epsilon) + (1 - gate) / np.sqrt(layer_variance + epsilon)
    assert error(y, (z - mean) / np.sqrt(variance + epsilon / s**2)) < 1e-12
    from_in = error(y, (z - mean) / np.sqrt(variance + epsilon))
    assert from_in < 1e-3 if epsilon == 1e-5 else from_in > 1e-3


def test_rho_gets_next_to_no_gradient_at_16_channels(form):
    slopes = {}
    for channels in (16, 32):
        x, values, upstream = example("iln", channels=channels)
        slopes[channels] = abs(run(built("iln", values, form), x, upstream, True, True)[1]["rho"])
    assert slopes[32] > 0.1
    assert slopes[16] < 1e-4 * slopes[32]


# Invariances.

@settings(max_examples=15, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(INVARIANT), log_factor=st.floats(-3, 3), constant=st.floats(-10, 10),
       seed=st.integers(0, 99))
def test_a_factor_and_a_constant_on_the_whole_map_change_nothing(eagerly, name, log_factor, constant, seed):
    x, values, upstream = example(name, seed=seed)
    factor = 2**log_factor
    for form in ("fused", "reference"):
        layer = built(name, values, form, settings=Settings(epsilon=1e-14))
        y, _ = run(layer, x, upstream)
        changed = factor * (x + values["bias"]) + constant - values["bias"]
        assert error(run(layer, changed, upstream)[0], y) < 1e-9


@pytest.mark.parametrize("name", ["in", "ln", "gn4", "bn", "clip", "sigmoid", "bin", "sn", "bin-projected"])
def test_a_factor_and_its_square_on_epsilon_change_nothing(name, form):
    x, values, upstream = example(name)
    y, _ = run(built(name, values, form, settings=Settings(epsilon=0.1)), x, upstream)
    scaled = values | {"bias": 3 * values["bias"]}
    actual, _ = run(built(name, scaled, form, settings=Settings(epsilon=0.9)), 3 * x, upstream)
    assert error(actual, y) < 1e-12


@pytest.mark.parametrize("name", ["in", "bn", "bin", "bin-projected"])
def test_the_bias_is_lost_where_each_channel_has_its_own_mean(name, form):
    x, values, upstream = example(name)
    y, slopes = run(built(name, values, form), x, upstream, True, True)
    without, _ = run(built(name, values | {"bias": np.zeros(32)}, form), x, upstream, True, True)
    assert error(y, without) < 1e-12
    assert np.max(np.abs(slopes["bias"])) < 1e-11


@pytest.mark.parametrize("name", ["none", "ln", "gn4", "sigmoid", "iln", "sn", "iln-clamped"])
def test_the_bias_acts_where_channels_are_pooled(name, form):
    x, values, upstream = example(name)
    y, slopes = run(built(name, values, form), x, upstream)
    without, _ = run(built(name, values | {"bias": np.zeros(32)}, form), x, upstream)
    assert error(y, without) > 0.01
    assert np.min(np.abs(slopes["bias"])) > 1e-6


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OVER_BATCH])
def test_instances_do_not_see_each_other(name, form):
    x, values, upstream = example(name, instances=3)
    layer = built(name, values, form)
    y, slopes = run(layer, x, upstream, True, True)
    alone = [run(layer, x[i:i + 1], upstream[i:i + 1], True, True) for i in range(3)]
    assert error(y, np.concatenate([one for one, _ in alone])) < 1e-13
    assert error(slopes["x"], np.concatenate([each["x"] for _, each in alone])) < 1e-12
    for key in set(slopes) - {"x"}:
        assert error(slopes[key], sum(each[key] for _, each in alone)) < 1e-12


@pytest.mark.parametrize("name, axes", [("in", (1, 2)), ("ln", (1, 2, 3, 4)), ("gn16", (1, 2, 4)),
                                        ("bn", (0, 1, 2)), ("iln", (1, 2, 4))])
def test_outputs_have_mean_0_and_variance_1(name, axes, form):
    x, values, upstream = example(name)
    values |= {"gamma": np.ones(32), "beta": np.zeros(32)}
    y, _ = run(built(name, values, form, settings=Settings(1e-12)), x, upstream)
    grouped = y.reshape(*y.shape[:-1], 16, 2)  # the channels as 16 groups of 2
    assert np.max(np.abs(grouped.mean(axes))) < 1e-11
    assert np.max(np.abs(grouped.var(axes) - 1)) < 1e-9


def test_a_constant_feature_map_becomes_beta(form):
    for name in NAMES:
        if name not in ("none", *OVER_BATCH):
            x, values, upstream = example(name)
            values |= {"bias": np.full(32, 0.1)}
            y, _ = run(built(name, values, form), np.full_like(x, 5), upstream)
            assert error(y, np.broadcast_to(values["beta"], y.shape)) < 1e-9, name


# Keras: independent implementations.

KERAS = {"in": lambda layers, eps: layers.GroupNormalization(groups=-1, epsilon=eps, dtype="float64"),
         "ln": lambda layers, eps: layers.GroupNormalization(groups=1, epsilon=eps, dtype="float64"),
         "gn4": lambda layers, eps: layers.GroupNormalization(groups=4, epsilon=eps, dtype="float64"),
         "gn16": lambda layers, eps: layers.GroupNormalization(groups=16, epsilon=eps, dtype="float64"),
         "bn": lambda layers, eps: layers.BatchNormalization(epsilon=eps, momentum=0.9, dtype="float64")}


@pytest.mark.parametrize("training", [False, True], ids=["test", "training"])
@pytest.mark.parametrize("name", KERAS)
def test_keras_agrees(name, training, form):
    x, values, upstream = example(name)
    ours = built(name, values, form, settings=Settings(1e-3, moving_decay=0.9))
    theirs = KERAS[name](tf.keras.layers, 1e-3)
    theirs.build(x.shape)
    theirs.gamma.assign(values["gamma"])
    theirs.beta.assign(values["beta"])
    if name == "bn":
        theirs.moving_mean.assign(values["moving_mean"])
        theirs.moving_variance.assign(values["moving_variance"])
    biased = tf.constant(x + values["bias"])
    with tf.GradientTape() as tape:
        tape.watch(biased)
        y = theirs(biased, **({"training": training} if name == "bn" else {}))
    variables = {"x": biased, "gamma": theirs.gamma.value, "beta": theirs.beta.value}
    gradients = tape.gradient(y, variables, tf.constant(upstream))
    assert_same(run(ours, x, upstream, training), (y, gradients))
    if name == "bn":
        assert error(ours.parameters["moving_mean"], theirs.moving_mean) < 1e-12
        assert error(ours.parameters["moving_variance"], theirs.moving_variance) < 1e-12


def test_keras_layer_normalization_over_all_but_the_batch(form):
    x, values, upstream = example("ln")
    values |= {"gamma": np.ones(32), "beta": np.zeros(32)}
    theirs = tf.keras.layers.LayerNormalization(axis=[1, 2, 3], epsilon=1e-3, center=False, scale=False,
                                                dtype="float64")
    y, _ = run(built("ln", values, form, settings=Settings(1e-3)), x, upstream)
    assert error(y, theirs(tf.constant(x + values["bias"]))) < 1e-12
