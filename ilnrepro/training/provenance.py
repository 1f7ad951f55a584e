"""What made a run: versions, machine, kernels, date and commit."""

import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from ilnrepro import __version__, tf
from ilnrepro.networks import convolutions
from ilnrepro.norms import kernels
from ilnrepro.training.process import uses_xla

try:
    import resource
except ImportError:  # Windows
    resource = None


def provenance(protocol):
    """What made a run: versions, machine class, kernels, date and commit."""
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "numpy", "h5py")}
    gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
            for gpu in tf.config.list_physical_devices("GPU")]
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    chosen = kernels.chosen()
    return {"date": now, "python": platform.python_version(), "system": platform.system(),
            "processor": platform.machine(), "gpu": ", ".join(gpus) or "none",
            "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "kernels": chosen, "instruction_set": kernels.native.instruction_set() if chosen == "native" else "none",
            "convolutions": convolutions.chosen(protocol.form), "onednn": _uses_onednn(), "xla": uses_xla(protocol),
            "ilnrepro": __version__, "commit": _commit(), **versions}


def peak_bytes():
    """The most memory that this process has held: of its first GPU where TensorFlow has one, else of the machine's; 0
    where the system does not tell."""
    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def _uses_onednn():
    """Whether TensorFlow computes by oneDNN, which $TF_ENABLE_ONEDNN_OPTS and the processor decide.

    TensorFlow itself has no public word for it; `test_runs.py` notices if this one goes.
    """
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def _commit():
    """The checkout's; a package installed inside somebody else's repository is not in their commit, and has none."""
    here = Path(__file__)
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD", f"HEAD:./{here.name}"], cwd=here.parent,
                               capture_output=True, encoding="utf-8")
    except OSError:
        return "unknown"
    return found.stdout.split()[0] if found.returncode == 0 else "unknown"
