"""Faults that runs, grids and files must survive; see `__main__`."""
