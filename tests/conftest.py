"""What several test files share: the forms of a layer."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded

from unittest import mock

import pytest
import tensorflow as tf
import tiny
from layers import form_of, seldom

from ilnrepro.norms import fused, kernels

# Started in the background, tests are deaf to Ctrl-C, and all that they start would be.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The fused form by its kernels; TensorFlow's, which every method's values are tested on, and not all else of it.
FORMS = seldom(["reference", "tensorflow", "native"], ["reference", "native"])


@pytest.fixture
def use():
    """`kernels.use`, undone after the test; a test of native kernels is skipped where there are none."""
    def choose(choice):
        if choice == "native" and not kernels.native.available():
            pytest.skip("no native kernels here")
        kernels.use(choice)

    yield choose
    kernels.use("auto")


@pytest.fixture(scope="module")
def uncompiled():
    """No rule waits for the compiler at every number of channels; functions are still graphs."""
    with mock.patch.object(fused, "_compiled", tiny.uncompiled):
        yield


@pytest.fixture
def eagerly():
    """No function is compiled: the same arithmetic, without a wait for the compiler at every shape."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(params=FORMS)
def compiled_form(request, use):
    """A layer's form, 'reference' or 'fused', the fused one on each of the kernels and its rule compiled."""
    return form_of(request.param, use)


@pytest.fixture
def form(compiled_form, eagerly):
    """The same with nothing compiled, which is right for all but the tests of compilation."""
    return compiled_form
