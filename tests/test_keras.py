"""The Keras layer: the same numbers, trained, saved and loaded by Keras's own means."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layers import seldom

from ilnrepro import norms
from ilnrepro.errors import InputError
from ilnrepro.keras import Normalization

METHODS = ["none", "bn", "in", "ln", "gn4", "brn", "sn", "bin", "bin-projected", "clip", "sigmoid", "softmax", "iln",
           "iln-clamped", "iln-unclamped"]


def features(channels=16, seed=0):
    return np.random.default_rng(seed).normal(2, 3, (4, 8, 8, channels)).astype(np.float32)


@pytest.mark.parametrize("method", seldom(METHODS, ["bn", "gn4", "brn", "sn", "bin", "softmax", "iln"]))
def test_same_numbers_as_the_library_s_own_layer(method):
    ours, theirs = norms.Normalization(method, 16, bias=0.0), Normalization(method)
    for training in (True, False):
        expected, found = ours(tf.constant(features()), training), theirs(features(), training=training)
        assert np.abs(expected - found).max() < 1e-5


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("method", seldom(["none", "bn", "in", "iln", "brn"], ["bn", "iln"]))
def test_computes_in_32_bits_where_the_model_computes_in_16(method, policy):
    x = np.random.default_rng(0).normal(2, 3, (2, 256, 256, 16)).astype(np.float32)  # its sums overflow 16 bits
    half = tf.cast(x, policy.partition("_")[2])
    wide, narrow = Normalization(method), Normalization(method, dtype=policy)
    expected = wide(tf.cast(half, tf.float32), training=True)
    with tf.GradientTape() as tape:
        tape.watch(half)
        found = narrow(half, training=True)
        loss = tf.reduce_sum(tf.cast(found[0, :8, :8], tf.float32))
    assert found.dtype == half.dtype and all(v.dtype == "float32" for v in narrow.weights)
    assert np.abs(tf.cast(found, tf.float32) - expected).max() < 0.05
    assert np.isfinite(tf.cast(tape.gradient(loss, half), tf.float32)).all()
    for a, b in zip(narrow.weights, wide.weights, strict=True):
        assert np.abs(a.numpy() - b.numpy()).max() < 1e-5


@pytest.mark.parametrize("method", ["bn", "brn", "sn"])
def test_a_frozen_layer_s_averages_stand_still(method):
    layer = Normalization(method)
    layer(features(), training=True)
    layer.trainable, before = False, [v.numpy() for v in layer.weights]
    y = layer(features(), training=True)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, layer.weights, strict=True))
    assert np.array_equal(y, layer(features(), training=False))


def model(method):
    x = inputs = keras.Input([None, None, 3])
    for channels in (16, 32):
        x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        x = Normalization(method, relu=True, name=f"norm{channels}")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


@pytest.mark.parametrize("method", seldom(["bn", "softmax", "iln", "brn", "bin-projected"], ["bn", "softmax"]))
def test_fits_saves_and_loads(method, tmp_path, uncompiled):
    keras.utils.set_random_seed(0)
    net = model(method)
    net.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 8, 8, 3)).astype(np.float32), rng.integers(0, 2, 16)
    x[y == 1, ..., 0] += 2
    before = {v.path: v.numpy() for v in net.variables}
    losses = net.fit(x, y, batch_size=8, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    still = [v.path for v in net.variables if np.array_equal(v.numpy(), before[v.path])]
    assert [p for p in still if "norm32" in p] == []  # in training every variable of the layer moves
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    assert np.array_equal(again.predict(x, verbose=0), net.predict(x, verbose=0))
    assert again.get_layer("norm32").get_config() == net.get_layer("norm32").get_config()


def test_takes_a_batch_normalization_s_place_in_a_finished_model():
    x = inputs = keras.Input([8, 8, 3])
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(16, 3)(x))
    theirs = keras.Model(inputs, x)
    ours = keras.models.clone_model(theirs, clone_function=lambda layer: Normalization(name="norm")
                                    if layer.name == "norm" else layer.__class__.from_config(layer.get_config()))
    assert isinstance(ours.get_layer("norm"), Normalization) and ours(np.ones([2, 8, 8, 3])).shape == (2, 6, 6, 16)
    with pytest.raises(InputError, match="mask"):
        Normalization()(features(), mask=tf.ones([4, 8]))


def test_options_are_kept_and_bad_ones_refused():
    layer = Normalization("iln8", epsilon=1e-12, frozen_gate=0.5, name="n")
    again = Normalization.from_config(layer.get_config())
    assert again.settings == layer.settings and again.method == "iln8" and again.name == "n"
    with pytest.raises(InputError, match="'foo' is unknown"):
        Normalization("foo")
    with pytest.raises(InputError, match="7 groups do not divide 16 channels"):
        Normalization("gn7")(features())
