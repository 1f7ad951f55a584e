"""The methods as a Keras 3 layer for any network: `Normalization("iln")`."""

from __future__ import annotations

import traceback
from typing import Any

import keras
import tensorflow as tf

from ilnrepro.console import one_line
from ilnrepro.errors import InputError
from ilnrepro.norms import fused
from ilnrepro.norms import method as method_row
from ilnrepro.norms.values import Settings

# Modules that trace graphs in order to write them, and the one whose graphs stay in this process.
_EXPORTERS = ("keras.src.export.", "tensorflow.python.saved_model.", "tensorflow.lite.")
_TRAINER = "keras.src.backend.tensorflow.trainer"


@keras.saving.register_keras_serializable(package="ilnrepro")
class Normalization(keras.layers.Layer):
    """γ·normalize(x) + β by any method of `ilnrepro.norms.METHODS`, for feature maps `[N, ..., C]`.

    Use it in the place of a BatchNormalization, after a convolution and before its activation. Keras projects a gate to
    its limits after each step, but has no separate learning rate for it: "bin-projected" learns its gate at the model's
    rate.

    Under any dtype or policy, variables are float32, the input is not cast, the arithmetic is in float32 (float64 for a
    float64 input), and only the output is cast. An exported model has only TensorFlow's own operations. So has a graph
    of yours that uses the layer for inference, since it may be saved; it is slower than `predict`.

    Args:
      method: a method's name: 'iln', 'gn4', 'bn', ...
      relu: whether the ReLU is applied too, in the same pass.
      axis: of the channels; None takes that of Keras's `image_data_format`. Any but the last costs two transpositions.
      epsilon, group_divisor, rho, frozen_gate, batch_statistics, moving_decay, renorm_steps: see
        `ilnrepro.norms.Settings`.

    Raises:
      InputError: unknown method, an axis that has no channels, groups that do not divide them, or a Keras back end
        other than TensorFlow.
    """

    def __init__(self, method: str = "iln", relu: bool = False, axis: int | None = None, **options: Any) -> None:
        settings = {key: options.pop(key) for key in Settings.__dataclass_fields__ if key in options}
        super().__init__(**options)
        if keras.backend.backend() != "tensorflow":
            raise InputError(f"Keras back end: {keras.backend.backend()!r}; this layer needs 'tensorflow'")
        self.method, self.relu, self.settings = method, relu, Settings(**settings)
        self.rule = method_row(method).rule
        if axis is None:
            axis = 1 if keras.config.image_data_format() == "channels_first" else -1
        self.axis = axis
        self.autocast, self.supports_masking = False, True
        self.gamma = self.beta = None

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Creates γ and β `[C]`, and the method's own variables."""
        rank = len(shape)
        if not isinstance(self.axis, int) or self.axis % rank == 0 or not -rank <= self.axis < rank:
            raise InputError(f"axis: {self.axis!r} is no axis of channels in {list(shape)}; choose 1 to {rank - 1}")
        channels = shape[self.axis]
        if channels is None:
            raise InputError(f"axis: {self.axis} of {list(shape)} has no fixed length; give the number of channels")
        self.input_spec = keras.layers.InputSpec(ndim=rank, axes={self.axis: channels})
        if self.rule.affine:
            self.gamma = self._weight("gamma", "ones", shape=(channels,))
            self.beta = self._weight("beta", "zeros", shape=(channels,))
        parameters = self.rule.parameters(channels, self.settings)
        self.own = {
            name: self._weight(name, keras.initializers.Constant(float(p.start.flat[0])), shape=p.start.shape,
                               trainable=p.trainable, constraint=p.projection) for name, p in parameters.items()}
        self.moves = any(not p.trainable for p in parameters.values())
        self.decays = {name: self.settings.moving_decay if p.decay is None else p.decay
                       for name, p in parameters.items()}

    def _weight(self, name, start, **options):
        # A moving average follows the mean over the replicas of a distribution strategy.
        return self.add_weight(name=name, initializer=start, dtype="float32", autocast=False, aggregation="mean",
                               **options)

    def call(self, x: tf.Tensor, training: bool = False, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalizes `x`; in training also updates the moving averages, unless the layer is frozen.

        A `mask` may leave out whole instances, but no part of one.

        Raises:
          InputError: a mask of time steps, or of instances where the method uses statistics of the batch.
        """
        if mask is not None and self.rule.needs_moments and (self.moves or mask.shape.rank > 1):
            raise InputError(f"{self.name}: mask: given, but whole feature maps are normalized; remove the masking")
        x = tf.cast(x, tf.float64 if x.dtype == tf.float64 else tf.float32)
        x = keras.ops.moveaxis(x, self.axis, -1)
        updates = bool(training) and self.trainable and self.moves
        if tf.executing_eagerly() and x.shape.num_elements() == 0:
            return tf.cast(keras.ops.moveaxis(self._empty_output(x), -1, self.axis), self.compute_dtype)
        not_empty = tf.size(x) > 0
        own = {name: _read(v, x.dtype, not_empty if updates else None) for name, v in self.own.items()}
        affine = [_read(v, x.dtype, not_empty if updates else None) for v in (self.gamma, self.beta)]
        # TensorFlow crashes on a graph of its own operations whose shape is known to be empty; XLA does not.
        normalize = fused.plain if x.shape.num_elements() != 0 and _may_be_saved(training) else fused.normalize
        y, moments = normalize(x, tf.zeros([x.shape[-1]], x.dtype), *affine, own, self.rule, self.settings, updates,
                               self.relu)
        for name, moment in moments.items():
            if updates:
                moved = self.decays[name] * own[name] + (1 - self.decays[name]) * moment
                self.own[name].assign(tf.where(not_empty, moved, own[name]))
        return tf.cast(keras.ops.moveaxis(y, -1, self.axis), self.compute_dtype)

    def _empty_output(self, x):
        """The output for an empty batch, with a gradient of 0 for each variable.

        It is computed here because compiled code of such shapes can end the process (SIGFPE).
        """
        for v in (self.gamma, self.beta, *self.own.values()):
            if v is not None:
                x += tf.reduce_sum(tf.cast(v, x.dtype))
        return x

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that create the same layer."""
        settings = {key: getattr(self.settings, key) for key in Settings.__dataclass_fields__}
        return {**super().get_config(), "method": self.method, "relu": self.relu, "axis": self.axis, **settings}


def _read(variable, dtype, not_empty):
    """The value of a variable, or None; without a gradient where the batch is empty, since it would be NaN."""
    if variable is None:
        return None
    value = tf.cast(tf.convert_to_tensor(variable), dtype)
    return value if not_empty is None else tf.where(not_empty, value, tf.stop_gradient(value))


def _may_be_saved(training):
    """Whether the graph that is being traced may be written and loaded elsewhere, without the native kernels."""
    if tf.executing_eagerly():
        return False
    tracing = {frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_stack(None)}
    if any(name.startswith(_EXPORTERS) for name in tracing):
        return True
    return not training and _TRAINER not in tracing


def replace(model: keras.Model, method: str = "iln", **options: Any) -> keras.Model:
    """A copy of a built model with `method` in the place of each batch normalization.

    All other layers keep their weights. The new layers take the old ones' names, axis, ε, momentum, dtype, γ and β, and
    the moving averages if the method has them, so that `replace(model, "bn")` computes the same as `model`. They have γ
    and β even if the old ones had none. Nested models, shared layers and wrappers (TimeDistributed) are handled too,
    and the copy is compiled like the model.

    Args:
      model: a functional or Sequential model; it stays as it is.
      options: of `Normalization`, for all of the new layers.

    Raises:
      InputError: the model has no batch normalization; or one in the code of a subclassed model or layer, where it
        cannot be replaced; or one with regularizers, constraints or synchronization, which no method here has; or a
        layer that Keras cannot copy.
    """
    pairs = []

    def copy_layer(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            copy = _in_place_of(layer, method, options)
        else:
            copy = layer.__class__.from_config(_with_replaced(layer.get_config(), method, options))
        pairs.append((layer, copy))
        return copy

    if not _batch_normalizations(model):
        raise InputError(f"{model.name}: has no batch normalization; build the model first, or put Normalization into "
                         "its code")
    try:
        copy = keras.models.clone_model(model, clone_function=copy_layer, recursive=True)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise InputError(f"{model.name}: cannot be copied ({one_line(error)}); put Normalization into its code"
                         ) from error
    for old, new in pairs:
        if remaining := _batch_normalizations(new):
            raise InputError(f"{old.name}: makes {remaining[0].name!r} in its own code ({type(old).__name__}), where "
                             "it cannot be replaced; put Normalization there")
        _copy_weights(old, new)
    return copy


def _batch_normalizations(layer):
    parts = layer._flatten_layers() if isinstance(layer, keras.layers.Layer) else []
    return [part for part in parts if isinstance(part, keras.layers.BatchNormalization)]


def _in_place_of(layer, method, options):
    """A new layer for a batch normalization."""
    for option in ("gamma_regularizer", "beta_regularizer", "gamma_constraint", "beta_constraint", "synchronized"):
        if getattr(layer, option):
            raise InputError(f"{layer.name}: {option}: set, but Normalization has none; make the model without it")
    same = {"name": layer.name, "dtype": layer.dtype_policy, "trainable": layer.trainable, "axis": layer.axis,
            "epsilon": layer.epsilon, "moving_decay": layer.momentum}
    return Normalization(method, **(same | options))


def _with_replaced(config, method, options):
    """A layer's configuration, with all batch normalizations in it replaced."""
    if isinstance(config, dict):
        if config.get("module") == "keras.layers" and config.get("class_name") == "BatchNormalization":
            layer = _in_place_of(keras.saving.deserialize_keras_object(config), method, options)
            return config | keras.saving.serialize_keras_object(layer)
        return {key: _with_replaced(value, method, options) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_with_replaced(value, method, options) for value in config)
    return config


def _copy_weights(old, new):
    """Copies the weights of a layer, and of the layers in it, to the layer's copy."""
    if not isinstance(old, keras.layers.Layer):  # an operation of `keras.ops`
        return
    for theirs, ours in zip(old._flatten_layers(), new._flatten_layers(), strict=True):
        if isinstance(theirs, keras.layers.BatchNormalization):
            for name in _shared_variables(ours) if theirs.built else ():
                if (value := getattr(theirs, name)) is not None:
                    (ours.own | {"gamma": ours.gamma, "beta": ours.beta})[name].assign(value)
        else:
            store = {}
            theirs.save_own_variables(store)
            ours.load_own_variables(store)


def _shared_variables(layer):
    """The names of the variables that a layer takes from a batch normalization; of moving averages, both or none."""
    moving = [name for name, variable in layer.own.items() if not variable.trainable]
    return [*(["gamma", "beta"] if layer.rule.affine else []),
            *(moving if moving == ["moving_mean", "moving_variance"] else [])]
