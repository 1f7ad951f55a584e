"""A normalization layer: the variables of one method, in either of its two forms."""

from __future__ import annotations

from typing import Any

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.norms import fused
from ilnrepro.norms.methods import method
from ilnrepro.norms.rules import gated_part
from ilnrepro.norms.values import Context, Settings, Unapplied

FORMS = ("fused", "reference")  # of runs; the form 'plain' is for models that are used elsewhere


class Normalization:
    """γ·normalize(x + bias) + β for a convolution's output x by any method, with the ReLU in the same pass.

    Args:
      name_of_method: a name of `METHODS`.
      channels: C.
      settings: `Settings`, which the paper leaves open.
      form: 'fused' (moments, rule, apply), 'plain' (the same by TensorFlow's own operations alone, which any process
        can load) or 'reference' (the paper's equations, literally).
      bias: initial value of the convolution's bias (paper, section 2.2: 0.1); None for a convolution without one.
      affine: False leaves γ and β out.

    Attributes:
      channels: C.
      bias, gamma, beta: `[C]` variables, or None where there is none; 'none' has no gamma and beta.
      parameters: the method's own variables by name: `rho`, and BN's moving averages.
      rates: {name: learning rate as a multiple of the network's}. Parameters with limits have a `constraint`.

    Raises:
      InputError: unknown method or form, or groups that do not divide the channels.
    """

    def __init__(self, name_of_method: str, channels: int, settings: Settings | None = None, form: str = "fused",
                 bias: float | None = 0.1, affine: bool = True, dtype: tf.DType | str = "float32") -> None:
        if form not in (*FORMS, "plain"):
            raise InputError(f"form: {form!r} is unknown; choose one of {', '.join(FORMS)}")
        self.settings = settings or Settings()
        self.rule = method(name_of_method).rule
        self.form = form
        own = self.rule.parameters(channels, self.settings)
        affine = affine and self.rule.affine
        self.channels = channels
        self.bias = None if bias is None else tf.Variable(tf.fill([channels], tf.cast(bias, dtype)), name="bias")
        self.gamma = tf.Variable(tf.ones([channels], dtype), name="gamma") if affine else None
        self.beta = tf.Variable(tf.zeros([channels], dtype), name="beta") if affine else None
        self.parameters = {key: tf.Variable(p.start, dtype=dtype, trainable=p.trainable, name=key,
                                            constraint=p.projection) for key, p in own.items()}
        self.rates = {key: p.rate for key, p in own.items()}
        self.decays = {key: self.settings.moving_decay if p.decay is None else p.decay for key, p in own.items()}

    @property
    def mix(self) -> Any:
        """The part of the rule that has the learned gate, or None."""
        part = gated_part(self.rule)
        return part if part is not None and part.rho in self.parameters else None

    @property
    def named_variables(self) -> dict[str, tf.Variable]:
        """All variables by role, in a fixed order."""
        own = {"bias": self.bias, "gamma": self.gamma, "beta": self.beta}
        return {**{role: variable for role, variable in own.items() if variable is not None}, **self.parameters}

    def __call__(self, x: tf.Tensor, training: bool = False, relu: bool = False,
                 moments: tuple[tf.Tensor, tf.Tensor] | None = None) -> tf.Tensor | Unapplied:
        """Normalizes x `[N, ..., C]`, with the ReLU if `relu`; in training also updates BN's moving averages.

        With the `moments` of x, which a native convolution gives, and the ReLU, the map is left to the next one: this
        returns an `Unapplied`.
        """
        values = {key: tf.convert_to_tensor(variable) for key, variable in self.parameters.items()}
        bias, gamma, beta = (tf.fill([self.channels], tf.cast(neutral, x.dtype)) if v is None else
                             tf.convert_to_tensor(v)
                             for v, neutral in ((self.bias, 0), (self.gamma, 1), (self.beta, 0)))
        if self.form != "reference":
            # Without moving averages a rule is the same in training and test, so one compiled pair serves both.
            updates = training and any(not variable.trainable for variable in self.parameters.values())
            rest = bias, gamma, beta, values, self.rule, self.settings, updates
            if moments is not None:
                y, followed = fused.unapplied(x, moments, *rest)
            else:
                y, followed = (fused.normalize if self.form == "fused" else fused.plain)(x, *rest, relu)
        else:
            context = Context(self.settings, training)
            y = self.rule.reference(tf.nn.bias_add(x, bias), values, context, gamma, beta)
            y = tf.nn.relu(y) if relu else y
            followed = context.batch_moments
        if training:
            for key, moment in followed.items():
                variable = self.parameters[key]
                variable.assign_sub((1 - self.decays[key]) * (variable - moment))
        return y
