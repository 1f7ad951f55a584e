"""Normalizations for segmentation networks, compared honestly and run fast.

A TensorFlow low-level reproduction of Zhou et al., "U-Net Training with Instance-Layer Normalization", MMMI 2019.
"""

__version__ = "0.1.0"
