"""The optimizers. They update variables in place, and name their own state, which checkpoints hold."""

from ilnrepro import tf


class Momentum:
    """Stochastic gradient descent with momentum: a ← momentum·a + dw, w ← w − rate·a.

    Args:
      variables: the variables to update.
      multiples: for each variable, the factor of its learning rate.
      protocol: has `momentum`.

    Attributes:
      named_variables: the optimizer's own state by name.
    """

    def __init__(self, variables, multiples, protocol):
        self.variables, self.multiples, self.momentum = variables, multiples, protocol.momentum
        self.named_variables = _slots("momenta", variables)

    def apply(self, gradients, rate):
        """Takes one step; gradients in the order of the variables."""
        rate = tf.cast(rate, self.variables[0].dtype)
        for variable, multiple, momentum, gradient in zip(self.variables, self.multiples, self.named_variables.values(),
                                                          gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(var=variable.handle, accum=momentum.handle, lr=_times(multiple, rate),
                                             grad=gradient, momentum=self.momentum)


class Adam:
    """Adam (Kingma and Ba 2015): m ← β₁·m + (1 − β₁)·dw, v ← β₂·v + (1 − β₂)·dw²,
    w ← w − rate·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m/(√v + ε) at step t; β₁ = 0.9, β₂ = 0.999, ε = 1e-8.

    Args:
      variables: the variables to update.
      multiples: for each variable, the factor of its learning rate.
      protocol: not used; all optimizers take one.

    Attributes:
      named_variables: the optimizer's own state by name, β₁ᵗ and β₂ᵗ included.
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, variables, multiples, protocol):
        self.variables, self.multiples = variables, multiples
        self.first, self.second = _slots("adam/first", variables), _slots("adam/second", variables)
        dtype = variables[0].dtype
        self.powers = {f"adam/power{i}": tf.Variable(beta, trainable=False, dtype=dtype)
                       for i, beta in enumerate(self.BETAS, 1)}
        self.named_variables = {**self.first, **self.second, **self.powers}

    def apply(self, gradients, rate):
        """Takes one step; gradients in the order of the variables."""
        rate = tf.cast(rate, self.variables[0].dtype)
        power1, power2 = (tf.convert_to_tensor(power) for power in self.powers.values())
        for variable, multiple, m, v, gradient in zip(self.variables, self.multiples, self.first.values(),
                                                      self.second.values(), gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=m.handle, v=v.handle, beta1_power=power1, beta2_power=power2,
                lr=_times(multiple, rate),
                beta1=self.BETAS[0], beta2=self.BETAS[1], epsilon=self.EPSILON, grad=gradient)
        for power, beta in zip(self.powers.values(), self.BETAS, strict=True):
            power.assign(power * beta)


def _times(multiple, rate):
    return rate if multiple == 1 else multiple * rate


def _slots(name, variables):
    """{name/number: a variable of zeros} of the shapes of `variables`."""
    return {f"{name}/{i:03d}": tf.Variable(tf.zeros_like(v), trainable=False) for i, v in enumerate(variables)}


OPTIMIZERS = {"momentum": Momentum, "adam": Adam}
