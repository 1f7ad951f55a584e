"""Run files in, pictures out."""

import ilnrepro  # noqa: F401  first of all, so that TensorFlow loads quietly
