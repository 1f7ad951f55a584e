"""Trained networks in use: images in, masks out."""
