"""The native convolutions: against TensorFlow's in float64, on any number of threads; and when they are taken."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native import PRELUDE, output, start

from ilnrepro.networks import convolutions
from ilnrepro.norms import kernels
from ilnrepro.norms.kernels import native

pytestmark = pytest.mark.skipif(not native.available(), reason="no native kernels here")

CHANNELS = (1, 2, 3, 5, 16, 17, 48)


def arguments(shape, filters, stride=1, dtype=np.float32, seed=0):
    """x of the shape `[N, ..., C]`, filters, and dy, an incoming gradient of their convolution."""
    rng = np.random.default_rng(seed)
    sides = [side // stride for side in shape[1:-1]]
    return [rng.standard_normal(size).astype(dtype) for size in (shape, filters, (shape[0], *sides, filters[-1]))]


def of_tensorflow(x, filters, dy, stride=1, dilation=1):
    """The convolution and its gradients by x and filters in float64, of TensorFlow's operations."""
    if dy.size == 0:  # of no pixels at all, TensorFlow's gradient by the filters is not written
        return dy, x, np.zeros_like(filters)
    x, filters, dy = (tf.constant(a, tf.float64) for a in (x, filters, dy))
    with tf.GradientTape() as tape:
        tape.watch([x, filters])
        if dilation > 1:  # TensorFlow has no gradient of a dilated convolution of volumes on a CPU
            y = convolutions._dilated(x, filters, dilation)
        elif x.shape.rank == 4:
            y = tf.nn.conv2d(x, filters, stride, "SAME")
        else:
            y = tf.nn.conv3d(x, filters, [1, *[stride] * 3, 1], "SAME")
    return [a.numpy() for a in (y, *tape.gradient(y, [x, filters], dy))]


def of_native(x, filters, dy, **kind):
    x, filters = tf.constant(x), tf.constant(filters)
    with tf.GradientTape() as tape:
        tape.watch([x, filters])
        y = native.convolution(x, filters, **kind)
    return [a.numpy() for a in (y, *tape.gradient(y, [x, filters], dy))]


def check(x, filters, dy, **kind):
    """Every value within what rounding can do: a sum of n products is off by n ulps of the sum of their magnitudes.

    That sum is the same convolution of magnitudes.
    """
    actual, exact = of_native(x, filters, dy, **kind), of_tensorflow(x, filters, dy, **kind)
    magnitudes = of_tensorflow(*(np.abs(a) for a in (x, filters, dy)), **kind)
    taps, pixels = np.prod(filters.shape[:-2]), np.prod(dy.shape[:-1])
    terms = [taps * filters.shape[-2], taps * filters.shape[-1], pixels]
    for a, e, m, n in zip(actual, exact, magnitudes, terms, strict=True):
        assert a.dtype == x.dtype and a.shape == e.shape
        assert np.all(np.abs(a - e) <= (n + 1) * np.finfo(x.dtype).eps * m), np.max(np.abs(a - e) / (m + 1e-300))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 7, 9), (1, 1, 1), (3, 1, 5), (0, 4, 4), (2, 0, 4), (1, 24, 131), (2, 33, 16)],
                         ids=str)
def test_images_of_any_size_and_channels(shape, dtype):
    pairs = itertools.product(CHANNELS, CHANNELS) if shape == (2, 7, 9) else [(1, 16), (17, 5), (48, 33), (3, 2)]
    for inputs, outputs in pairs:
        check(*arguments((*shape, inputs), (3, 3, inputs, outputs), dtype=dtype))


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 150), st.sampled_from(CHANNELS)),
    outputs=st.sampled_from(CHANNELS), dtype=st.sampled_from([np.float32, np.float64]),
    dilation=st.sampled_from([1, 1, 2, 5]), taps=st.sampled_from([1, 3, 3, 5]), seed=st.integers(0, 99),
)
def test_random_shapes(shape, outputs, dtype, dilation, taps, seed):
    filters = (taps, 3, shape[-1], outputs)
    check(*arguments(shape, filters, dtype=dtype, seed=seed), dilation=dilation)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("shape", [(1, 3, 5, 4, 5), (2, 1, 1, 1, 3), (1, 4, 16, 6, 33), (0, 2, 2, 2, 2)], ids=str)
def test_volumes(shape, dilation):
    for outputs, dtype in [(5, np.float32), (32, np.float64)]:
        check(*arguments(shape, (3, 3, 3, shape[-1], outputs), dtype=dtype), dilation=dilation)


@pytest.mark.parametrize("shape, taps", [((1, 2, 2, 5), 3), ((2, 12, 34, 17), 3), ((1, 6, 4, 40), 2),
                                         ((1, 8, 10, 3), 5), ((1, 4, 6, 8, 5), 2), ((1, 4, 2, 6, 3), 3)], ids=str)
def test_a_stride_of_2(shape, taps):
    for outputs, dtype in [(16, np.float32), (3, np.float64), (80, np.float32)]:  # 80: two blocks of four taps
        check(*arguments(shape, (*[taps] * (len(shape) - 2), shape[-1], outputs), 2, dtype), stride=2)


@pytest.mark.parametrize("kind", [{}, {"stride": 2}, {"dilation": 2}], ids=str)
def test_the_transpose_and_second_derivatives(kind):
    """`flipped` maps dy to the gradient by x. Convolution and gradients are linear in each argument: <dy, y> =
    <dx, x> = <dw, w>; so the derivatives of their parts are known too."""
    x, w, dy = (tf.constant(a) for a in arguments((2, 8, 6, 5), (3, 3, 5, 7), kind.get("stride", 1), np.float64))
    u = tf.constant(np.random.default_rng(9).standard_normal(x.shape))
    v = tf.constant(np.random.default_rng(8).standard_normal(w.shape))
    with tf.GradientTape() as outer:
        outer.watch([x, w, dy])
        with tf.GradientTape() as inner:
            inner.watch([x, w])
            y = native.convolution(x, w, **kind)
        dx, dw = inner.gradient(y, [x, w], dy)
        total = tf.reduce_sum(dx * u) + tf.reduce_sum(dw * v)
    np.testing.assert_allclose(dx, native.convolution(dy, w, **kind, flipped=True))
    by_x, by_w, by_dy = outer.gradient(total, [x, w, dy])
    # total = <dy, u * w + x * v>
    np.testing.assert_allclose(by_dy, native.convolution(u, w, **kind) + native.convolution(x, v, **kind), atol=1e-12)
    np.testing.assert_allclose(by_x, native.convolution(dy, v, **kind, flipped=True), atol=1e-12)
    np.testing.assert_allclose(by_w, native.convolution_filter_gradient(u, dy, [3, 3], **kind), atol=1e-12)


def test_not_a_number_reaches_its_neighbours_alone():
    x, w, _ = arguments((1, 9, 20, 16), (3, 3, 16, 16))
    x[0, 4, 7, 3] = np.nan
    actual = np.isnan(native.convolution(x, w).numpy())
    assert actual[0, 3:6, 6:9].all() and actual.sum() == 9 * 16


def test_in_a_graph_with_unknown_shapes():
    x, w, _ = arguments((2, 6, 8, 3), (3, 3, 3, 4))
    seen = []

    @tf.function(input_signature=[tf.TensorSpec([None] * 4, tf.float32)])
    def both(x):
        y = native.convolution(x, w)
        z = native.convolution(y, w, flipped=True)
        seen.extend([y.shape.as_list(), z.shape.as_list()])
        return z

    y = native.convolution(x, w)
    np.testing.assert_array_equal(both(x), native.convolution(y, w, flipped=True))
    assert seen == [[None, None, None, 4], [None, None, None, 3]]


@pytest.mark.parametrize("shape, filters, kind, says", [
    ((1, 4, 4, 3), (3, 3, 2, 4), {}, "the channels of x must be those of the filters"),
    ((1, 4, 4, 3), (3, 3, 4, 2), {"flipped": True}, "the channels of x must be those of the filters"),
    ((4, 4, 3), (3, 3, 4), {}, r"x must be \[N, \(D,\) H, W, C\]"),
    ((1, 4, 4, 3), (3, 3, 3, 3, 4), {}, "one rank"),
    ((1, 5, 4, 3), (3, 3, 3, 4), {"stride": 2}, "the stride must divide"),
    ((1, 4, 4, 3), (1, 1, 3, 4), {"stride": 2}, "filters must not be smaller than the stride"),
    ((1, 4, 4, 3), (3, 3, 3, 4), {"stride": 2, "dilation": 2}, "one of stride and dilation must be 1"),
], ids=str)
def test_wrong_shapes_are_refused(shape, filters, kind, says):
    x, w = np.ones(shape, np.float32), np.ones(filters, np.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=says):
        native.convolution(x, w, **kind)
    if says.startswith("the channels"):
        with pytest.raises(ValueError, match="must be equal"):
            tf.function(native.convolution)(x, w, **kind)


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="dy does not fit"):
        native.convolution_filter_gradient(np.ones((1, 4, 4, 3)), np.ones((1, 4, 5, 3)), [3, 3])


THREADS = PRELUDE + """
import hashlib
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
digest = hashlib.sha256()
for n, side, inputs, outputs in [(1, 70, 16, 16), (3, 33, 17, 40), (1, 16, 80, 64), (2, 9, 3, 5)]:
    rng = np.random.default_rng(side)
    x, w, dy = (tf.constant(rng.standard_normal(shape), tf.float32) for shape in (
        (n, side, side, inputs), (3, 3, inputs, outputs), (n, side, side, outputs)))
    for _ in range(3):
        for result in (native.convolution(x, w), native.convolution(dy, w, flipped=True),
                       native.convolution_filter_gradient(x, dy, [3, 3])):
            digest.update(result.numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_the_number_of_threads_does_not_change_a_bit():
    actual = {output(process) for process in [start(THREADS, threads) for threads in (1, 2, 4)]}
    assert len(actual) == 1


def test_convolutions_at_once_share_the_threads():
    rng = np.random.default_rng(0)
    cases = [(rng.standard_normal((1, side, side, inputs)), rng.standard_normal((3, 3, inputs, 32)) / inputs)
             for side, inputs in [(64, 16), (33, 48), (16, 64), (8, 128)]]

    def largest_error(case):
        x, w = case
        errors = [np.abs(native.convolution(x, w) - tf.nn.conv2d(x, w, 1, "SAME")).max() for _ in range(10)]
        return max(errors)

    with ThreadPoolExecutor(len(cases)) as pool:
        assert max(pool.map(largest_error, cases)) < 1e-12


# The choice.

def names_of(function, *args):
    """The kinds of operations in a function's graph."""
    return {op.type for op in tf.function(function).get_concrete_function(*args).graph.get_operations()}


@pytest.mark.parametrize("choice, form, dtype, native_taken", [
    ("native", "fused", tf.float32, True), ("auto", "fused", tf.float64, True), ("native", "fused", tf.bfloat16, False),
    ("native", "reference", tf.float32, False), ("tensorflow", "fused", tf.float32, False),
])
def test_when_the_native_ones_are_taken(use, monkeypatch, choice, form, dtype, native_taken):
    use(choice)
    monkeypatch.setattr(convolutions, "FAST", (native.instruction_set(),))
    x, w = tf.ones([1, 4, 4, 3], dtype), tf.ones([3, 3, 3, 3], dtype)
    for function in (convolutions.convolution, convolutions.transposed):
        assert ("IlnConvolution" in names_of(lambda: function(x, w, form))) == native_taken  # noqa: B023
    monkeypatch.setattr(convolutions, "FAST", ())
    assert "IlnConvolution" not in names_of(lambda: convolutions.convolution(x, w, form))


@pytest.mark.parametrize("shape, taps, dilation", [((2, 6, 4, 5), 3, 1), ((1, 4, 3, 5, 2), 3, 1),
                                                   ((1, 5, 4, 7, 2), 3, 2)], ids=str)
def test_both_ways_agree(use, monkeypatch, shape, taps, dilation):
    monkeypatch.setattr(convolutions, "FAST", (native.instruction_set(),))
    use("native")
    x, w, _ = arguments(shape, (*[taps] * (len(shape) - 2), shape[-1], shape[-1]), dtype=np.float64)
    x, w = tf.constant(x), tf.constant(w)
    for function in (lambda form: convolutions.convolution(x, w, form, dilation),
                     lambda form: convolutions.transposed(x, w, form)):
        actual, reference = (function(form).numpy() for form in ("fused", "reference"))
        np.testing.assert_allclose(actual, reference, rtol=0, atol=1e-12)
    assert kernels.in_use() == "native"


def test_without_a_compiler_tensorflow_s_are_taken(monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    assert "Conv2D" in names_of(lambda: convolutions.convolution(tf.ones([1, 4, 4, 3]), tf.ones([3, 3, 3, 3])))
