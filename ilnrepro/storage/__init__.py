"""The files on disk: data sets, run files, checkpoints; written whole, sealed by checksums, checked on reading."""
