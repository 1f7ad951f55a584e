"""What the papers did: grids of runs, tables, costs. Tables are made from run files alone."""

import ilnrepro  # noqa: F401  first of all, so that TensorFlow loads quietly
