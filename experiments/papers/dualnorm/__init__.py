"""Xiao et al. 2021: DualNorm-UNet."""
