"""Normalizations for segmentation networks, compared honestly and run fast.

A TensorFlow low-level reproduction of Zhou et al., "U-Net Training with Instance-Layer Normalization", MMMI 2019.
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"
# The public interface: {name: its module}, loaded on first use. `__init__.pyi` lists it for type checkers.
_PUBLIC = {
    **dict.fromkeys(("LabelMap", "Scores", "Segmentation", "Segmenter", "Structures", "compare", "data_set", "ensemble",
                     "export", "read_data", "scores", "train", "write_data"), "ilnrepro.api"),
    "InputError": "ilnrepro.errors", "Normalization": "ilnrepro.norms", "replace": "ilnrepro.keras"}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ilnrepro' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])


def set_up() -> None:
    """Lets TensorFlow compute by oneDNN, unless $TF_ENABLE_ONEDNN_OPTS says otherwise.

    Call it before TensorFlow is loaded; later it changes nothing. TensorFlow itself takes oneDNN only on processors
    with neural-network instructions, and elsewhere computes the gradients of small convolutions several times slower.
    Every command calls this; a run file's provenance says whether oneDNN was in use.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
