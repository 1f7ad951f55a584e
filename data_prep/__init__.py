"""Raw sources in, one HDF5 data set out."""
