"""Data preparation: raw sources are read, checked, and written as one HDF5 data set."""
