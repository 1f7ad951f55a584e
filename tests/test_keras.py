"""The Keras layer: the same numbers, trained, saved, exported and put into finished models by Keras's own means."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from layers import seldom
from tensorflow.core.protobuf import saved_model_pb2

from ilnrepro import norms
from ilnrepro.errors import InputError
from ilnrepro.keras import Normalization, replace

METHODS = ["none", "bn", "in", "ln", "gn4", "brn", "sn", "bin", "bin-projected", "clip", "sigmoid", "softmax", "iln",
           "iln-clamped", "iln-unclamped"]


def features(channels=16, seed=0):
    return np.random.default_rng(seed).normal(2, 3, (4, 8, 8, channels)).astype(np.float32)


@pytest.mark.parametrize("method", seldom(METHODS, ["bn", "gn4", "brn", "sn", "bin", "softmax", "iln"]))
def test_same_numbers_as_the_library_s_own_layer(method):
    ours, theirs = norms.Normalization(method, 16, bias=0.0), Normalization(method)
    for training in (True, False):
        expected, actual = ours(tf.constant(features()), training), theirs(features(), training=training)
        assert np.abs(expected - actual).max() < 1e-5


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("method", seldom(["none", "bn", "in", "iln", "brn"], ["iln"]))
def test_computes_in_32_bits_where_the_model_computes_in_16(method, policy):
    x = np.random.default_rng(0).normal(2, 3, (1, 256, 256, 16)).astype(np.float32)  # its sums overflow 16 bits
    half = tf.cast(x, policy.partition("_")[2])
    wide, narrow = Normalization(method), Normalization(method, dtype=policy)
    expected = wide(tf.cast(half, tf.float32), training=True)
    with tf.GradientTape() as tape:
        tape.watch(half)
        actual = narrow(half, training=True)
        loss = tf.reduce_sum(tf.cast(actual[0, :8, :8], tf.float32))
    assert actual.dtype == half.dtype and all(v.dtype == "float32" for v in narrow.weights)
    assert np.abs(tf.cast(actual, tf.float32) - expected).max() < 0.05
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


def of_all_methods(methods=METHODS, dtype=None):
    inputs = keras.Input([None, None, 3], dtype="float32")
    x = keras.layers.Conv2D(32, 3, dtype=dtype)(inputs)
    pooled = [keras.layers.GlobalAveragePooling2D(dtype=dtype)(Normalization(m, relu=True, name=m, dtype=dtype)(x))
              for m in methods]
    outputs = keras.layers.Dense(2, dtype=dtype)(keras.layers.Concatenate(dtype=dtype)(pooled))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("dtype", seldom(["mixed_float16", "mixed_bfloat16", "bfloat16", "float16", "float64"],
                                         ["mixed_float16"]))
def test_every_method_trains_under_every_policy_with_variables_in_float32(dtype, uncompiled):
    keras.utils.set_random_seed(0)
    net = of_all_methods(dtype=dtype)
    net.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    layers = [net.get_layer(m) for m in METHODS]
    before = {v.path: v.numpy() for layer in layers for v in layer.weights}
    rng = np.random.default_rng(0)
    net.fit(rng.normal(2, 3, (8, 8, 8, 3)).astype(np.float32), rng.integers(0, 2, 8), batch_size=4, epochs=2, verbose=0)
    for layer in layers:
        assert layer.compute_dtype == net.layers[1].compute_dtype
        for variable in layer.weights:
            assert variable.dtype == "float32" and np.isfinite(variable).all(), variable.path
            assert variable.name == "rho" or not np.array_equal(variable, before[variable.path]), variable.path


def test_large_inputs_are_not_cast_before_the_arithmetic(uncompiled):
    x = np.random.default_rng(0).uniform(60000, 70000, (2, 8, 8, 16)).astype(np.float32)
    expected = keras.layers.GroupNormalization(4, epsilon=1e-5)(x)
    for method in ("gn4", "in", "iln", "bn"):
        y = Normalization(method, dtype="mixed_float16")(x, training=True)
        assert y.dtype == "float16" and np.isfinite(y).all()
        if method == "gn4":
            assert np.abs(tf.cast(y, "float32") - expected).max() < 0.01
    whole = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 16), np.uint8)
    assert np.abs(Normalization("in")(whole) - Normalization("in")(whole.astype(np.float32))).max() == 0


GROUPS = {"ln": 1, "gn4": 4, "in": 16}


def pair(method, groups, **options):
    """Our layer and Keras's of the same function, with the same weights, handed over as Keras does."""
    ours = Normalization(method, epsilon=1e-3, **options)
    theirs = keras.layers.GroupNormalization(groups, axis=options.get("axis", -1))
    return ours, theirs


def same_weights(ours, theirs, x):
    ours(x), theirs(x)
    rng = np.random.default_rng(1)
    theirs.set_weights([rng.normal(1, 0.5, w.shape) for w in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())


@pytest.mark.parametrize(("method", "groups"), seldom([*GROUPS.items()], [("gn4", 4)]))
def test_does_what_keras_s_group_normalization_does(method, groups, use, uncompiled):
    for kernel in ("native", "tensorflow"):
        use(kernel)
        for shape, axis in (([3, 16], -1), ([3, 5, 16], -1), ([2, 4, 3, 16], 3), ([2, 16, 5, 3], 1),
                            ([2, 3, 16, 2, 4], 2)):
            x = np.random.default_rng(0).normal(2, 3, shape).astype(np.float32)
            ours, theirs = pair(method, groups, axis=axis)
            same_weights(ours, theirs, x)
            outputs = []
            for layer in (ours, theirs):
                with tf.GradientTape() as tape:
                    tape.watch(given := tf.constant(x))
                    y = layer(given, training=True)
                    loss = tf.reduce_sum(y * tf.cos(given))
                outputs.append((y, *tape.gradient(loss, [given, layer.gamma.value, layer.beta.value])))
            for actual, expected in zip(*outputs, strict=True):
                assert actual.shape == expected.shape and np.allclose(actual, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("method", "groups"), seldom([*GROUPS.items()], [("gn4", 4)]))
def test_does_so_under_time_distribution_masks_and_compilation(method, groups, uncompiled):
    x = np.random.default_rng(0).normal(2, 3, (2, 3, 4, 5, 16)).astype(np.float32)
    ours, theirs = pair(method, groups)
    same_weights(ours, theirs, x[:, 0])
    mask = tf.constant([[True, False, True], [True, True, False]])
    for options in ({}, {"mask": mask}):
        actual, expected = (keras.layers.TimeDistributed(layer)(x, **options) for layer in (ours, theirs))
        assert np.allclose(actual, expected, atol=1e-4)
    compiled = tf.function(lambda x: ours(x, training=True), jit_compile=True, autograph=False)
    assert np.allclose(compiled(x[:, 0]), theirs(x[:, 0]), atol=1e-4)


def test_masks_of_parts_of_an_instance_are_refused(uncompiled):
    masked = keras.layers.Masking()(np.ones([2, 5, 16], np.float32))
    assert Normalization("none")(masked)._keras_mask is not None
    for method, mask in (("in", tf.ones([4, 8])), ("bn", tf.ones([4]))):
        with pytest.raises(InputError, match="mask"):
            Normalization(method)(features(), mask=mask)
    with pytest.raises(InputError, match="mask"):
        Normalization("in")(masked)


@pytest.mark.parametrize("method", seldom(["in", "ln", "gn4", "iln4", "sn", "bn", "clip"], ["iln4"]))
def test_gradients_of_gradients_are_those_of_finite_differences(method, use, uncompiled):
    """Keras's own GroupNormalization is no measure: `tf.nn.moments` stops a gradient whose own gradient is not 0."""
    rng = np.random.default_rng(0)
    x, weights, direction = (tf.constant(rng.normal(2, 3, (2, 3, 2, 8))) for _ in range(3))
    for kernel in ("native", "tensorflow"):
        use(kernel)
        layer = Normalization(method, dtype="float64", moving_decay=1.0)
        layer(x)

        def penalty(x, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(weights * layer(x, training=True) ** 2)
            return tf.reduce_sum(tape.gradient(loss, x) ** 3)

        def slope(x, penalty=penalty):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = penalty(x)
            return tf.reduce_sum(tape.gradient(y, x) * direction)

        expected = (penalty(x + 1e-6 * direction) - penalty(x - 1e-6 * direction)) / 2e-6
        for actual in (slope(x), tf.function(slope, autograph=False)(x)):
            assert abs(actual - expected) < 1e-5 * abs(expected)


def test_the_axis_follows_keras_s_image_data_format_and_is_refused_where_it_has_no_channels():
    keras.config.set_image_data_format("channels_first")
    try:
        layer = Normalization("in")
    finally:
        keras.config.set_image_data_format("channels_last")
    y = layer(np.moveaxis(features(), -1, 1))
    assert np.abs(np.moveaxis(y, 1, -1) - Normalization("in")(features())).max() < 1e-6
    assert Normalization.from_config(layer.get_config()).axis == 1 and Normalization().axis == -1
    for axis in (0, 4, -5, "c"):
        with pytest.raises(InputError, match="axis"):
            Normalization("in", axis=axis)(features())
    with pytest.raises(InputError, match="no fixed length"):
        Normalization("in")(keras.Input([4, 4, None]))


@pytest.mark.parametrize("method", seldom(["none", "bn", "brn", "sn", "bin", "in", "ln", "gn4", "iln"], ["none", "sn"]))
def test_an_empty_batch_moves_nothing(method):
    layer = Normalization(method)
    layer(features(), training=True)
    before = [v.numpy() for v in layer.weights]
    with tf.GradientTape() as tape:
        y = layer(features()[:0], training=True)
        loss = tf.reduce_sum(y)
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_weights])
    assert y.shape == (0, 8, 8, 16) and all(np.array_equal(g, np.zeros_like(g)) for g in gradients)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, layer.weights, strict=True))


def test_an_empty_batch_of_a_graph_moves_nothing():
    layer = Normalization("bn")
    step = tf.function(lambda x: layer(x, training=True), input_signature=[tf.TensorSpec([None, 8, 8, 16])])
    step(features())
    before = [v.numpy() for v in layer.weights]
    assert step(features()[:0]).shape == (0, 8, 8, 16)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, layer.weights, strict=True))


def operations(folder):
    """The names of all operations in a SavedModel."""
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert not any(node.attr["_XlaMustCompile"].b for node in nodes)
    return {node.op for node in nodes}


def own_operations(folder):
    return [op for op in operations(folder) if op.startswith("Iln")]


def test_exports_hold_tensorflow_s_own_operations(tmp_path, uncompiled):
    net = of_all_methods(["iln", "bn", "none"])
    x = features(3)
    expected = net.predict(x, verbose=0)
    net.export(tmp_path / "model", verbose=False)
    assert operations(tmp_path / "model") and not own_operations(tmp_path / "model")
    assert np.allclose(tf.saved_model.load(tmp_path / "model").serve(x), expected, atol=1e-5)
    tf.saved_model.save(net, tmp_path / "saved")
    assert not own_operations(tmp_path / "saved")
    archive, serve = keras.export.ExportArchive(), tf.function(lambda x: net(x, training=False))
    assert np.allclose(serve(tf.constant(x)), expected, atol=1e-5)
    archive.track(net)
    archive.add_endpoint("traced", serve)
    archive.add_endpoint("train", lambda x: net(x, training=True), [tf.TensorSpec([None, None, None, 3])])
    archive.write_out(tmp_path / "archive", verbose=False)
    assert not own_operations(tmp_path / "archive")


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_an_export_serves_without_this_package(policy, tmp_path):
    net = of_all_methods(dtype=policy)
    x = features(3)
    np.save(tmp_path / "x.npy", x)
    net.export(tmp_path / "model", verbose=False)
    program = ("import sys; sys.modules['ilnrepro'] = None\n"
               "import numpy as np, tensorflow as tf\n"
               "model = tf.saved_model.load('model')\n"
               "np.save('y.npy', model.serve(tf.constant(np.load('x.npy'))))\n")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]
    error = np.abs(np.load(tmp_path / "y.npy") - net.predict(x, verbose=0)).max()
    assert error < (1e-5 if policy == "float32" else 0.01)


STRATEGY = """
import keras, numpy as np, tensorflow as tf
from ilnrepro.keras import Normalization
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
rng = np.random.default_rng(0)
x, y = rng.normal(2, 3, (5, 8, 8, 16)).astype("float32"), rng.normal(size=(5, 8, 8, 16)).astype("float32")
def fitted(layer):
    with strategy.scope():
        net = keras.Sequential([keras.Input([8, 8, 16]), layer])
        net.compile(keras.optimizers.SGD(0.1), "mse")
    net.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)  # the last batch leaves one replica with nothing
    return net.get_weights()
for method, groups in (("ln", 1), ("gn4", 4), ("in", 16)):
    for a, b in zip(fitted(Normalization(method, epsilon=1e-3)), fitted(keras.layers.GroupNormalization(groups))):
        assert np.abs(a - b).max() < 1e-5, method
for method in ("bn", "brn", "sn", "bin", "iln"):
    assert all(np.isfinite(w).all() for w in fitted(Normalization(method))), method
mean = fitted(Normalization("bn", moving_decay=0.5, trainable=True))[2]
expected = 0
for _ in range(2):
    expected = (expected + x[:4].mean((0, 1, 2))) / 2          # both replicas' means, averaged
    expected = (expected + (expected + x[4].mean((0, 1))) / 2) / 2  # one replica's, the other's stands
assert np.abs(mean - expected).max() < 1e-4, (mean, expected)
"""


@pytest.mark.slow
def test_trains_under_a_mirrored_strategy():
    done = subprocess.run([sys.executable, "-c", STRATEGY], capture_output=True, encoding="utf-8",
                          env=tiny.environment())
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "groups"), GROUPS.items())
def test_a_subclassed_model_learns_as_with_keras_s_layer(method, groups, tmp_path):
    class Net(keras.Model):
        def __init__(self, norm):
            super().__init__()
            self.convolution, self.norm, self.head = keras.layers.Conv2D(16, 3), norm, keras.layers.Dense(1)

        def call(self, x, training=False):
            return self.head(self.norm(self.convolution(x), training=training))

    x, y = features(3), features(1)[:, 1:-1, 1:-1]
    weights = []
    for jit in (False, True):
        for layer in pair(method, groups):
            keras.utils.set_random_seed(0)
            net = Net(layer)
            net.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=jit)
            net.fit(x, y, batch_size=2, epochs=2, shuffle=False, verbose=0)
            weights.append(net.get_weights())
            assert net.jit_compile == jit
            net.save_weights(tmp_path / "net.weights.h5")
            other = Net(layer.__class__.from_config(layer.get_config()))
            other(x)
            other.load_weights(tmp_path / "net.weights.h5")
            # Not compiled by its user, it is compiled by XLA where it can be, which rounds in its own way.
            assert np.abs(other.predict(x, verbose=0) - net.predict(x, verbose=0)).max() < 1e-5
    for actual in zip(*weights, strict=True):
        assert all(np.allclose(a, actual[1], atol=1e-4) for a in actual)


def with_batch_normalization():
    """A finished model with all that `replace` has to follow: nested, shared, wrapped, and its weights moved."""
    a = keras.Input([8, 8, 16])
    inner = keras.Model(a, keras.layers.BatchNormalization(name="norm", scale=False)(keras.layers.Conv2D(16, 1)(a)))
    b = keras.Input([2, 8, 8, 3])
    x = keras.layers.TimeDistributed(keras.layers.BatchNormalization(name="wrapped", momentum=0.9), name="each")(b)
    x = keras.layers.Conv2D(16, 3, padding="same", name="convolution")(x[:, 0])
    shared = keras.layers.BatchNormalization(name="shared", trainable=False, axis=3)
    x = shared(inner(shared(x)) + x)
    x = keras.Sequential([keras.layers.ReLU(), keras.layers.BatchNormalization(epsilon=0.1)])(x)
    net = keras.Model(b, x)
    rng = np.random.default_rng(0)
    for layer in net._flatten_layers():
        if layer.weights:
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return net


def test_replaces_every_batch_normalization_of_a_finished_model(uncompiled):
    net, x = with_batch_normalization(), np.random.default_rng(0).normal(size=(3, 2, 8, 8, 3)).astype(np.float32)
    expected, weights = net.predict(x, verbose=0), net.get_weights()
    same = replace(net, "bn")
    assert np.abs(same.predict(x, verbose=0) - expected).max() < 1e-3 * np.abs(expected).max()
    other = replace(net, "in", epsilon=1e-4)
    layers = [layer for layer in other._flatten_layers() if isinstance(layer, Normalization)]
    assert sorted(layer.name for layer in layers)[-3:] == ["norm", "shared", "wrapped"] and len(layers) == 4
    assert all(layer.method == "in" and layer.settings.epsilon == 1e-4 for layer in layers)
    assert [layer.trainable for layer in layers if layer.name == "shared"] == [False]
    kept = [layer.get_layer("convolution").get_weights() for layer in (net, other)]
    assert all(np.array_equal(a, b) for a, b in zip(*kept, strict=True))
    assert np.isfinite(other.predict(x, verbose=0)).all()
    assert all(np.array_equal(a, b) for a, b in zip(net.get_weights(), weights, strict=True))


def test_refuses_to_replace_what_it_cannot_reach():
    @keras.saving.register_keras_serializable("test")
    class Block(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.norm = keras.layers.BatchNormalization()

        def call(self, x):
            return self.norm(x)

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = keras.layers.BatchNormalization()

    sequential = keras.Sequential
    batch, image = keras.layers.BatchNormalization, keras.Input([4, 4, 16])
    for net, words in ((sequential([image, Block(name="block")]), "block: makes .* in its own code"),
                       (Subclassed(), "cannot be copied"),
                       (sequential([image, keras.layers.ReLU()]), "no batch normalization"),
                       (sequential([image, batch(gamma_regularizer="l2")]), "gamma_regularizer"),
                       (sequential([image, batch(axis=1)]), "16 groups do not divide 4 channels")):
        with pytest.raises(InputError, match=words):
            replace(net, "iln")


def test_options_are_kept_and_bad_ones_refused():
    layer = Normalization("iln8", epsilon=1e-12, frozen_gate=0.5, name="n")
    again = Normalization.from_config(layer.get_config())
    assert again.settings == layer.settings and again.method == "iln8" and again.name == "n"
    with pytest.raises(InputError, match="'foo' is unknown"):
        Normalization("foo")
    with pytest.raises(InputError, match="7 groups do not divide 16 channels"):
        Normalization("gn7")(features())
