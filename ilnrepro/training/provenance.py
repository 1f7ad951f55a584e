"""The provenance that a run file records: versions, machine, kernels, date and commit."""

import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from ilnrepro import __version__, tf
from ilnrepro.networks import convolutions
from ilnrepro.norms import kernels
from ilnrepro.training.process import uses_xla


def provenance(protocol):
    """{name: value} of the versions, machine class, kernels, date and commit with which a run is made."""
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "numpy", "h5py")}
    gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
            for gpu in tf.config.list_physical_devices("GPU")]
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    kernel = kernels.in_use()
    return {"date": now, "python": platform.python_version(), "system": platform.system(),
            "processor": platform.machine(), "gpu": ", ".join(gpus) or "none",
            "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "kernels": kernel, "instruction_set": kernels.native.instruction_set() if kernel == "native" else "none",
            "convolutions": convolutions.in_use(protocol.form), "onednn": _uses_onednn(), "xla": uses_xla(protocol),
            "ilnrepro": __version__, "commit": _commit(), **versions}


def _uses_onednn():
    """Whether TensorFlow computes by oneDNN, which $TF_ENABLE_ONEDNN_OPTS and the processor decide.

    TensorFlow has no public function that tells it; `test_runs.py` fails if this private one is removed.
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
