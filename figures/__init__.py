"""Run files in, pictures and a report out."""

import ilnrepro  # noqa: F401  first of all, so that TensorFlow loads quietly
