"""Clocks that several measurements share, and what they ran on."""

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
    """Seconds of each of some works in each round, taken in turns, so that all meet the same machine.

    Args:
      works: functions by name.
      title: of the progress bar; None shows none.

    Returns:
      {name: [seconds, one a round]}.
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
    """What the measurement ran on, in words and numbers."""
    gpus = tf.config.list_physical_devices("GPU")
    return {"threads": tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
            "kernels": kernels.chosen(),
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
    """The machine in general terms, and the versions."""
    kind = processor()
    model = f"{platform.machine()}, {VECTORS[kind][1]}" if kind in VECTORS else kind
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "torch")
                if importlib.util.find_spec(name)}
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system(),
            "python": platform.python_version(), **versions}
