"""The four streaming kernels, portable and native, against the same sums in float64 NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from formulas import error
from hypothesis import given, settings
from hypothesis import strategies as st

from ilnrepro.errors import InputError
from ilnrepro.norms import kernels

SHAPES = {"2d": (2, 5, 3, 7), "3d": (2, 3, 2, 5, 4), "1d": (3, 6, 5), "one-pixel": (2, 1, 1, 9),
          "one-channel": (2, 4, 5, 1), "blocks": (2, 40, 33, 16), "wide": (1, 3, 3, 270)}
TOLERANCES = {"float64": 1e-13, "float32": 2e-6}
MODULES = ["tensorflow", "native"]


def available(name):
    if name == "native" and not kernels.native.available():
        pytest.skip("no native kernels here")
    return kernels.native if name == "native" else kernels.portable


@pytest.fixture(params=MODULES)
def kernel(request):
    """The module of kernels under test."""
    return available(request.param)


def arrays(shape, dtype, seed=0, mean=1.0):
    """x, dy of the shape; mean, scale, offset, dmean, dvariance `[N, C]`: float64, rounded to `dtype`."""
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(mean, 2, shape), rng.normal(size=shape)
    small = [rng.normal(centre, 1, (shape[0], shape[-1])) for centre in (mean, 0, 0, 0, 0)]
    return [a.astype(dtype).astype(float) for a in (x, dy, *small)]


def called(function, *args):
    """The kernel's outputs as NumPy arrays."""
    out = function(*args)
    return [part.numpy() for part in out] if isinstance(out, (tuple, list)) else out.numpy()


def tensors(dtype, *parts):
    return [tf.constant(part, dtype) for part in parts]


def over(x, a):  # [N, C] -> [N, 1, ..., 1, C]
    return a.reshape(len(a), *[1] * (x.ndim - 2), -1)


def space(x):
    return tuple(range(1, x.ndim - 1))


def expected_apply(x, mean, scale, offset, relu):
    y = over(x, scale) * (x - over(x, mean)) + over(x, offset)
    return np.maximum(y, 0) if relu else y


def masked(dy, x, mean, scale, offset, relu):
    return dy * (expected_apply(x, mean, scale, offset, False) > 0) if relu else dy


def expected_sums(dy, x, mean, scale, offset, relu):
    g = masked(dy, x, mean, scale, offset, relu)
    return (g * (x - over(x, mean))).sum(space(x)), g.sum(space(x))


def expected_input(dy, x, mean, scale, offset, dmean, dvariance, relu):
    g = masked(dy, x, mean, scale, offset, relu)
    pixels = np.prod(x.shape[1:-1])
    return over(x, scale) * g + (over(x, dmean) + 2 * over(x, dvariance) * (x - over(x, mean))) / pixels


def assert_all_four(kernel, shape, dtype, relu, seed=0):
    x, dy, mean, scale, offset, dmean, dvariance = arrays(shape, dtype, seed)
    t_x, t_dy, t_mean, t_scale, t_offset, t_dmean, t_dvariance = tensors(
        dtype, x, dy, mean, scale, offset, dmean, dvariance)
    affine, t_affine = (mean, scale, offset), (t_mean, t_scale, t_offset)
    tolerance = TOLERANCES[dtype]
    found_mean, found_variance = called(kernel.moments, t_x)
    assert found_mean.dtype == found_variance.dtype == dtype
    assert error(found_mean, x.mean(space(x))) < tolerance
    assert error(found_variance, x.var(space(x))) < tolerance
    y = called(kernel.apply, t_x, *t_affine, relu)
    assert y.dtype == dtype and error(y, expected_apply(x, *affine, relu)) < tolerance
    for actual, wanted in zip(called(kernel.apply_gradient_sums, t_dy, t_x, *t_affine, relu),
                             expected_sums(dy, x, *affine, relu), strict=True):
        assert actual.dtype == dtype and error(actual, wanted) < 5 * tolerance
    dx = called(kernel.apply_gradient_input, t_dy, t_x, *t_affine, t_dmean, t_dvariance, relu)
    assert dx.dtype == dtype and error(dx, expected_input(dy, x, *affine, dmean, dvariance, relu)) < tolerance


@pytest.mark.parametrize("relu", [False, True], ids=["linear", "relu"])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_against_numpy(kernel, shape, dtype, relu):
    assert_all_four(kernel, shape, dtype, relu)


@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(instances=st.integers(1, 3), sides=st.lists(st.integers(1, 7), min_size=1, max_size=3),
       channels=st.integers(1, 40), relu=st.booleans(), seed=st.integers(0, 99))
def test_any_shape(name, instances, sides, channels, relu, seed):
    assert_all_four(available(name), (instances, *sides, channels), "float64", relu, seed)


def test_the_gradients_are_those_of_moments_and_apply(kernel):
    """The four together, x acting through its moments too, against automatic differentiation."""
    x, dy, _, scale, offset, _, _ = arrays((2, 4, 3, 5), "float64")
    x, dy, scale, offset = tensors("float64", x, dy, scale, offset)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((x, scale, offset))
        mean, variance = tf.nn.moments(x, [1, 2])
        factor = tf.math.rsqrt(variance + 0.1) * scale
        y = tf.nn.relu(factor[:, None, None] * (x - mean[:, None, None]) + offset[:, None, None])
    mean, variance = kernel.moments(x)
    factor = tf.math.rsqrt(variance + 0.1) * scale
    dfactor, doffset = kernel.apply_gradient_sums(dy, x, mean, factor, offset, True)
    dvariance = dfactor * scale * -0.5 * (variance + 0.1) ** -1.5
    dx = kernel.apply_gradient_input(dy, x, mean, factor, offset, -factor * doffset, dvariance, True)
    assert error(kernel.apply(x, mean, factor, offset, True), y) < 1e-13
    assert error(doffset, tape.gradient(y, offset, dy)) < 1e-13
    assert error(dfactor * tf.math.rsqrt(variance + 0.1), tape.gradient(y, scale, dy)) < 1e-13
    assert error(dx, tape.gradient(y, x, dy)) < 1e-13


def test_mean_1000_and_deviation_1_keeps_its_digits_in_float32(kernel):
    x, dy, mean, scale, offset, dmean, dvariance = arrays((2, 16, 16, 8), "float32", mean=1000.0)
    t_x, t_dy, *small = tensors("float32", x, dy, mean, scale, offset)
    found_mean, found_variance = called(kernel.moments, t_x)
    assert error(found_mean, x.mean(space(x))) < 2e-7
    assert error(found_variance, x.var(space(x))) < 1e-5
    y = called(kernel.apply, t_x, *small, False)
    assert error(y, expected_apply(x, mean, scale, offset, False)) < 5e-7
    dscale, doffset = called(kernel.apply_gradient_sums, t_dy, t_x, *small, False)
    wanted_dscale, wanted_doffset = expected_sums(dy, x, mean, scale, offset, False)
    assert error(dscale, wanted_dscale) < 2e-6
    assert error(doffset, wanted_doffset) < 2e-6
    dvariance = 1000 * dvariance
    dx = called(kernel.apply_gradient_input, t_dy, t_x, *small, *tensors("float32", dmean, dvariance), False)
    assert error(dx, expected_input(dy, x, mean, scale, offset, dmean, dvariance, False)) < 1e-6


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_constant_channel_has_no_variance(kernel, dtype):
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 5))
    x[..., 3] = 1000.5
    mean, variance = called(kernel.moments, tf.constant(x, dtype))
    assert np.all(mean[:, 3] == 1000.5) and np.all(variance[:, 3] == 0)


def test_an_outlying_pixel_leaves_its_neighbours_alone(kernel):
    x, _, mean, scale, offset, _, _ = arrays((2, 6, 5, 4), "float64")
    x[1, 0, 0, 2] = 1e8
    found_mean, found_variance = called(kernel.moments, tf.constant(x))
    others = np.ones((2, 4), bool)
    others[1, 2] = False
    assert error(found_mean[others], x.mean((1, 2))[others]) < 1e-13
    assert error(found_variance[others], x.var((1, 2))[others]) < 1e-13
    assert error(found_mean, x.mean((1, 2))) < 1e-13
    assert error(found_variance, x.var((1, 2))) < 1e-13


def test_where_the_relu_cuts_at_exactly_zero_no_gradient_passes(kernel):
    one = tf.ones([1, 2, 2, 1], tf.float64)
    mean, scale, offset = (tf.constant([[value]], tf.float64) for value in (1, 1, 0))
    dscale, doffset = called(kernel.apply_gradient_sums, one, one, mean, scale, offset, True)
    assert dscale == 0 and doffset == 0
    dx = called(kernel.apply_gradient_input, one, one, mean, scale, offset, mean, mean, True)
    assert np.all(dx == 0.25)


@pytest.mark.parametrize("relu", [False, True], ids=["linear", "relu"])
def test_nan_and_infinity_pass(kernel, relu):
    x, _, mean, scale, offset, _, _ = arrays((1, 2, 2, 3), "float32")
    x[0, 0, 0] = np.nan, np.inf, 1
    t_x, *affine = tensors("float32", x, mean, np.abs(scale) + 1, offset)
    y = called(kernel.apply, t_x, *affine, relu)
    assert np.isnan(y[0, 0, 0, 0]) and np.isposinf(y[0, 0, 0, 1])
    assert np.isfinite(y).sum() == y.size - 2
    mean, _ = called(kernel.moments, t_x)
    assert not np.isfinite(mean[0, :2]).any() and np.isfinite(mean[0, 2])


def test_moments_of_an_empty_map_are_nan(kernel):
    mean, variance = called(kernel.moments, tf.zeros([2, 0, 3, 4]))
    assert mean.shape == variance.shape == (2, 4) and np.isnan([mean, variance]).all()


# The choice.

def test_use_chooses(use):
    x = tf.zeros([1, 2, 2, 3])
    use("tensorflow")
    assert kernels.in_use() == "tensorflow" and kernels.module_for(x) is kernels.portable
    use("native")
    assert kernels.in_use() == "native" and kernels.module_for(x) is kernels.native
    assert kernels.module_for(tf.cast(x, tf.float64)) is kernels.native
    assert kernels.module_for(tf.cast(x, tf.bfloat16)) is kernels.portable


def test_auto_falls_back_and_native_by_name_says_why_not(use, monkeypatch):
    monkeypatch.setattr(kernels.native, "available", lambda: False)
    kernels.use("auto")
    assert kernels.in_use() == "tensorflow"
    kernels.use("native")
    with pytest.raises(InputError, match="native kernels cannot be built here"):
        kernels.in_use()
    use("auto")


def test_auto_takes_tensorflow_kernels_beside_a_gpu(use, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [f"a {kind}"])
    use("auto")
    assert kernels.in_use() == "tensorflow"


def test_unknown_kernels():
    with pytest.raises(InputError, match="'cuda' is unknown; choose one of auto, native, tensorflow"):
        kernels.use("cuda")
