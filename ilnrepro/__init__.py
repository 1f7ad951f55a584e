"""Normalizations for segmentation networks, compared honestly and run fast.

A TensorFlow low-level reproduction of Zhou et al., "U-Net Training with Instance-Layer Normalization", MMMI 2019.
"""

import os

__version__ = "0.1.0"


def set_up() -> None:
    """Lets TensorFlow compute by oneDNN, unless $TF_ENABLE_ONEDNN_OPTS says otherwise.

    Call it before TensorFlow is loaded; later it changes nothing. TensorFlow itself takes oneDNN only on processors
    with neural-network instructions, and elsewhere computes the gradients of small convolutions several times slower.
    Every command calls this; a run file's provenance says whether oneDNN was in use.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
