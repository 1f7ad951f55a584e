"""Measurements: the cost of steps, epochs, runs and grids, the benchmark, and how well intervals hold."""
