"""The set-up of a training process, before it uses TensorFlow: threads, determinism, kernels."""

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.norms import kernels


def set_up(configuration):
    """Sets this process's threads, determinism and kernels; call it before anything else uses TensorFlow.

    On a GPU, memory grows as needed and float32 stays float32 (no TF32).

    Raises:
      InputError: TensorFlow is in use already, with other threads.
    """
    protocol = configuration.protocol
    try:
        tf.config.threading.set_intra_op_parallelism_threads(protocol.threads)
        tf.config.threading.set_inter_op_parallelism_threads(protocol.threads)
    except RuntimeError as error:
        raise InputError(f"threads: TensorFlow is in use in this process already, and cannot be set to "
                         f"{protocol.threads} of them any more; train first, or in a process of its own") from error
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()
    kernels.use("tensorflow" if uses_xla(protocol) else protocol.kernels)


def uses_xla(protocol):
    """Whether the training step is compiled by XLA: 'auto' does so where TensorFlow sees a GPU."""
    return protocol.xla == "on" or (protocol.xla == "auto" and bool(tf.config.list_physical_devices("GPU")))
