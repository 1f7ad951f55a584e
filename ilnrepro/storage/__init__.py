"""What is kept on disk: data sets, run files, checkpoints; written whole, sealed by checksums, checked when read."""
