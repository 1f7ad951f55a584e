"""The clock that measurements share, and descriptions of the machine."""

import importlib.metadata
import importlib.util
import os
import platform
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ilnrepro import tf
from ilnrepro.norms import kernels


def time_in_turns(functions, rounds, title):
    """Times functions that take turns, so that all meet the machine in the same state.

    Args:
      functions: {name: function}.
      rounds: number of calls of each.
      title: of the progress bar; None shows no bar.

    Returns:
      {name: [seconds in each round]}.
    """
    seconds = {name: [] for name in functions}
    with Progress(console=Console(stderr=True), disable=title is None) as bar:
        task = bar.add_task(title or "", total=rounds * len(functions))
        for _ in range(rounds):
            for name, function in functions.items():
                started = time.perf_counter()
                function()
                seconds[name].append(time.perf_counter() - started)
                bar.advance(task)
    return seconds


def device():
    """{name: value} of the device, threads, kernels and TensorFlow of a measurement."""
    gpus = tf.config.list_physical_devices("GPU")
    return {"threads": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
            "kernels": kernels.in_use(),
            "device": "GPU" if gpus else f"CPU ({platform.machine()}, {os.cpu_count()} cores)",
            "tensorflow": tf.__version__}


VECTORS = {"avx512": ("avx512f", "AVX-512"), "avx2": ("avx2", "AVX2")}  # {kind: (flag, name)}, widest first


def processor():
    """The kind of this processor, which names the folder of its measurements: a key of `VECTORS`, or the machine."""
    if Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        for kind, (flag, _) in VECTORS.items():
            if flag in flags:
                return kind
    return platform.machine()


def _model():
    """The processor's name with its family and model, which tell apart what one marketing name covers."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    field = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not {"model name", "cpu family", "model"} <= field.keys():
        return platform.machine()
    return f"{field['model name']} (family {field['cpu family']}, model {field['model']})"


def machine():
    """{name: value} of the machine in general terms, and of the versions of Python, TensorFlow, Keras and PyTorch."""
    kind = processor()
    model = f"{_model()}, {VECTORS[kind][1]}" if kind in VECTORS else kind
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "torch")
                if importlib.util.find_spec(name)}
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system(),
            "python": platform.python_version(), **versions}
