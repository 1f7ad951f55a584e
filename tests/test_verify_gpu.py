"""`make verify-gpu` without a GPU says so."""

import pytest
import tensorflow as tf
import tiny


@pytest.mark.slow
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU here: run `make verify-gpu`")
def test_without_a_gpu_it_says_so_and_ends_with_2():
    done = tiny.process("experiments", "verify-gpu")
    assert done.returncode == 2 and "sees no GPU" in done.stderr and "Traceback" not in done.stderr
