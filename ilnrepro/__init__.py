"""Normalizations for segmentation networks, compared honestly and run fast.

A TensorFlow low-level reproduction of Zhou et al., "U-Net Training with Instance-Layer Normalization", MMMI 2019.
"""

import os

__version__ = "0.1.0"


def _import_tensorflow_quietly():
    """TensorFlow's libraries print to standard error as they load, whatever the log level; errors still raise."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    before = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(silence)


_import_tensorflow_quietly()
