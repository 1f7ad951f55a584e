"""Clocks: what training steps, epochs, runs and whole grids cost."""
