"""Values and gradients of every method, in every form, against the papers' equations in float64 NumPy."""

import functools
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
from formulas import (
    EACH,
    FORMULAS,
    NAMES,
    OVER_BATCH,
    Options,
    batch_moments,
    error,
    example,
    finite_difference,
    formula,
    forward,
    gradients,
    group,
    instance,
    layer,
    shares,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layers import built, form_of, run, seldom
from make_goldens import NORMS, norm_golden

from ilnrepro.errors import InputError
from ilnrepro.norms import METHODS, Normalization, Settings, kernels
from ilnrepro.norms import method as row_of
from ilnrepro.norms.gates import SIGMOID, SOFTMAX
from ilnrepro.norms.methods import Method
from ilnrepro.norms.rules import BATCH, INSTANCE, LAYER, Cascade, Mix
from ilnrepro.norms.rules import group as group_rule
from ilnrepro.norms.values import Context

PLANE, VOLUME = (3, 2), (2, 1, 3)
TOLERANCES = {"float64": (1e-12, 1e-11), "float32": (1e-5, 2e-4)}  # of outputs, of gradients
NORMALIZING = [name for name in NAMES if name != "none"]
COMPILED = [name for name in NAMES if name not in ("gn16", "iln8")]
KINDS = ["bn", "gn4", "brn", "sn", "iln"]  # of rules: compilers take seconds for each


@functools.cache
def expected(name, space, training, relu):
    """Output and gradients of a method's example by the formulas."""
    return by_formula(formula(name), example(name, space), Options(batch=training), relu)


def by_formula(function, example, options, relu=True):
    x, values, upstream = example
    return (forward(function, x, values, options, relu),
            gradients(function, x, values, options, relu, upstream))


def assert_agrees(actual, wanted, tolerances):
    """Outputs and every gradient by their largest error; `tolerances` of these, and perhaps of ρ's."""
    (y, actual_gradients), (wanted_y, wanted_gradients) = actual, wanted
    of_y, of_gradients, of_rho = (*tolerances, tolerances[1])[:3]
    assert error(y, wanted_y) < of_y
    for key, gradient in actual_gradients.items():
        assert error(gradient, wanted_gradients[key]) < (of_rho if key == "rho" else of_gradients), key


def test_every_method_has_a_formula_a_reference_a_title_and_a_description():
    assert set(FORMULAS) == set(METHODS)
    for name in NAMES:
        title, rule, description, _ = row_of(name)
        assert title and description and "<G>" not in title
        assert callable(rule) and callable(rule.reference)


def test_formulas_are_differentiated_as_by_central_differences():
    x, values, upstream = example("iln", (2, 2))
    loss = lambda a: np.sum(upstream * forward(formula("iln"), a, values, Options(), True))  # noqa: E731
    slopes = finite_difference(loss, x)
    for index in [(0, 0, 0, 0), (1, 1, 0, 17), (0, 1, 1, 31)]:
        step = np.zeros_like(x)
        step[index] = 1e-6
        assert np.isclose(slopes[index], (loss(x + step) - loss(x - step)) / 2e-6, rtol=1e-6, atol=1e-8)


# Of form, space, type, training and ReLU every two values meet, for every method.
PAIRWISE = [("reference", PLANE, "float64", False, False), ("reference", VOLUME, "float32", True, True),
            ("tensorflow", PLANE, "float32", True, False), ("tensorflow", VOLUME, "float64", False, True),
            ("native", PLANE, "float64", True, True), ("native", VOLUME, "float32", False, False)]


@pytest.mark.parametrize("kernel, space, dtype, training, relu", PAIRWISE)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients(name, kernel, space, dtype, training, relu, use, eagerly):
    x, values, upstream = example(name, space)
    layer = built(name, values, form_of(kernel, use), dtype)
    actual = run(layer, x, upstream, training, relu)
    assert actual[0].dtype == actual[1]["x"].dtype == dtype
    assert_agrees(actual, expected(name, space, training, relu), TOLERANCES[dtype])


def test_every_two_values_meet():
    for i, j in itertools.combinations(range(5), 2):
        assert {(row[i], row[j]) for row in PAIRWISE} == set(itertools.product(*({r[k] for r in PAIRWISE}
                                                                                 for k in (i, j))))


@pytest.mark.parametrize("dtype", seldom(TOLERANCES, ["float32"]))
@pytest.mark.parametrize("name", seldom(COMPILED, KINDS[3:]))
def test_with_the_rule_compiled(name, dtype):
    x, values, upstream = example(name)
    actual = run(built(name, values, "fused", dtype), x, upstream, True, True)
    assert_agrees(actual, expected(name, PLANE, True, True), TOLERANCES[dtype])


@pytest.mark.parametrize("compiled_form", ["reference", "native"], indirect=True)
@pytest.mark.parametrize("name", seldom(COMPILED, ["iln"]))
def test_in_a_function_of_unknown_sizes(name, compiled_form):
    x, values, upstream = example(name)
    unknown = tf.TensorSpec([None, None, None, x.shape[-1]], tf.float64)
    through = functools.partial(tf.function, autograph=False, input_signature=[unknown, unknown])
    actual = run(built(name, values, compiled_form), x, upstream, True, True, through)
    assert_agrees(actual, expected(name, PLANE, True, True), TOLERANCES["float64"])


@pytest.mark.parametrize("form", seldom(["fused", "reference"], ["fused"]))
@pytest.mark.parametrize("name", seldom(COMPILED, KINDS[3:]))
def test_compiled_by_xla(name, form, use):
    use("tensorflow")
    x, values, upstream = example(name)
    compiled = functools.partial(tf.function, autograph=False, jit_compile=True)
    actual = run(built(name, values, form), x, upstream, True, True, compiled)
    assert_agrees(actual, expected(name, PLANE, True, True), TOLERANCES["float64"])


@pytest.mark.parametrize("name", NAMES)
def test_one_instance_and_one_pixel(name, form):
    pixel = example(name, (1, 1), instances=1)
    actual = run(built(name, pixel.values, form), pixel.x, pixel.upstream, True, True)
    assert_agrees(actual, by_formula(formula(name), pixel, Options()), (1e-12, 1e-9))


# Inputs that lose digits.


def single(a):
    """The nearest float32 numbers, as float64."""
    return a.astype(np.float32).astype(float)


@pytest.mark.parametrize("choice", seldom(["tensorflow", "native"], ["native"]))
@pytest.mark.parametrize("name", NORMALIZING)
def test_mean_1000_and_deviation_1_in_float32(name, choice, use, eagerly):
    use(choice)
    _, values, upstream = example(name, (8, 8))
    if "moving_mean" in values:
        values["moving_mean"] += 1000
    x = single(np.random.default_rng(1).normal(1000, 1, upstream.shape))
    values, upstream = {key: single(a) for key, a in values.items()}, single(upstream)
    for training in (True, False):
        actual = run(built(name, values, "fused", "float32"), x, upstream, training)
        exact = run(built(name, values, "reference", "float64"), x, upstream, training)
        assert_agrees(actual, exact, (1e-4, 3e-4, 5e-3))


@pytest.mark.parametrize("name", ["bn", "in", "gn4", "sn", "bin", "softmax", "iln"])
def test_one_outlying_pixel(name, form):
    outlying = example(name, (3, 3))
    x, values, upstream = outlying
    x[1, 2, 0, 5] = 1e5
    wanted = by_formula(formula(name), outlying, Options())
    assert_agrees(run(built(name, values, form), x, upstream, True, True), wanted, (1e-11, 1e-9))
    y, slopes = run(built(name, values, form, "float32"), x, upstream, True, True)
    assert error(y, wanted[0]) < 1e-5
    assert all(np.isfinite(gradient).all() for gradient in slopes.values())


CONSTANTS = [0.0, 1000.0, pytest.param(0.1, id="tenth"), pytest.param(1000.1, id="thousand-and-a-tenth")]


@pytest.mark.parametrize("choice", ["tensorflow", "native"])
@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize("epsilon", [1e-5, 1e-12])
def test_a_constant_channel_becomes_beta(constant, epsilon, choice, use, eagerly):
    use(choice)
    x, values, upstream = example("in", (32, 32))
    x[..., 7] = constant
    y, _ = run(built("in", values, "fused", "float32", Settings(epsilon=epsilon)), x, upstream)
    assert np.all(y[..., 7] == np.float32(values["beta"][7]))


@pytest.mark.parametrize("kernel, dtype, epsilon", [("native", "float32", 1e-12), ("tensorflow", "float32", 1e-12),
                                                    ("reference", "float64", 1e-5)])
@pytest.mark.parametrize("name", NAMES)
def test_constant_channels_and_maps_give_finite_gradients(name, epsilon, dtype, kernel, use, eagerly):
    form = form_of(kernel, use)
    x, values, upstream = example(name)
    x[..., 7] = 3
    for constant in (x, np.full_like(x, 3), np.zeros_like(x)):
        layer = built(name, values, form, dtype, Settings(epsilon=epsilon))
        y, slopes = run(layer, constant, upstream, relu=True)
        assert np.isfinite(y).all()
        assert all(np.isfinite(gradient).all() for gradient in slopes.values())


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_not_hidden_by_the_relu(name, form):
    x, values, upstream = example(name)
    x[0, 0, 0, 0] = np.nan
    y, _ = run(built(name, values, form), x, upstream, relu=True)
    assert np.isnan(y[0, 0, 0, 0])


# Batch normalization's memory.

@pytest.mark.parametrize("wrapper, compiled_form", [(None, "reference"), (None, "native"), (False, "tensorflow"),
                                                    (True, "reference")],
                         indirect=["compiled_form"], ids=["eager", "native", "function", "xla"])
@pytest.mark.parametrize("name", seldom(OVER_BATCH, ["bn", "brn", "sn"]))
def test_moving_averages_follow_the_biased_batch(name, wrapper, compiled_form, use):
    if wrapper:
        use("tensorflow")
    x, values, _ = example(name)
    layer = built(name, values, compiled_form, settings=Settings(moving_decay=0.9))
    step = layer if wrapper is None else tf.function(layer, autograph=False, jit_compile=wrapper)
    spread = "moving_deviation" if name == "brn" else "moving_variance"
    wanted = {key: values[key] for key in ("moving_mean", spread)}
    for factor in (1, 2):
        step(tf.constant(factor * x), training=True)
        mean, variance = batch_moments(factor * x + values["bias"])
        met = {"moving_mean": mean, spread: np.sqrt(variance + 1e-5) if name == "brn" else variance}
        wanted = {key: 0.9 * wanted[key] + 0.1 * met[key] for key in wanted}
    for key in wanted:
        assert error(layer.parameters[key], wanted[key]) < 1e-12
    if name == "brn":
        assert layer.parameters["steps"].numpy() == values["steps"] + 2


@pytest.mark.parametrize("name", OVER_BATCH)
def test_batch_statistics_at_test_time(name, form):
    x, values, upstream = example(name)
    layer = built(name, values, form, settings=Settings(batch_statistics="batch"))
    actual = run(layer, x, upstream, training=False)
    assert_agrees(actual, expected(name, PLANE, True, False), TOLERANCES["float64"])
    assert np.array_equal(layer.parameters["moving_mean"], values["moving_mean"])
    moving = run(built(name, values, form), x, upstream, training=False)
    assert_agrees(moving, expected(name, PLANE, False, False), TOLERANCES["float64"])


@pytest.mark.parametrize("name", OVER_BATCH)
def test_moving_averages_start_at_0_and_1_and_no_optimizer_moves_them(name):
    own = {key: v for key, v in Normalization(name, 3).parameters.items() if key != "rho"}
    starts = {"moving_mean": [0, 0, 0], "moving_deviation" if name == "brn" else "moving_variance": [1, 1, 1]}
    starts |= {"steps": 0} if name == "brn" else {}
    assert set(own) == set(starts)
    assert all(np.array_equal(own[key], start) and not own[key].trainable for key, start in starts.items())
    assert Settings().moving_decay == 0.99 and Settings().batch_statistics == "moving"
    assert Settings().renorm_steps == 5000


@pytest.mark.parametrize("steps, r_max, d_max", [(0, 1, 0), (100, 1, 0), (300, 1 + 4 / 7, 2.5), (500, 1 + 8 / 7, 5),
                                                 (800, 3, 5), (9000, 3, 5)])
def test_limits_of_batch_renormalization_widen(steps, r_max, d_max, form):
    x, values, upstream = example("brn")
    values |= {"bias": np.zeros(32), "gamma": np.ones(32), "beta": np.zeros(32), "moving_mean": np.full(32, -100.0),
               "moving_deviation": np.full(32, 1e-3), "steps": np.array(float(steps))}
    layer = built("brn", values, form, settings=Settings(renorm_steps=100))
    y, _ = run(layer, x, upstream)
    plain, _ = run(built("bn", example("bn").values | {key: values[key] for key in ("bias", "gamma", "beta")}, form),
                   x, upstream)
    assert error(y, r_max * plain + d_max) < 1e-12  # averages so far off that r and d are at their limits


# What the paper leaves open.

@pytest.mark.parametrize("epsilon, kernel", [(1e-12, "native"), (0.3, "reference")])
@pytest.mark.parametrize("name", NORMALIZING)
def test_epsilon(name, epsilon, kernel, use, eagerly):
    form = form_of(kernel, use)
    x, values, upstream = example(name)
    options = Options(epsilon)
    y, _ = run(built(name, values, form, settings=Settings(epsilon=epsilon)), x, upstream)
    assert error(y, forward(formula(name), x, values, options, False)) < 1e-12


@pytest.mark.parametrize("name", ["gn4", "gn16", "iln", "iln8"])
def test_groups_divided_by_the_variance(name, form):
    x, values, upstream = example(name)
    layer = built(name, values, form, settings=Settings(group_divisor="variance"))
    actual = run(layer, x, upstream, True, True)
    wanted = by_formula(formula(name), example(name), Options(divisor="variance"))
    assert_agrees(actual, wanted, (1e-12, 1e-10))
    assert error(wanted[0], expected(name, PLANE, True, True)[0]) > 0.01


@pytest.mark.parametrize("name", ["in", "ln", "bn", "sigmoid"])
def test_the_divisor_of_groups_leaves_other_methods_alone(name, form):
    x, values, upstream = example(name)
    layer = built(name, values, form, settings=Settings(group_divisor="variance"))
    actual = run(layer, x, upstream, True, True)
    assert_agrees(actual, expected(name, PLANE, True, True), TOLERANCES["float64"])


@pytest.mark.parametrize("gate, kernel", [(0.25, "native"), (1, "reference")])
@pytest.mark.parametrize("name", ["bin", "clip", "sigmoid", "softmax", "iln", "sn", "bin-projected"])
def test_frozen_gate(name, gate, kernel, use, eagerly):
    form = form_of(kernel, use)
    frozen = example(name)
    del frozen.values["rho"]
    layer = built(name, frozen.values, form, settings=Settings(frozen_gate=gate))
    actual = run(layer, frozen.x, frozen.upstream, True, True)
    assert_agrees(actual, by_formula(formula(name), frozen, Options(frozen=gate)), TOLERANCES["float64"])
    assert layer.mix is None


def share(layer):
    return layer.mix.shares(layer.parameters, Context(layer.settings, training=False))[0].numpy()


@pytest.mark.parametrize("name, start", [("clip", 0.5), ("bin", 0.5), ("sigmoid", 0.6224593312018546),
                                         ("iln", 0.6224593312018546), ("softmax", 0.5)])
def test_rho_starts_at_a_half_or_as_told(name, start):
    layer = Normalization(name, 32, dtype="float64")
    assert np.all(layer.parameters["rho"].numpy() == 0.5)
    assert layer.parameters["rho"].shape == ([2] if name == "softmax" else [])
    assert share(layer) == pytest.approx(start, abs=1e-15)
    assert np.all(Normalization(name, 32, Settings(rho=-1.5)).parameters["rho"].numpy() == -1.5)


@pytest.mark.parametrize("name, start, shape", [("sn", 1, [2, 3]), ("bin-projected", 1, [32]), ("iln-clamped", 0, [32]),
                                                ("iln-unclamped", 0, [32])])
def test_rho_starts_where_its_authors_start_it(name, start, shape):
    for own in (Settings(), Settings(rho=-1.5)):
        layer = Normalization(name, 32, own, dtype="float64")
        rho = layer.parameters["rho"]
        assert rho.shape == shape and np.all(rho.numpy() == start)
    assert share(layer) == pytest.approx(np.full(2, 1 / 3) if name == "sn" else np.full(32, start), abs=1e-15)


def test_who_learns_faster_and_within_which_limits():
    rates = {name: Normalization(name, 32).rates for name in NAMES}
    assert {name for name in NAMES if any(rate != 1 for rate in rates[name].values())} == {"bin-projected"}
    assert rates["bin-projected"]["rho"] == 10
    limited = {name: [key for key, v in Normalization(name, 32).named_variables.items() if v.constraint is not None]
               for name in NAMES}
    assert {name for name in NAMES if limited[name]} == {"bin-projected", "iln-clamped"}
    assert limited["bin-projected"] == limited["iln-clamped"] == ["rho"]
    project = Normalization("iln-clamped", 3).parameters["rho"].constraint
    assert np.array_equal(project(tf.constant([-0.1, 0.25, 1.1])), np.float32([0, 0.25, 1]))


def test_share_is_the_first_maps():
    for name in NAMES:
        values = example(name).values
        layer = built(name, values, "fused")
        if name == "sn":
            rho = np.exp(values["rho"])
            assert share(layer) == pytest.approx(rho[:, 0] / rho.sum(1), abs=1e-15)
        elif "rho" in values:
            named = {"bin": "clip", "clip": "clip", "softmax": "softmax"}
            gate = "itself" if name in EACH else named.get(name, "sigmoid")
            assert share(layer) == pytest.approx(shares(gate, values, Options())[0], abs=1e-15)
        else:
            assert layer.mix is None
            assert layer.mix is None


@pytest.mark.parametrize("rho, share", [(-0.2, 0), (1.3, 1)])
@pytest.mark.parametrize("name", ["clip", "bin"])
def test_a_clipped_gate_stays_in_its_range_and_has_no_gradient_outside(name, rho, share, form):
    x, values, upstream = example(name)
    values["rho"] = np.array(rho)
    y, slopes = run(built(name, values, form), x, upstream)
    frozen = forward(formula(name), x, values, Options(frozen=share), False)
    assert error(y, frozen) < 1e-12
    assert slopes["rho"] == 0


# Rules compose.


def composed(monkeypatch, rule):
    monkeypatch.setitem(METHODS, "composed", Method("Composed", rule, "for a test"))


def assert_composed(rule, function, gates, form, monkeypatch):
    composed(monkeypatch, rule)
    x, values, upstream = example("in")
    values |= gates
    actual = run(built("composed", values, form), x, upstream, True, True)
    wanted = by_formula(function, (x, values, upstream), Options())
    assert_agrees(actual, wanted, TOLERANCES["float64"])


def test_layer_and_group_under_a_sigmoid(form, monkeypatch):
    def function(x, values, options):
        a, b = shares("sigmoid", values, options)
        return a * layer(x, options) + b * group(x, 4, options)

    assert_composed(Mix(SIGMOID, LAYER, group_rule(4)), function, {"rho": np.array(0.7)}, form, monkeypatch)


def test_a_mix_in_a_mix_in_a_cascade(form, monkeypatch):
    def function(x, values, options):
        a, b = shares("sigmoid", {"rho": values["inner"]}, options)
        inner = group(a * instance(x, options) + b * layer(x, options), 8, options)
        c, d = shares("softmax", values, options)
        return layer(c * inner + d * group(x, 2, options), options)

    inner = Cascade(Mix(SIGMOID, INSTANCE, LAYER, rho="inner"), group_rule(8))
    rule = Cascade(Mix(SOFTMAX, inner, group_rule(2)), LAYER)
    values = {"rho": np.array([0.2, -0.5]), "inner": np.array(-0.4)}
    assert_composed(rule, function, values, form, monkeypatch)


@pytest.mark.parametrize("rule, shared", [
    (Mix(SIGMOID, Mix(SIGMOID, INSTANCE, LAYER), LAYER), "rho"),
    (Cascade(Mix(SIGMOID, INSTANCE, LAYER), Mix(SOFTMAX, INSTANCE, LAYER)), "rho"),
    (Mix(SIGMOID, BATCH, Cascade(LAYER, BATCH)), "moving_mean"),
], ids=["mix", "cascade", "batch"])
def test_two_parameters_of_one_name(rule, shared, monkeypatch):
    composed(monkeypatch, rule)
    with pytest.raises(InputError, match=repr(shared)):
        Normalization("composed", 8)


# Mistakes.

@pytest.mark.parametrize("name, groups, channels", [("gn5", 5, 24), ("gn16", 16, 24), ("iln", 16, 8),
                                                    ("iln12", 12, 32)])
def test_groups_that_do_not_divide_the_channels(name, groups, channels):
    with pytest.raises(InputError, match=f"{groups} groups do not divide {channels} channels"):
        Normalization(name, channels)


@pytest.mark.parametrize("name", ["foo", "gn", "gn0", "gn<G>", "iln<G>", "iln-4", "gn4x", "4", "", "in3",
                                  "IN", "gn²", "gn04", "gn4\n", "in\n"])
def test_unknown_methods(name):
    with pytest.raises(InputError) as caught:
        row_of(name)
    assert repr(name) in str(caught.value)
    assert all(choice in str(caught.value) for choice in METHODS)


def test_the_form_is_fused_unless_told():
    assert Normalization("in", 4).form == "fused"


def test_unknown_form():
    with pytest.raises(InputError, match="'fast' is unknown; choose one of fused, reference"):
        Normalization("in", 4, form="fast")


# The two forms are two.

@pytest.mark.parametrize("name", NORMALIZING)
def test_the_fused_form_reads_the_feature_map_through_the_kernels_alone(name, use, eagerly, monkeypatch):
    use("tensorflow")
    calls = []

    def count(kernel):
        original = getattr(kernels.portable, kernel)

        def counted(*args):
            calls.append(kernel)
            return original(*args)

        monkeypatch.setattr(kernels.portable, kernel, counted)

    for kernel in ("moments", "apply", "apply_gradient_sums", "apply_gradient_input"):
        count(kernel)
    x, values, upstream = example(name)
    run(built(name, values, "reference"), x, upstream)
    assert calls == []
    run(built(name, values, "fused"), x, upstream)
    assert calls == ["moments", "apply", "apply_gradient_sums", "apply_gradient_input"]


@pytest.mark.parametrize("name", seldom(NORMALIZING, KINDS))
def test_a_rule_is_one_compiled_call_forward_and_one_backward(name, use):
    use("tensorflow")
    x, values, _ = example(name)
    layer = built(name, values, "fused")

    @tf.function
    def both(x):
        with tf.GradientTape() as tape:
            y = layer(x, training=True, relu=True)
        return tape.gradient(y, layer.gamma)

    operations = both.get_concrete_function(tf.constant(x)).graph.get_operations()
    assert sum(op.node_def.attr["_XlaMustCompile"].b for op in operations) == 2


# Any shape.

@settings(max_examples=30, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), space=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
       instances=st.integers(1, 3), multiple=st.integers(1, 3), seed=st.integers(0, 99))
def test_any_shape(eagerly, name, space, instances, multiple, seed):
    x, values, upstream = example(name, space, 16 * multiple, instances, seed)
    options = Options(1e-3)
    wanted, slopes = run(built(name, values, "reference", settings=Settings(1e-3)), x, upstream, True, True)
    assert error(wanted, forward(formula(name), x, values, options, True)) < 1e-11
    y, fused_slopes = run(built(name, values, "fused", settings=Settings(1e-3)), x, upstream, True, True)
    assert_agrees((y, fused_slopes), (wanted, slopes), (1e-11, 1e-9))


# Goldens.

def test_every_method_has_a_golden():
    assert set(json.loads(NORMS.read_text(encoding="utf-8"))) == set(NAMES), "run python tests/make_goldens.py"


@pytest.mark.parametrize("name", NAMES)
def test_golden(name, form):
    golden = json.loads(NORMS.read_text(encoding="utf-8"))[name]
    actual = norm_golden(name, form)
    assert set(actual) == set(golden)
    for key, numbers in golden.items():
        assert error(actual[key], numbers) < 1e-8, key
