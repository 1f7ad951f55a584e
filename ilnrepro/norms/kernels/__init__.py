"""The four streaming kernels of a normalization, which do all work on feature maps, in two forms.

The form `tensorflow` runs anywhere. The form `native` (C++, float32 and float64 on the CPU) reads and writes each
feature map once.
"""

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.norms.kernels import native
from ilnrepro.norms.kernels import tensorflow as portable

CHOICES = ("auto", "native", "tensorflow")
_choice = "auto"


def use(choice):
    """Sets the kernels of all layers traced from now on: 'native', 'tensorflow', or 'auto'.

    'auto' takes the native kernels on a CPU with a compiler, and TensorFlow's elsewhere.
    """
    global _choice
    if choice not in CHOICES:
        raise InputError(f"kernels: {choice!r} is unknown; choose one of {', '.join(CHOICES)}")
    _choice = choice


def in_use():
    """The name of the kernels in use, 'native' or 'tensorflow'.

    Raises:
      InputError: 'native' was asked for by name and cannot be had.
    """
    if _choice == "tensorflow" or (_choice == "auto" and tf.config.list_physical_devices("GPU")):
        return "tensorflow"
    if native.available():
        return "native"
    if _choice == "native":
        raise InputError("kernels: native kernels cannot be built here; install a C++ compiler or choose 'tensorflow'")
    return "tensorflow"


def module_for(x):
    """The module whose `moments`, `apply`, ... suit the feature map `x`. Where XLA compiles, it is TensorFlow's."""
    if in_use() == "native" and x.dtype in (tf.float32, tf.float64) and not _for_xla():
        return native
    return portable


def _for_xla():
    from tensorflow.python.ops import control_flow_util  # there is no public function for it

    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph())
