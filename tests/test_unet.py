"""The U-Net: its numbers, its start, its shapes, and the same network in Keras."""

import json

import numpy as np
import pytest
import tensorflow as tf
from formulas import EACH, OVER_BATCH, error
from layers import seldom
from make_goldens import UNETS, unet_golden

from ilnrepro.errors import InputError
from ilnrepro.networks.summary import summary
from ilnrepro.networks.unet import UNet
from ilnrepro.norms import METHODS, Settings

# (inputs, outputs) of the paper's network, in the order of computation.
CONVOLUTIONS = [(1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128),
                (128, 256), (256, 256),
                (256, 128), (128, 128), (128, 64), (64, 64), (64, 32), (32, 32), (32, 16), (16, 16)]
TRANSPOSED = [(256, 128), (128, 64), (64, 32), (32, 16)]
CHANNELS = [16, 16, 32, 32, 64, 64, 128, 128, 256, 256, *[128] * 3, *[64] * 3, *[32] * 3, *[16] * 3]
OWN = {"sn": 6, "bin": 1, "clip": 1, "sigmoid": 1, "softmax": 2, "iln": 1, "iln<G>": 1}  # a layer, beside γ and β
CUT = 0.87963  # the deviation of a standard normal number cut off at 2
SMALL = {"pools": 2, "dtype": tf.float64}  # 12 normalized layers of 16, 32 and 64 channels


def paper_names():
    return [row.replace("<G>", "4") for row in METHODS]


def trainable(network):
    return {name: v for name, v in network.named_variables.items() if v.trainable}


def numbers(network):
    return sum(int(np.prod(v.shape)) for v in trainable(network).values())


def images(*shape, dtype=np.float64):
    return np.random.default_rng(0).uniform(size=(*shape, 1)).astype(dtype)


def logits_and_gradients(network, batch, training=True):
    with tf.GradientTape() as tape:
        logits = network(tf.constant(batch), training)
        weights = np.random.default_rng(1).normal(size=logits.shape)
        loss = tf.reduce_sum(logits * weights.astype(batch.dtype))
    return logits, tape.gradient(loss, trainable(network))


# Layers and numbers.

@pytest.mark.parametrize("name", seldom(paper_names(), ["none", "bn", "gn4", "softmax", "iln"]))
def test_parameter_count(name):
    weights = sum(9 * a * b for a, b in CONVOLUTIONS + TRANSPOSED) + 16 * 2
    row = name if name in METHODS else name.replace("4", "<G>")
    own = (1 if name == "none" else 4 if name in EACH else 3) * sum(CHANNELS) + 22 * OWN.get(row, 0)  # bias, γ, β; ρ
    network = UNet(name)
    assert numbers(network) == weights + own + 2
    assert sum(row[4] for row in summary(network) if row[5]) == weights + own + 2
    assert [n.bias.shape[0] for n in network.normalizations.values()] == CHANNELS


def test_iln_has_22_layers_and_22_numbers_more_than_in():
    iln, instance = UNet("iln"), UNet("in")
    assert len(iln.normalizations) == 22 and len(iln.layers) == 23
    assert numbers(iln) - numbers(instance) == 22
    assert numbers(UNet("iln", settings=Settings(frozen_gate=0.5))) == numbers(instance)
    extra = set(trainable(iln)) - set(trainable(instance))
    assert extra == {f"{layer}/rho" for layer in iln.normalizations}


def test_every_variable_has_its_own_name_and_every_variable_is_named():
    network = UNet("bin", **SMALL)
    variables = [v for layer in network.layers for v in vars(layer).values() if isinstance(v, tf.Variable)]
    for layer in network.normalizations.values():
        variables += [layer.bias, layer.gamma, layer.beta, *layer.parameters.values()]
    assert {id(v) for v in variables} == {id(v) for v in network.named_variables.values()}
    assert len(network.named_variables) == len(variables) == 12 * 7 + 2


# The start.

@pytest.mark.parametrize("initializer, stddev", [("root", lambda c: np.sqrt(2 / (9 * c))),
                                                 ("printed", lambda c: 2 / (9 * c))])
def test_initial_weights_are_truncated_normal(initializer, stddev):
    network = UNet("none", seed=3, initializer=initializer)
    for layer, channels in zip(network.layers, [*CHANNELS, 16], strict=True):
        weights = layer.weights.numpy().ravel() / stddev(channels)
        many = len(weights)
        assert np.max(np.abs(weights)) < 2
        assert abs(weights.mean()) < 4 * 0.88 / np.sqrt(many)
        assert abs(weights.std() / CUT - 1) < 4 * 0.6 / np.sqrt(many), layer.name


def test_the_root_is_taken_unless_told():
    default, root = UNet("none", **SMALL), UNet("none", initializer="root", **SMALL)
    for ours, theirs in zip(default.layers, root.layers, strict=True):
        assert np.array_equal(ours.weights, theirs.weights)


def test_the_head_starts_with_the_last_levels_deviation():
    weights = UNet("none", classes=400, start_channels=16, pools=1).layers[-1].weights.numpy()
    assert weights.shape == (1, 1, 16, 400)
    assert weights.std() == pytest.approx(CUT * np.sqrt(2 / (9 * 16)), rel=0.02)


def test_biases_start_at_a_tenth_gamma_at_1_beta_at_0_rho_at_a_half():
    starts = {"bias": 0.1, "gamma": 1, "beta": 0, "rho": 0.5}
    for name, variable in UNet("iln").named_variables.items():
        role = name.split("/")[-1]
        if role != "weights":
            assert np.all(variable.numpy() == np.float32(starts[role])), name
    assert np.all(UNet("iln", settings=Settings(rho=2.0)).named_variables["bottom/conv1/rho"].numpy() == 2)


def test_a_seed_gives_the_same_weights_to_every_method_and_every_layer_its_own():
    small = UNet("none", seed=5, **SMALL)
    for name in paper_names()[1:]:
        for layer, other in zip(small.layers, UNet(name, seed=5, **SMALL).layers, strict=True):
            assert np.array_equal(layer.weights, other.weights), (name, layer.name)
    first = UNet("none", seed=5)
    for layer, other in zip(first.layers, UNet("none", seed=6).layers, strict=True):
        assert not np.any(layer.weights.numpy() == other.weights.numpy()), layer.name
    alike = [layer.weights.numpy() for layer in first.layers if layer.weights.shape == [3, 3, 16, 16]]
    assert len(alike) == 2 and not np.any(alike[0] == alike[1])


def test_unknown_initializer():
    with pytest.raises(InputError, match="'he' is unknown; choose one of root, printed"):
        UNet("in", initializer="he")


# Shapes.

@pytest.mark.parametrize("sides", [(16, 16), (32, 48), (64, 16)], ids=lambda sides: "x".join(map(str, sides)))
def test_scores_have_the_images_shape(sides, eagerly):
    network = UNet("iln")
    logits = network(tf.constant(images(2, *sides, dtype=np.float32)))
    assert logits.shape == (2, *sides, 2) and logits.dtype == tf.float32
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("spec", [[None, 32, 32, 1], [None, None, None, 1]], ids=["batch", "all"])
def test_sizes_unknown_in_a_function(spec):
    network = UNet("in", pools=1, dtype=tf.float64)
    function = tf.function(network, autograph=False, input_signature=[tf.TensorSpec(spec, tf.float64)])
    for batch in (1, 3):
        actual = function(tf.constant(images(batch, 32, 32)))
        assert actual.shape == (batch, 32, 32, 2)
        assert error(actual, network(tf.constant(images(batch, 32, 32)))) < 1e-12
    if spec[1]:
        assert function.get_concrete_function().structured_outputs.shape[1:] == [32, 32, 2]


def test_the_network_compiles_by_xla(use):
    use("tensorflow")
    network = UNet("iln", pools=1, dtype=tf.float64)
    compiled = tf.function(network, autograph=False, jit_compile=True)
    assert error(compiled(tf.constant(images(1, 8, 8))), network(tf.constant(images(1, 8, 8)))) < 1e-12


@pytest.mark.parametrize("sides, pools, text", [((40, 32), 4, "40×32: sides must be divisible by 16"),
                                                ((32, 33), 4, "32×33: sides must be divisible by 16"),
                                                ((8, 16), 4, "8×16: sides must be divisible by 16"),
                                                ((6, 8), 2, "6×8: sides must be divisible by 4")])
def test_sides_not_divisible(sides, pools, text):
    with pytest.raises(InputError, match=text):
        UNet("none", pools=pools)(tf.constant(images(1, *sides, dtype=np.float32)))


def test_the_summary_tells_the_shapes_that_come_out(eagerly):
    network = UNet("iln")
    told = {row[0]: row[1] for row in summary(network, 32)}
    actual = {}

    def recorded(layer):
        def call(*args):
            y = layer(*args)
            actual[layer.name] = tuple(getattr(y, "x", y).shape[1:])  # of an `Unapplied`, its feature map
            return y
        return call

    network.layers = [recorded(layer) for layer in network.layers]
    network(tf.constant(images(1, 32, 32, dtype=np.float32)))
    assert list(actual) == list(told) and actual == told


def test_the_summary_tells_every_variable():
    network = UNet("bin")
    told = {f"{row[0]}/{row[2]}": (row[3], row[4], row[5]) for row in summary(network)}
    assert told == {name: (tuple(v.shape), int(np.prod(v.shape)), v.trainable)
                    for name, v in network.named_variables.items()}


# Outputs and gradients.

@pytest.mark.parametrize("name", seldom(paper_names(), ["bn", "iln"]))
def test_both_forms_give_the_same_scores_and_gradients(name, use, eagerly):
    batch = images(2, 16, 16)
    wanted, slopes = logits_and_gradients(UNet(name, form="reference", **SMALL), batch)
    for choice in ("tensorflow", *(["native"] if name == "iln" else [])):
        use(choice)
        actual, fused_slopes = logits_and_gradients(UNet(name, form="fused", **SMALL), batch)
        assert error(actual, wanted) < 1e-11
        for key, slope in slopes.items():
            assert error(fused_slopes[key], slope) < 1e-8, key


@pytest.mark.parametrize("name", seldom(paper_names(), ["none", "in", "sn", "softmax", "iln"]))
def test_every_trainable_variable_gets_a_gradient(name, eagerly):
    network = UNet(name, **SMALL)
    _, slopes = logits_and_gradients(network, images(2, 16, 16))
    for key, slope in slopes.items():
        layer, role = key.rsplit("/", 1)
        largest = np.max(np.abs(slope))
        sixteen = layer != "head" and network.normalizations[layer].bias.shape[0] == 16
        if role == "bias" and name in ("bn", "brn", "in", "bin", "bin-projected") and layer != "head":
            assert largest < 1e-9, key  # each channel's mean is subtracted
        elif role in ("rho", "bias") and name == "iln" and sixteen:
            assert largest < 0.02, key  # GN16 undoes the mix
        else:
            assert np.all(np.isfinite(slope)) and largest > 1e-6, key


@pytest.mark.parametrize("name", seldom(OVER_BATCH, ["bn", "brn"]))
def test_training_moves_the_averages_and_testing_uses_them(name, eagerly):
    network = UNet(name, **SMALL)
    batch = tf.constant(images(2, 16, 16))
    before = network(batch)
    starts = {key: v.numpy() for key, v in network.named_variables.items() if not v.trainable}
    assert len(starts) == (36 if name == "brn" else 24)
    assert all(np.array_equal(network.named_variables[key], start) for key, start in starts.items())
    network(batch, training=True)
    assert not any(np.array_equal(network.named_variables[key], start) for key, start in starts.items())
    assert error(network(batch), before) > 1e-3
    assert error(network(batch), network(batch)) == 0


def keras_unet(network, batch, normalized):
    """The paper's U-Net of Keras layers with the weights of ours, `normalized` after every convolution."""
    layers = iter(network.layers)

    def convolved(x, kind=tf.keras.layers.Conv2D, **options):
        ours = next(layers)
        theirs = kind(ours.normalization.bias.shape[0], 3, padding="same", dtype="float64", **options)
        theirs.build(x.shape)
        theirs.set_weights([ours.weights.numpy(), ours.normalization.bias.numpy()])
        return tf.keras.activations.relu(normalized(theirs(x)))

    x, skips = batch, []
    for _ in range(network.pools):
        x = convolved(convolved(x))
        skips.append(x)
        x = tf.keras.layers.MaxPooling2D(dtype="float64")(x)
    x = convolved(convolved(x))
    for skip in skips[::-1]:
        x = convolved(x, tf.keras.layers.Conv2DTranspose, strides=2)
        x = tf.keras.layers.Concatenate(dtype="float64")([skip, x])
        x = convolved(convolved(x))
    head = next(layers)
    return tf.einsum("nhwc,cd->nhwd", x, head.weights[0, 0]) + head.bias


@pytest.mark.parametrize("name, groups", seldom([("none", None), ("in", -1), ("ln", 1), ("gn4", 4)], [("gn4", 4)]))
def test_the_same_network_in_keras(name, groups, eagerly):
    network = UNet(name, dtype=tf.float64)
    batch = tf.constant(images(1, 32, 48))

    def normalized(x):
        if groups is None:
            return x
        return tf.keras.layers.GroupNormalization(groups, epsilon=1e-5, dtype="float64")(x)

    assert error(network(batch), keras_unet(network, batch, normalized), floor=1e-3) < 1e-9


# Goldens.

def test_every_row_of_the_table_has_a_golden():
    assert set(json.loads(UNETS.read_text(encoding="utf-8"))) == set(paper_names()), "run python tests/make_goldens.py"


@pytest.mark.parametrize("name", seldom(paper_names(), ["none", "bn", "in", "gn4", "clip", "softmax", "iln"]))
def test_golden(name, eagerly):
    golden = json.loads(UNETS.read_text(encoding="utf-8"))[name]
    actual = unet_golden(name)
    assert actual["numbers"] == golden["numbers"]
    assert error(actual["weights"], golden["weights"]) < 1e-6
    assert error(actual["logits"], golden["logits"]) < 1e-5
