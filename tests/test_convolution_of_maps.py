"""Normalization inside native convolutions and pooling: against the same in single steps, in float64."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native import PRELUDE, output, start

from ilnrepro import networks
from ilnrepro.networks import convolutions
from ilnrepro.networks.unet import UNet
from ilnrepro.norms import Normalization, kernels
from ilnrepro.norms.kernels import native, portable
from ilnrepro.norms.values import Unapplied
from ilnrepro.ops.losses import cross_entropy

pytestmark = pytest.mark.skipif(not native.available(), reason="no native kernels here")

CHANNELS = (1, 2, 3, 8, 16, 17, 40)


def maps(shapes, dtype, seed=0):
    """An `Unapplied` of each shape, its channels of very different maps, some of them constant."""
    rng = np.random.default_rng(seed)
    sources = []
    for shape in shapes:
        x = rng.standard_normal(shape) + rng.standard_normal(shape[-1])
        x[..., 0] = 0.3
        scale, offset = rng.standard_normal((2, shape[0], shape[-1]))
        mean = x.mean(tuple(range(1, len(shape) - 1))) if x.size else np.zeros_like(scale)
        sources.append(Unapplied(*(tf.constant(a, dtype) for a in (x, mean, scale, offset))))
    return sources


def applied(source):
    return portable.apply(*source, relu=True)


def in_float64(sources):
    return [Unapplied(*(tf.cast(a, tf.float64) for a in source)) for source in sources]


def close(actual, exact, terms, magnitude):
    """Within rounding: a sum of n products is off by some n ulps of the magnitudes."""
    limit = (terms + 10) * np.finfo(actual.dtype.as_numpy_dtype).eps * (magnitude + 1)
    assert actual.shape == exact.shape
    assert np.all(np.abs(actual.numpy() - exact.numpy()) <= limit)


def with_gradients(function, arguments, dy):
    """(value, its gradients by all arguments)."""
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = function(*arguments)
    return [y, *tape.gradient(y, arguments, tf.cast(dy, y.dtype))]


def check(shapes, taps, outputs, dtype, kind, seed=0):
    """The convolution of maps, and what it says of gradients by them, against the convolution of applied maps."""
    sources, flipped = maps(shapes, dtype, seed), kind.get("flipped", False)
    rng = np.random.default_rng(seed + 1)
    inputs, n = sum(shape[-1] for shape in shapes), len(shapes)
    sides = [*taps, outputs, inputs] if flipped else [*taps, inputs, outputs]
    filters = tf.constant(rng.standard_normal(sides), dtype)
    exact_sources, exact_filters = in_float64(sources), tf.cast(filters, tf.float64)
    values = [applied(source) for source in exact_sources]

    def of_maps(filters, *flat):
        return native.convolution_of_maps([Unapplied(*flat[4 * i:4 * i + 4]) for i in range(n)], filters, **kind).y

    def of_values(filters, *values):
        return native.convolution(tf.concat(values, -1), filters, **kind)

    exact_y = of_values(exact_filters, *values)
    dy = rng.standard_normal(exact_y.shape)
    _, exact_by_filters, *by_values = with_gradients(of_values, [exact_filters, *values], dy)
    y, by_filters, *by_maps = with_gradients(of_maps, [filters, *(a for source in sources for a in source)], dy)
    largest = max([float(tf.reduce_max(tf.abs(v))) for v in values if tf.size(v)], default=0) * 10
    close(y, exact_y, np.prod(taps) * inputs, largest)
    close(by_filters, exact_by_filters, dy.size, largest)
    for i, by_value in enumerate(by_values):
        dx, dmean, dscale, doffset = by_maps[4 * i:4 * i + 4]
        assert dmean is None
        close(dx, by_value, np.prod(taps) * outputs, 10)
        exact = portable.apply_gradient_sums(by_value, *exact_sources[i], relu=True)
        for a, e in zip((dscale, doffset), exact, strict=True):
            close(a, e, np.prod(taps) * outputs + dy.size, 100)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 70)),
    inputs=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3), outputs=st.sampled_from(CHANNELS),
    dtype=st.sampled_from([tf.float32, tf.float64]), taps=st.sampled_from([(1, 1), (3, 3), (3, 5)]),
    kind=st.sampled_from([{}, {}, {"dilation": 2}, {"stride": 2, "flipped": True}]), seed=st.integers(0, 99),
)
def test_random_shapes(shape, inputs, outputs, dtype, taps, kind, seed):
    taps = (3, 3) if "stride" in kind else taps
    check([(*shape, channels) for channels in inputs], taps, outputs, dtype, kind, seed)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (2, 0, 4, 4), (0, 2, 2, 2)], ids=str)
def test_volumes_and_nothing(shape):
    check([(*shape, 5), (*shape, 16)], (3, 3, 3), 9, tf.float64, {})


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("kind", [{}, {"dilation": 3}, {"stride": 2, "flipped": True}], ids=str)
@pytest.mark.parametrize("shape", [(2, 33, 50, 3), (1, 130, 257, 16), (1, 1, 1, 2), (3, 4, 5, 17)], ids=str)
def test_moments_are_those_of_what_is_written(shape, kind, dtype):
    rng = np.random.default_rng(0)
    taps = [3, 3, 20, shape[-1]] if "stride" in kind else [3, 3, shape[-1], 20]
    x = tf.constant(1000 + rng.standard_normal(shape), dtype)  # a mean that would cost digits about zero
    y, (mean, variance) = native.convolution_of_maps(x, tf.constant(rng.standard_normal(taps), dtype), True, **kind)
    exact = y.numpy().astype(np.longdouble)
    # A row is summed in four chains, so a sum of at most 520 pixels is off by some 130 ulps of its magnitudes; and
    # x - shift has the rounding of x.
    eps, scale = np.finfo(dtype.as_numpy_dtype).eps, np.abs(exact).max((1, 2))
    variance_of, deviation = exact.var((1, 2)), exact.std((1, 2))
    assert np.all(np.abs(mean - exact.mean((1, 2))) <= eps * (2 * scale + 130 * deviation))
    assert np.all(np.abs(variance - variance_of) <= eps * (4 * scale * deviation + 400 * variance_of))


def test_moments_of_a_constant_channel_are_its_value_and_zero():
    x = np.ones([2, 20, 30, 3], np.float32)
    y, (mean, variance) = native.convolution_of_maps(x, np.full([1, 1, 3, 5], 0.1, np.float32), True)
    np.testing.assert_array_equal(mean, y[:, 0, 0])
    np.testing.assert_array_equal(variance, 0)


def test_moments_of_no_pixels_are_nan_and_of_no_channels_zero():
    _, moments = native.convolution_of_maps(np.ones([2, 0, 4, 3], np.float32), np.ones([3, 3, 3, 5], np.float32), True)
    np.testing.assert_array_equal(moments, np.full([2, 2, 5], np.nan))
    y, moments = native.convolution_of_maps(np.ones([2, 4, 4, 0], np.float32), np.ones([3, 3, 0, 5], np.float32), True)
    assert not np.any(y) and not np.any(moments)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("shape", [(2, 6, 10, 3), (1, 2, 2, 1), (2, 34, 6, 40), (0, 2, 2, 2), (1, 4, 4, 16)], ids=str)
def test_pooling_of_maps(shape, dtype):
    source, = maps([shape], dtype)
    exact, = in_float64([source])
    dy = np.random.default_rng(2).standard_normal((shape[0], shape[1] // 2, shape[2] // 2, shape[3]))
    value, by_value = with_gradients(lambda v: tf.nn.max_pool2d(v, 2, 2, "VALID"), [applied(exact)], dy)
    y, dx, dmean, *by_map = with_gradients(lambda *flat: native.max_pool(Unapplied(*flat)), list(source), dy)
    assert dmean is None
    close(y, value, 4, 10)
    through = np.where(applied(exact) > 0, by_value, 0)  # where the ReLU cuts, who wins does not matter
    close(tf.where(applied(source) > 0, dx, 0), tf.constant(through), 1, 10)
    for a, e in zip(by_map, portable.apply_gradient_sums(by_value, *exact, relu=True), strict=True):
        close(a, e, dy.size, 100)


def test_pooling_takes_the_first_of_equals_and_sees_the_map():
    """A falling map makes the smallest value of a square the largest; of equal ones the first gets the gradient."""
    x = np.float32([[[[3], [1]], [[2], [1]]]])
    source = Unapplied(tf.constant(x), *(tf.constant([[a]], tf.float32) for a in (2, -1, 5)))
    y, dx, _, dscale, doffset = with_gradients(lambda *flat: native.max_pool(Unapplied(*flat)), list(source),
                                               [[[[7.0]]]])
    assert y.numpy().item() == 6
    np.testing.assert_array_equal(dx[0, ..., 0], [[0, 7], [0, 0]])
    assert (dscale.numpy().item(), doffset.numpy().item()) == (-7, 7)


@pytest.mark.parametrize("says, arguments", [
    ("maps must have the same sides", ([(1, 4, 4, 2), (1, 4, 5, 2)], (3, 3, 4, 2))),
    ("maps must have one rank", ([(1, 4, 4, 2), (1, 4, 4, 4, 2)], (3, 3, 4, 2))),
    ("the channels of x must be those of the filters", ([(1, 4, 4, 2), (1, 4, 4, 2)], (3, 3, 3, 2))),
], ids=str)
def test_maps_that_do_not_fit_are_refused(says, arguments):
    shapes, filters = arguments
    with pytest.raises(tf.errors.InvalidArgumentError, match=says):
        native.convolution_of_maps(maps(shapes, tf.float32), np.ones(filters, np.float32))


def test_coefficients_that_do_not_fit_are_refused():
    source, = maps([(2, 4, 4, 3)], tf.float32)
    wrong = source._replace(scale=tf.ones([2, 4]))
    for function in (lambda: native.convolution_of_maps([wrong], np.ones([3, 3, 3, 2], np.float32)),
                     lambda: native.max_pool(wrong)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"mean, scale and offset must be \[2,3\]"):
            function()
    odd, = maps([(1, 5, 4, 3)], tf.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="even sides"):
        native.max_pool(odd)


THREADS = PRELUDE + """
import hashlib
from ilnrepro.norms.values import Unapplied
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
digest = hashlib.sha256()
for n, side, channels, outputs in [(1, 70, 16, 16), (3, 34, 17, 40), (1, 16, 80, 64)]:
    rng = np.random.default_rng(side)
    flat = [tf.constant(rng.standard_normal(shape), tf.float32) for shape in
            ((n, side, side, channels), *[(n, channels)] * 3)]
    w = tf.constant(rng.standard_normal((3, 3, 2 * channels, outputs)), tf.float32)
    for _ in range(3):
        with tf.GradientTape() as tape:
            tape.watch([*flat, w])
            source = Unapplied(*flat)
            y, moments = native.convolution_of_maps([source, source], w, True)
            pooled = native.max_pool(source)
        for result in (y, *moments, pooled, *filter(None.__ne__, tape.gradient([y, pooled], [*flat, w]))):
            digest.update(result.numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_the_number_of_threads_does_not_change_a_bit():
    actual = {output(process) for process in [start(THREADS, threads) for threads in (1, 2, 4)]}
    assert len(actual) == 1


# In a network.

@pytest.fixture
def inside(use, monkeypatch, uncompiled):
    use("native")
    monkeypatch.setattr(convolutions, "FAST", (native.instruction_set(),))


@pytest.mark.parametrize("method", ["none", "iln", "bn"])
def test_a_network_is_the_literal_one(inside, method):
    """Scores and all gradients in float64, and the moving averages after the step."""
    rng = np.random.default_rng(0)
    images, masks = tf.constant(rng.standard_normal((2, 8, 12, 1))), rng.integers(0, 2, (2, 8, 12))
    results = []
    for form in ("fused", "reference"):
        network = UNet(method, form=form, pools=1, dtype="float64")
        trainable = [v for v in network.named_variables.values() if v.trainable]
        with tf.GradientTape() as tape:
            scores = network(images, training=True)
            loss = cross_entropy(scores, masks)
        gradients = tape.gradient(loss, trainable, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        moving = [v for v in network.named_variables.values() if not v.trainable]
        results.append([scores, *gradients, *moving, network(images)])
    for a, e in zip(*results, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-9 * (1 + np.abs(e).max()))


def test_no_normalized_map_is_written(inside):
    """The network's step has no pass over maps but the gradient's, and convolves and pools only what is unapplied."""
    network = UNet("iln", pools=1)

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(images, training=True))
        return tape.gradient(loss, network.layers[0].weights)

    kinds = [op.type for op in step.get_concrete_function(tf.ones([1, 8, 8, 1])).graph.get_operations()]
    assert not {"IlnMoments", "IlnApply", "IlnApplyGradientSums", "MaxPool", "Conv2D"} & set(kinds)
    assert kinds.count("IlnApplyGradientInput") == len(network.normalizations) == 7
    assert kinds.count("IlnMaxPool") == 1


def test_a_second_derivative_is_refused_rather_than_wrong(inside):
    network = UNet("in", pools=1)
    weights = network.layers[0].weights
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            loss = tf.reduce_sum(network(tf.ones([1, 4, 4, 1])) ** 2)
        first = inner.gradient(loss, weights)
    with pytest.raises(LookupError, match="gradient"):
        outer.gradient(first, weights)


def test_moments_without_the_native_kernels(use):
    use("tensorflow")
    y, moments = convolutions.with_moments(tf.ones([1, 4, 4, 1]), tf.ones([3, 3, 1, 2]))
    assert moments is None and y.shape == [1, 4, 4, 2]
    assert tf.is_tensor(Normalization("in", 2)(y, relu=True))
    assert kernels.in_use() == "tensorflow" and "unet" in networks.NETWORKS
