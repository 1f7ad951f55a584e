"""The convolutions of the networks: TensorFlow's operations, or native ones where these are the faster.

Both are the same sums, rounded in another order.
"""

from ilnrepro import tf
from ilnrepro.norms import kernels

FAST = ("AVX2 with FMA", "AVX-512")  # the instruction sets on which the native ones win


def convolution(x, filters, form="fused", dilation=1):
    """The "SAME" convolution `[N, ..., K]` of x `[N, ..., C]`, images or volumes, by filters `[..., C, K]` with an odd
    number of taps in each direction, `dilation` apart.

    Args:
      form: 'fused' takes the native convolution where it suits, 'reference' TensorFlow's always.
    """
    if _suits(x, form):
        return kernels.native.convolution(x, filters, dilation=dilation)
    if dilation == 1:
        return tf.nn.convolution(x, filters, 1, "SAME")
    return _of_grids(x, filters, dilation)


def transposed(x, filters, form="fused"):
    """The transposed convolution of stride 2 that doubles the sides of x `[N, ..., C]`; filters are `[..., K, C]`.

    The shape is known where x's is.
    """
    if _suits(x, form):
        return kernels.native.convolution(x, filters, stride=2, flipped=True)
    n, *sides = tf.unstack(tf.shape(x)[:-1])
    y = tf.nn.conv_transpose(x, filters, [n, *(2 * side for side in sides), filters.shape[-2]], 2, "SAME")
    if x.shape[1:-1].is_fully_defined():
        y = tf.ensure_shape(y, [x.shape[0], *(2 * side for side in x.shape[1:-1]), filters.shape[-2]])
    return y


def _suits(x, form):
    return form == "fused" and kernels.module_for(x) is kernels.native and kernels.native.instruction_set() in FAST


def _of_grids(x, filters, dilation):
    """The convolution of each of the coarser grids that make up the map.

    The same as TensorFlow's with dilations, in two thirds of its time on a CPU, and on any CPU at all.
    """
    known = x.shape[1:-1].is_fully_defined()
    sides = x.shape[1:-1] if known else tf.unstack(tf.shape(x)[1:-1])
    apart, filled = [dilation] * len(sides), [[0, -side % dilation] for side in sides]
    grids = tf.nn.convolution(tf.space_to_batch(x, apart, filled), filters, 1, "SAME")
    return tf.ensure_shape(tf.batch_to_space(grids, apart, filled), [*x.shape[:-1], filters.shape[-1]])
