"""The clock of several measurements, and descriptions of the machine."""

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


def in_turns(works, rounds, title):
    """Calls some functions in turns and measures their time, so that all meet the machine in the same state.

    Args:
      works: {name: function}.
      rounds: how often each is called.
      title: of the progress bar; None shows no bar.

    Returns:
      {name: [seconds in each round]}.
    """
    seconds = {name: [] for name in works}
    with Progress(console=Console(stderr=True), disable=title is None) as bar:
        task = bar.add_task(title or "", total=rounds * len(works))
        for _ in range(rounds):
            for name, work in works.items():
                started = time.perf_counter()
                work()
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


VECTORS = {"avx512": ("avx512f", "AVX-512"), "avx2": ("avx2", "AVX2")}  # the flag of each kind, and its name


def processor():
    """The kind of this processor, by which measurements lie: of `VECTORS` the widest it has, or the machine's name."""
    if Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        for kind, (flag, _) in VECTORS.items():
            if flag in flags:
                return kind
    return platform.machine()


def machine():
    """{name: value} of the machine in general terms, and of the versions of Python, TensorFlow, Keras and PyTorch."""
    kind = processor()
    model = f"{platform.machine()}, {VECTORS[kind][1]}" if kind in VECTORS else kind
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "torch")
                if importlib.util.find_spec(name)}
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system(),
            "python": platform.python_version(), **versions}
