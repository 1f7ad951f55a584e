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

try:
    import resource
except ImportError:  # Windows
    resource = None


def provenance(protocol):
    """{name: value} of the versions, machine, kernels, date and commit of a run."""
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


def peak_bytes():
    """The peak memory of this process in bytes: of its first GPU if there is one, else of the machine; 0 if unknown."""
    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def _uses_onednn():
    """Whether TensorFlow computes by oneDNN, which $TF_ENABLE_ONEDNN_OPTS and the processor decide.

    TensorFlow has no public function for it; `test_runs.py` fails if this private one is removed.
    """
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def _commit():
    """The commit of the checkout, with 'modified' where the package differs from it; or 'unknown'.

    It is unknown for a package that lies in another repository, whose commit lacks it or has it in another place.
    """
    package = Path(__file__).resolve().parents[1]
    relative = Path(__file__).resolve().relative_to(package.parent).as_posix()

    def git(*words):
        done = subprocess.run(["git", *words], cwd=package.parent, capture_output=True, encoding="utf-8", check=True)
        return done.stdout

    try:
        commit, _, top = git("rev-parse", "HEAD", f"HEAD:{relative}", "--show-toplevel").splitlines()
        if Path(top) != package.parent:
            return "unknown"
        return commit + " modified" * bool(git("status", "--porcelain", "--", package.name))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
