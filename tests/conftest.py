"""Fixtures of several test files: the kernels and forms of a layer."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded

from unittest import mock

import pytest
import tensorflow as tf
import tiny
from layers import form_of, seldom
from tensorflow.python.framework import ops

from ilnrepro.norms import fused, kernels

# Started in the background, tests are deaf to Ctrl-C or to a hang-up, and all that they start would be.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The fused form by its kernels; TensorFlow's, which every method's values are tested on, and not all else of it.
FORMS = seldom(["reference", "tensorflow", "native"], ["reference", "native"])


@pytest.fixture
def use():
    """`kernels.use`, undone after the test. It skips the test where native kernels are asked for and cannot be
    built."""
    def choose(choice):
        if choice == "native" and not kernels.native.available():
            pytest.skip("no native kernels here")
        kernels.use(choice)

    yield choose
    kernels.use("auto")


@pytest.fixture(scope="module")
def uncompiled():
    """Rules are not compiled, which would take time for each number of channels; other functions are graphs as ever."""
    with mock.patch.object(fused, "_compiled", tiny.uncompiled):
        yield


@pytest.fixture
def eagerly():
    """No function is compiled, which would take time for each shape; the arithmetic is the same."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module", autouse=True)
def graphs_forgotten():
    """Lets go of a file's graphs and their variables, which TensorFlow's register of custom gradients would keep for
    good (tensorflow/tensorflow#27492)."""
    yield
    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]


@pytest.fixture(params=FORMS)
def compiled_form(request, use):
    """The name of a layer's form: the reference, and the fused form on each of the kernels with its rule compiled."""
    return form_of(request.param, use)


@pytest.fixture
def form(compiled_form, eagerly):
    """As `compiled_form` with nothing compiled, for all tests but those of compilation."""
    return compiled_form
