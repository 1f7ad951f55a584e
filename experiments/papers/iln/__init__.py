"""Zhou et al., MMMI 2019: U-Net Training with Instance-Layer Normalization."""
