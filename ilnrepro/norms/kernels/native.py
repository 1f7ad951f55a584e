"""The four streaming kernels and the convolutions as native CPU operations in C++, compiled on this machine and cached.

A feature map `x` is `[N, ..., C]`, float32 or float64, with `P` pixels an instance; coefficients are
`[N, C]`. The affine map is centred, `scale·(x − mean) + offset`, and with `relu` rectified. Results are the
same bits for any number of threads.

The library is built on first use and kept in `$ILNREPRO_CACHE`, else `$XDG_CACHE_HOME/ilnrepro`, else
`~/.cache/ilnrepro`. The compiler is `$CXX`, else `c++`, else `g++`. It compiles for this processor, or for the
`-march` that `$ILNREPRO_MARCH` names: `x86-64-v3` gives all processors with AVX2 the same bits, which a cluster of
different machines needs.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

from ilnrepro import tf

try:
    import fcntl
except ImportError:  # Windows, where two processes may build at once: the last one wins, harmlessly
    fcntl = None

_SOURCES = pathlib.Path(__file__).parent
_UNITS = (["library.cc"], ["arithmetic.cc", "-DILN_TYPE=float"], ["arithmetic.cc", "-DILN_TYPE=double"])
_FLAGS = ["-fPIC", "-O3", "-ffp-contract=fast"]
_lock = threading.RLock()


class BuildError(RuntimeError):
    """The native kernels cannot be compiled or loaded here; the message says why."""


def moments(x):
    """Mean and population variance over the pixels of each instance and channel.

    `mean = Σ x / P` and `variance = Σ (x − mean)² / P`, both `[N, C]`; NaN where `P` is 0. A constant channel
    gives exactly its value and exactly 0.
    """
    return _library().iln_moments(x=x)


def apply(x, mean, scale, offset, relu):
    """`y = relu(scale·(x − mean) + offset)`, or without `relu` its argument, of the shape of `x`."""
    return _library().iln_apply(x=x, mean=mean, scale=scale, offset=offset, relu=relu)


def apply_gradient_sums(dy, x, mean, scale, offset, relu):
    """`dscale = Σ g·(x − mean)` and `doffset = Σ g`, both `[N, C]`.

    `g` is the gradient `dy` (shape of `x`) where the argument of `apply`'s ReLU is positive and 0 elsewhere;
    without `relu`, it is `dy`.
    """
    return _library().iln_apply_gradient_sums(dy=dy, x=x, mean=mean, scale=scale, offset=offset, relu=relu)


def apply_gradient_input(dy, x, mean, scale, offset, dmean, dvariance, relu):
    """`dx = scale·g + (dmean + 2·dvariance·(x − mean)) / P`, of the shape of `x`, with `g` as above.

    `dmean` and `dvariance` `[N, C]` are total derivatives: by every path from the two moments to the loss,
    the subtraction of the mean in `apply` included.
    """
    return _library().iln_apply_gradient_input(
        dy=dy, x=x, mean=mean, scale=scale, offset=offset, dmean=dmean, dvariance=dvariance, relu=relu
    )


def convolution(x, filters, stride=1, dilation=1, flipped=False):
    """The convolution `[N, (D,) H, W, K]` of feature maps x `[N, (D,) H, W, C]` by filters `[(D,) H, W, C, K]`, "SAME".

    The stride must divide the sides of x and not exceed those of the filters; one of stride and dilation is 1.
    `flipped` is the transpose, the gradient by x: it maps `K` channels to `C`, and sides to `stride` times them.
    Differentiable any number of times.
    """
    return _library().iln_convolution(x=[x], filters=filters, maps=[], statistics=0, stride=stride, dilation=dilation,
                                      flipped=flipped).y


def convolution_filter_gradient(x, dy, taps, stride=1, dilation=1):
    """The gradient of `convolution` by its filters, whose sides are the list `taps`, for a gradient dy of its value."""
    return _library().iln_convolution_filter_gradient(x=x, dy=dy, map=[], taps=taps, stride=stride, dilation=dilation)


def convolution_of_maps(sources, filters, moments=False, stride=1, dilation=1, flipped=False):
    """(the `convolution` of feature maps, side by side by their channels; its moments `[N, K]`, or an empty list).

    Differentiable once, the moments not at all.

    Args:
      sources: a list of `Unapplied` maps, or one tensor that is convolved as it is.
      moments: whether to give mean and variance over the pixels of what is computed.
    """
    mapped = isinstance(sources, list)
    return _library().iln_convolution(
        x=[source.x for source in sources] if mapped else [sources], filters=filters,
        maps=[c for source in sources for c in source[1:]] if mapped else [], statistics=2 if moments else 0,
        stride=stride, dilation=dilation, flipped=flipped)


def max_pool(source):
    """The maximum over 2×2 pixels of an `Unapplied` map of images; differentiable once."""
    return _library().iln_max_pool(x=source.x, mean=source.mean, scale=source.scale, offset=source.offset)


@functools.cache
def available():
    """Whether the native kernels work here. It builds them if necessary; if that fails, it warns once and says why."""
    try:
        _library()
    except BuildError as error:
        warnings.warn(
            f"the native kernels are not available, the TensorFlow kernels do the work (slower): {error}\n"
            "To get them, install a C++17 compiler (g++ or clang++), or name one in $CXX.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


@functools.cache
def instruction_set():
    """The instruction set that the library was compiled for: 'AVX-512', 'AVX2 with FMA', 'SSE2', ...

    Raises BuildError where there are no native kernels.
    """
    _library()
    name = ctypes.CDLL(str(build())).iln_instruction_set
    name.restype = ctypes.c_char_p
    return name().decode()


def build():
    """Compiles the library unless an intact one is in the cache, and returns its path.

    Raises BuildError when there is no compiler or when it fails. Processes that build at the same time wait
    for one another, and only the first compiles. A cache folder that cannot be written is replaced, with a
    warning, by a temporary folder of this process.
    """
    with _lock:
        compiler, key = _compiler_and_key()
        folder = _cache_folder()
        if library := _find(folder, key):
            return library
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / f"native-{key}.lock"):
                return _find(folder, key) or _compile(compiler, folder, key)
        except OSError as error:
            warnings.warn(
                f"the cache folder {folder} cannot be written ({error.strerror}), so the native kernels are "
                "built for this process only; set $ILNREPRO_CACHE to a folder that can be.",
                RuntimeWarning,
                stacklevel=2,
            )
            folder = _private_folder()
            return _find(folder, key) or _compile(compiler, folder, key)


@functools.cache
def _load():
    """The loaded library, or the BuildError that prevents it; neither is tried twice."""
    try:
        path = build()
        try:
            library = tf.load_op_library(str(path))
        except (tf.errors.OpError, OSError, RuntimeError):  # intact, but not for this TensorFlow
            path.unlink()
            library = tf.load_op_library(str(build()))
        tf.RegisterGradient("IlnConvolution")(_convolution_gradient)
        tf.RegisterGradient("IlnMaxPool")(_max_pool_gradient)
        tf.RegisterGradient("IlnConvolutionFilterGradient")(_filter_gradient_gradient)
        return library
    except BuildError as error:
        return error
    except (tf.errors.OpError, OSError, RuntimeError) as error:
        return BuildError(
            f"the compiled library cannot be loaded ({error}); if the cache folder forbids executables, "
            "set $ILNREPRO_CACHE to another"
        )


def _convolution_gradient(op, dy, *_):
    """The gradients of a convolution by its sources and filters, in which it is linear, and by the sources' maps."""
    sources, flipped = op.get_attr("sources"), op.get_attr("flipped")
    xs, filters, maps = op.inputs[:sources], op.inputs[sources], op.inputs[sources + 1:]
    kind = {"stride": op.get_attr("stride"), "dilation": op.get_attr("dilation")}
    taps = filters.shape[:-2].as_list()
    if not maps:
        large, small = (dy, xs[0]) if flipped else (xs[0], dy)
        return (convolution(dy, filters, **kind, flipped=not flipped),
                convolution_filter_gradient(large, small, taps, **kind))
    by_x, by_filters, by_maps, begin = [], [], [], 0
    for i, x in enumerate(xs):
        mean, scale, offset = maps[3 * i:3 * i + 3]
        dx, dscale, doffset = _library().iln_convolution_gradient(
            dy=dy, filters=filters, x=x, mean=mean, scale=scale, offset=offset, **kind, flipped=flipped, begin=begin)
        large, small = (dy, x) if flipped else (x, dy)
        by_filters.append(_library().iln_convolution_filter_gradient(
            x=large, dy=small, map=[mean, scale, offset], taps=taps, **kind, flipped=flipped))
        by_x.append(dx)
        by_maps += [None, dscale, doffset]
        begin += x.shape[-1]
    return *by_x, by_filters[0] if len(xs) == 1 else tf.concat(by_filters, -1 if flipped else -2), *by_maps


def _max_pool_gradient(op, dy):
    x, mean, scale, offset = op.inputs
    dx, dscale, doffset = _library().iln_max_pool_gradient(dy=dy, x=x, mean=mean, scale=scale, offset=offset)
    return dx, None, dscale, doffset


def _filter_gradient_gradient(op, dfilters):
    x, dy = op.inputs
    kind = {"stride": op.get_attr("stride"), "dilation": op.get_attr("dilation")}
    return convolution(dy, dfilters, **kind, flipped=True), convolution(x, dfilters, **kind)


def _library():
    with _lock:
        library = _load()
    if isinstance(library, BuildError):
        raise library
    return library


def _compiler_and_key():
    """The compiler's command, and a digest of all that the library's code depends on."""
    command = shlex.split(os.environ.get("CXX", ""))
    if not command:
        command = [next(filter(shutil.which, ["c++", "g++"]), None)]
        if command == [None]:
            raise BuildError("there is no C++ compiler: neither c++ nor g++ is on the path")
    version = _run([*command, "--version"])
    march = os.environ.get("ILNREPRO_MARCH") or "native"
    command += [*_FLAGS, f"-march={march}", *tf.sysconfig.get_compile_flags()]
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".cc", ".h"))
    parts = [path.read_text(encoding="utf-8") for path in sources]
    parts += [tf.version.VERSION, tf.version.GIT_VERSION, repr(_UNITS), *command, version]
    parts += [_cpu()] if march == "native" else []
    parts += tf.sysconfig.get_link_flags()
    return command, hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _cpu():
    """A text on the processor, on which `-march=native` depends."""
    cpu = f"{platform.system()} {platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu += next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return cpu


def _cache_folder():
    if folder := os.environ.get("ILNREPRO_CACHE"):
        return pathlib.Path(folder)
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "ilnrepro"


@functools.cache
def _private_folder():
    folder = tempfile.TemporaryDirectory(prefix="ilnrepro-")
    _private_folder.keep = folder  # removed when the process ends
    return pathlib.Path(folder.name)


def _find(folder, key):
    """The cached library of a key, if it is what the compiler wrote: its name ends in its own digest."""
    with contextlib.suppress(OSError):
        for path in sorted(folder.glob(f"native-{key}-*.so")):
            if path.stem.endswith(_digest(path)):
                return path
    return None


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@contextlib.contextmanager
def _locked(path):
    with open(path, "w") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(compiler, folder, key):
    print("compiling the native kernels for this processor, which is done once", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
        output = pathlib.Path(scratch, "native.so")
        undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []

        def compile_unit(number):
            source, *definitions = _UNITS[number]
            _run([*compiler, *definitions, "-c", str(_SOURCES / source), "-o", f"{scratch}/{number}.o"])
            return f"{scratch}/{number}.o"

        with ThreadPoolExecutor(min(len(_UNITS), os.cpu_count() or 1)) as pool:
            objects = list(pool.map(compile_unit, range(len(_UNITS))))
        _run([*compiler, "-shared", *objects, "-o", str(output), *undefined, *tf.sysconfig.get_link_flags()])
        for corrupt in folder.glob(f"native-{key}-*.so"):
            corrupt.unlink(missing_ok=True)
        library = folder / f"native-{key}-{_digest(output)}.so"
        os.replace(output, library)
    return library


def _run(command):
    """Runs the compiler without output and returns its output; raises BuildError with its errors if it fails."""
    try:
        # The compiler has a session of its own: if Ctrl-C ended it, the run would go on with other kernels.
        result = subprocess.run(command, encoding="utf-8", errors="replace", capture_output=True,
                                start_new_session=True)
    except OSError as error:
        raise BuildError(f"the C++ compiler {command[0]!r} cannot be run ({error.strerror})") from error
    if result.returncode:
        lines = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line] or lines
        failure = f"the C++ compiler {command[0]!r} failed (exit {result.returncode})"
        raise BuildError("\n".join([failure, *errors[:5]]))
    return result.stdout
