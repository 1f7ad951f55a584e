"""The native CPU kernels: against float64, on poisoned memory, on one and two threads; and their cache."""

import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ilnrepro.norms.kernels import native

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")

pytestmark = pytest.mark.skipif(not COMPILER, reason="no C++ compiler ($CXX, c++, g++), no native kernels")

SHAPES = [
    *[(2, 5, 7, channels) for channels in (1, 3, 16, 17, 100)],
    *[(1, 1, 1, 16), (3, 1, 5), (16, 1, 1, 256)],  # one pixel
    *[(0, 4, 4, 16), (2, 0, 4, 16), (2, 4, 4, 0)],  # nothing at all
    *[(2, 3, 4, 5, 6), (4, 9), (2, 11, 300), (1, 4, 256), (1, 2, 20000)],  # ranks, wide rows
    *[(2, 64, 64, 16), (1, 130, 131, 3), (2, 90, 70, 17), (1, 41, 43, 100)],  # several blocks and a rest
]


def arguments(shape, seed=0, mean=0.0, dtype=np.float32):
    """Feature maps dy and x, and the coefficients mean, scale, offset, dmean, dvariance."""
    rng = np.random.default_rng(seed)
    dy, x = rng.standard_normal((2, *shape))
    coefficients = rng.standard_normal((5, shape[0], shape[-1]))
    coefficients[0] += mean
    return [a.astype(dtype) for a in (dy, x + mean, *coefficients)]


def flat(array):
    """[N, ..., C] as float64 [N, P, C]."""
    pixels = int(np.prod(array.shape[1:-1]))
    return np.asarray(array, np.float64).reshape(array.shape[0], pixels, array.shape[-1])


def expected(dy, x, mean, scale, offset, dmean, dvariance, relu):
    """Every result in float64, by its definition."""
    shape = x.shape
    dy, x = flat(dy), flat(x)
    coefficients = (mean, scale, offset, dmean, dvariance)
    mean, scale, offset, dmean, dvariance = (np.float64(a)[:, None] for a in coefficients)
    centred = x - mean
    z = scale * centred + offset
    g = dy * (z > 0) if relu else dy
    y = np.maximum(z, 0) if relu else z
    dx = scale * g + (dmean + 2 * dvariance * centred) / max(x.shape[1], 1)
    return y.reshape(shape), (g * centred).sum(1), g.sum(1), dx.reshape(shape)


def results(dy, x, mean, scale, offset, dmean, dvariance, relu):
    dscale, doffset = native.apply_gradient_sums(dy, x, mean, scale, offset, relu)
    dx = native.apply_gradient_input(dy, x, mean, scale, offset, dmean, dvariance, relu)
    y = native.apply(x, mean, scale, offset, relu)
    return [a.numpy() for a in (y, dscale, doffset, dx)]


def assert_close(actual, reference, tolerance, scale=None):
    """The largest error is within `tolerance` times `scale`, which is the largest value of the reference."""
    assert actual.shape == reference.shape
    assert np.isfinite(actual).all() == np.isfinite(reference).all()
    if reference.size:
        scale = np.max(np.abs(reference)) if scale is None else scale
        assert np.max(np.abs(actual - reference)) <= tolerance * max(scale, 1e-30)


def check_moments(x, tolerance=1e-5):
    """In every channel: mean to `tolerance` deviations and its rounding, variance to `tolerance` relative."""
    mean, variance = (a.numpy() for a in native.moments(x))
    x = flat(x)
    assert mean.shape == variance.shape == (x.shape[0], x.shape[2])
    if x.shape[1] == 0:
        assert np.isnan(mean).all() and np.isnan(variance).all()
        return
    rounding = np.finfo(mean.dtype).eps * np.abs(x.mean(1))
    assert np.all(np.abs(mean - x.mean(1)) <= tolerance * x.std(1) + rounding)
    assert np.all(np.abs(variance - x.var(1)) <= tolerance * x.var(1))


def check_passes(args, relu, tolerance=2e-5):
    """Every pass against float64. Sums are measured against the sum of their terms' absolute values.

    Where rounding decides on which side of the ReLU's corner a value lies, nothing flows back.
    """
    if relu:
        dy, x, mean, scale, offset = (np.float64(a) for a in args[:5])
        wide = [a.reshape(a.shape[0], *[1] * (x.ndim - 2), a.shape[1]) for a in (mean, scale, offset)]
        product = wide[1] * (x - wide[0])
        unsure = np.abs(product + wide[2]) < 4 * np.finfo(args[1].dtype).eps * (np.abs(product) + np.abs(wide[2]))
        args = [np.where(unsure, 0, args[0]).astype(args[0].dtype), *args[1:]]
    actual, reference = results(*args, relu), expected(*args, relu)
    dy, x, mean = flat(args[0]), flat(args[1]), np.float64(args[2])[:, None]
    terms = [None, np.abs(dy * (x - mean)).sum(1).max(initial=0), np.abs(dy).sum(1).max(initial=0), None]
    for a, r, scale in zip(actual, reference, terms, strict=True):
        assert_close(a, r, tolerance, scale)
    return actual


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pass_against_float64(shape, dtype):
    args = arguments(shape, dtype=dtype)
    check_moments(args[1])
    check_passes(args, relu=False)
    check_passes(args, relu=True)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 70)),
    mean=st.sampled_from([0.0, 1000.0]),
    outlier=st.sampled_from([None, 0, -1]),
    relu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_random_shapes_with_large_means_and_outliers(shape, mean, outlier, relu, seed):
    args = arguments(shape, seed, mean)
    if outlier is not None:  # a corner that the convolution's zero padding sees
        x = args[1].reshape(shape[0], -1, shape[-1])
        x[:, outlier, :: seed % 3 + 1] = 0
    # A block adds at most 512 rows, each addition to half a digit, of which the shift costs a factor of 1 + 16.
    check_moments(args[1], max(1e-5, 17 * np.finfo(np.float32).eps / 2 * min(shape[1] * shape[2], 512)))
    check_passes(args, relu)


@pytest.mark.parametrize("outlier", [None, 0, -1, slice(0, 5)])
@pytest.mark.parametrize("channels", [1, 3, 16, 100])
def test_mean_1000_deviation_1_to_1e_4(channels, outlier):
    """The whole chain, moments to input gradient, agrees with float64 to 1e-4 in every value."""
    side = 128 if channels < 100 else 64
    dy, x, _, _, offset, _, _ = arguments((2, side, side, channels), mean=1000)
    if outlier is not None:
        x.reshape(2, -1, channels)[:, outlier, ::2] = 0
    check_moments(x, 1e-4)
    exact = flat(x)
    mean, variance = (a.numpy() for a in native.moments(x))
    scale = (1 / np.sqrt(exact.var(1))).astype(np.float32)
    y = native.apply(x, mean, scale, offset, relu=False).numpy()
    reference = (exact - exact.mean(1, keepdims=True)) * scale[:, None] + offset[:, None]
    # Of the mean, no more than its rounding to float32 may be lost.
    lost = np.abs(exact.mean(1) - mean) * scale
    assert np.all(np.abs(flat(y) - reference) <= 1e-4 * np.maximum(np.abs(reference), 1) + lost[:, None])
    check_passes([dy, x, mean, scale, offset, mean / 1000, variance], relu=True, tolerance=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e30, 1e-30])
@pytest.mark.parametrize("shape", [(2, 64, 64, 16), (1, 50, 51, 3), (2, 1, 17), (1, 20, 20, 300)], ids=str)
def test_constant_channels_are_exact(shape, value):
    x = np.full(shape, value, np.float32) * (1 + np.arange(shape[-1], dtype=np.float32))
    mean, variance = (a.numpy() for a in native.moments(x))
    np.testing.assert_array_equal(mean, np.broadcast_to(x.reshape(shape[0], -1, shape[-1])[:, 0], mean.shape))
    np.testing.assert_array_equal(variance, 0)
    offset = np.random.default_rng(0).standard_normal(mean.shape).astype(np.float32)
    y = native.apply(x, mean, np.full_like(mean, 316.2), offset, relu=False).numpy()
    np.testing.assert_array_equal(flat(y), np.broadcast_to(offset[:, None], flat(y).shape))


def test_the_gradients_mask_is_the_forward_passes_own():
    """Pre-activations of a few rounding errors: wherever y > 0, and only there, dy passes."""
    dy, x, mean, scale, *_ = arguments((1, 64, 64, 16), mean=3)
    x = np.round(x, 1)
    offset = (-scale * (np.float32(3.1) - mean)).astype(np.float32)  # so that x = 3.1 is nearly 0
    y = native.apply(x, mean, scale, offset, relu=True).numpy()
    one, none = np.ones_like(dy), np.zeros_like(scale)
    dx = native.apply_gradient_input(one, x, mean, scale, offset, none, none, relu=True).numpy()
    np.testing.assert_array_equal(dx, np.where(y > 0, np.broadcast_to(scale[:, None, None], y.shape), 0))
    _, count = native.apply_gradient_sums(one, x, mean, scale, offset, relu=True)
    np.testing.assert_array_equal(count, (y > 0).sum((1, 2)))


def test_not_a_number_is_not_hidden():
    dy, x, *rest = arguments((2, 8, 8, 16))
    x[1, 3, 3, 5] = np.nan
    mean, variance = (a.numpy() for a in native.moments(x))
    y = native.apply(x, *rest[:3], relu=True).numpy()
    for array in (mean, variance, y.max((1, 2))):
        assert np.isnan(array[1, 5]) and np.isnan(array).sum() == 1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_poisoned_memory_never_shows(shape):
    """Outputs are written in full even where the allocator hands back memory full of NaN."""
    args = [tf.constant(a) for a in arguments(shape)]
    reference = [*native.moments(args[1]), *results(*args, True)]
    for _ in range(3):
        poison = [tf.fill(r.shape, np.nan) for r in reference for _ in range(4)]
        poison += [tf.fill([64, 2, 256], tf.constant(np.nan, tf.float64)) for _ in range(4)]
        del poison
        for a, r in zip([*native.moments(args[1]), *results(*args, True)], reference, strict=True):
            np.testing.assert_array_equal(a, r)


def test_inputs_survive_and_unaligned_memory_is_read():
    args = arguments((3, 9, 9, 5))
    tensors = [tf.constant(a) for a in args]
    whole = [tf.constant(np.concatenate([a[:1], a])) for a in args]
    slices = [w[1:] for w in whole]  # share the buffer, at an odd address
    for relu in (False, True):
        for a, b in zip(results(*tensors, relu), results(*slices, relu), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, t in zip(args, tensors, strict=True):
        np.testing.assert_array_equal(a, t)


def test_in_a_graph_with_unknown_shapes():
    args = arguments((2, 6, 6, 16))
    spec = tf.TensorSpec([None] * 4, tf.float32)
    seen = []

    @tf.function(input_signature=[spec])
    def chain(x):
        x = x + 0.0  # a buffer of the graph's own, which apply may overwrite
        mean, variance = native.moments(x)
        y = native.apply(x, mean, variance, mean, relu=True)
        seen.extend([mean.shape.rank, y.shape.rank])
        return native.apply(y, mean, variance, mean, relu=False)

    mean, variance = native.moments(args[1])
    y = native.apply(args[1], mean, variance, mean, relu=True)
    np.testing.assert_array_equal(chain(args[1]), native.apply(y, mean, variance, mean, relu=False))
    assert seen == [2, 4]


@pytest.mark.parametrize("broken", range(1, 7))
def test_wrong_shapes_are_refused(broken):
    args = arguments((2, 6, 6, 16))
    args[broken] = args[broken][..., :-1]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be \[2,"):
        native.apply_gradient_input(*args, relu=True)
    graph = tf.function(lambda *a: native.apply_gradient_input(*a, relu=True))
    with pytest.raises(ValueError, match="must be equal"):
        graph(*args)


def test_a_vector_is_no_feature_map():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"x must be \[N, ..., C\]"):
        native.moments(np.zeros(4, np.float32))


# ---- Processes of their own

PRELUDE = """
import os, sys, warnings
sys.path.insert(0, {root!r})
import numpy as np, tensorflow as tf
from ilnrepro.norms.kernels import native
"""
REPORT = PRELUDE + """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    answers = {{native.available() for _ in range(3)}}
caught = [str(w.message) for w in caught if "native kernels" in str(w.message)]
print(*answers, len(caught), *caught, sep="|")
if answers == {{True}}:
    assert native.moments(np.ones((1, 2, 3), np.float32))[0].shape == (1, 3)
"""
DIGEST = PRELUDE + """
import hashlib
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
digest = hashlib.sha256()
for shape in [(1, 256, 256, 16), (3, 100, 90, 17), (16, 16, 16, 256), (2, 300, 300, 3)]:
    dy, x = (np.random.default_rng(i).standard_normal(shape).astype("float32") + 5 for i in range(2))
    mean, variance = native.moments(x)
    for _ in range(3):
        for result in (
            mean, variance, native.apply(x, mean, variance, mean, True),
            *native.apply_gradient_sums(dy, x, mean, variance, mean, True),
            native.apply_gradient_input(dy, x, mean, variance, mean, mean, variance, True),
        ):
            digest.update(result.numpy().tobytes())
print(digest.hexdigest())
"""


def start(script, *args, **environment):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen(
        [sys.executable, "-c", script.format(root=str(ROOT)), *map(str, args)],
        env=environment, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


def output(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out.strip()


@pytest.mark.slow
def test_the_number_of_threads_does_not_change_a_bit():
    native.build()
    one, two = (start(DIGEST, threads) for threads in (1, 2))
    assert output(one) == output(two)


@pytest.fixture
def compiler(tmp_path):
    """A $CXX for tests of the cache: compiles nothing; notes each linking, for which it copies the real library, a
    second after $BUILDERS processes (default: 1) asked for its version."""
    script = tmp_path / "bin" / "c++"
    script.parent.mkdir()
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *--version*) echo >> {tmp_path}/bin/asked; exec {COMPILER} --version;; esac\n'
        'case "$*" in *-shared*) ;; *) exit;; esac\n'
        f"echo compiled >> {tmp_path}/bin/log\n"
        'while [ "$1" != -o ]; do shift; done\n'
        f'until [ $(wc -l < {tmp_path}/bin/asked) -ge ${{BUILDERS:-1}} ]; do sleep 0.1; done\n'
        f'sleep 1; exec cp {native.build()} "$2"\n'
    )
    script.chmod(0o755)
    return script


def compilations(compiler):
    log = compiler.with_name("log")
    return len(log.read_text(encoding="utf-8").split()) if log.exists() else 0


def libraries(folder):
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


@pytest.mark.slow
def test_two_processes_build_once_and_a_third_not_at_all(tmp_path, compiler):
    folder = tmp_path / "new" / "cache"
    environment = {"ILNREPRO_CACHE": str(folder), "CXX": str(compiler)}
    both = [start(REPORT, **environment, BUILDERS="2") for _ in range(2)]
    assert [output(process) for process in both] == ["True|0", "True|0"]
    assert compilations(compiler) == 1
    assert output(start(REPORT, **environment)) == "True|0"
    assert compilations(compiler) == 1
    assert len(libraries(folder)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "not a library"])
def test_a_damaged_library_is_rebuilt(monkeypatch, tmp_path, compiler, damage):
    """Truncated, which its digest tells; and intact by its digest but useless, which loading it tells."""
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("ILNREPRO_CACHE", str(tmp_path / "cache"))
    library = native.build()
    if damage == "truncated":
        library.write_bytes(library.read_bytes()[:5000])
    else:
        key, digest = library.name.split("-")[1], hashlib.sha256(b"no library").hexdigest()[:16]
        library.rename(library.with_name(f"native-{key}-{digest}.so")).write_bytes(b"no library")
    assert output(start(REPORT)) == "True|0"
    assert compilations(compiler) == 2
    assert libraries(library.parent) == [library.name]


def test_the_key_follows_what_the_code_depends_on(monkeypatch, tmp_path):
    monkeypatch.delenv("ILNREPRO_MARCH", raising=False)
    _, key = native._compiler_and_key()
    changes = {
        "_SOURCES": tmp_path,
        "_UNITS": native._UNITS[:1],
        "_FLAGS": [*native._FLAGS, "-g"],
        "_cpu": lambda: "another",
    }
    (tmp_path / "other.cc").write_text("other", encoding="utf-8")
    keys = {key}
    for name, value in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(native, name, value)
            keys.add(native._compiler_and_key()[1])
    with monkeypatch.context() as patch:
        patch.setattr(tf.version, "VERSION", "0.0")
        keys.add(native._compiler_and_key()[1])
    for march in ("x86-64-v3", "x86-64"):
        monkeypatch.setenv("ILNREPRO_MARCH", march)
        command, other = native._compiler_and_key()
        assert f"-march={march}" in command and "-march=native" not in command
        monkeypatch.setattr(native, "_cpu", lambda: "another")  # which a named instruction set does not depend on
        assert native._compiler_and_key()[1] == other
        keys.add(other)
    assert len(keys) == 8


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the names are those of x86-64")
def test_a_named_instruction_set_is_compiled_for(tmp_path):
    script = PRELUDE + "print(native.instruction_set())"
    assert output(start(script, ILNREPRO_MARCH="x86-64")) == "SSE2"
    assert output(start(REPORT, ILNREPRO_MARCH="no-such", ILNREPRO_CACHE=str(tmp_path))).startswith("False|1|")


@pytest.mark.slow
def test_a_broken_compiler_is_one_warning(tmp_path):
    compilers = ["/bin/false", "/no/such/compiler"]
    for compiler, process in [(c, start(REPORT, ILNREPRO_CACHE=str(tmp_path), CXX=c)) for c in compilers]:
        answer, warned, message = output(process).split("|")
        assert (answer, warned) == ("False", "1")
        assert compiler in message and "$CXX" in message


def test_a_compiler_that_refuses_the_source_is_quoted(monkeypatch, tmp_path):
    (tmp_path / "library.cc").write_text("#error is this C++\n", encoding="utf-8")
    (tmp_path / "arithmetic.cc").write_text("int x;\n", encoding="utf-8")
    monkeypatch.setattr(native, "_SOURCES", tmp_path)
    monkeypatch.setenv("ILNREPRO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(native.BuildError, match=r"(?s)failed \(exit 1\).*is this C\+\+"):
        native.build()
    assert libraries(tmp_path / "cache") == []


def test_no_compiler_on_the_path(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/no/such/folder")
    with pytest.raises(native.BuildError, match="no C\\+\\+ compiler"):
        native.build()


@pytest.mark.slow
def test_an_unwritable_cache_folder_falls_back(tmp_path, compiler):
    """A path below a file can be made by nobody, not by root. The private folder is removed at the end."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = start(REPORT, ILNREPRO_CACHE=str(compiler / "cache"), TMPDIR=str(scratch), CXX=str(compiler))
    answer, warned, message = output(process).split("|")
    assert (answer, warned, compilations(compiler)) == ("True", "1", 1)
    assert "cannot be written" in message and "$ILNREPRO_CACHE" in message
    assert not list(scratch.glob("ilnrepro-*"))


def test_the_cache_folder_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("ILNREPRO_CACHE", str(tmp_path / "own"))
    assert native._cache_folder() == tmp_path / "own"
    monkeypatch.delenv("ILNREPRO_CACHE")
    assert native._cache_folder() == tmp_path / "xdg" / "ilnrepro"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert native._cache_folder() == pathlib.Path.home() / ".cache" / "ilnrepro"
