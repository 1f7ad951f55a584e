"""The convolutions of the networks: TensorFlow's operations, or native ones where these are the faster.

Both are the same sums, rounded in another order.
"""

from ilnrepro import tf
from ilnrepro.norms import kernels

FAST = ("AVX2 with FMA",)  # the instruction sets on which the native ones were measured and win


def convolution(x, filters, form="fused", dilation=1):
    """The "SAME" convolution `[N, ..., K]` of x `[N, ..., C]`, images or volumes, by filters `[..., C, K]` with an odd
    number of taps in each direction, `dilation` apart.

    Args:
      form: 'fused' takes the native convolution where it suits, others TensorFlow's always.
    """
    if _suits(x, form):
        return kernels.native.convolution(x, filters, dilation=dilation)
    return _plain(x, filters) if dilation == 1 else _of_grids(x, filters, dilation)


def transposed(x, filters, form="fused"):
    """The transposed convolution of stride 2 that doubles the sides of x `[N, ..., C]`; filters are `[..., K, C]`.

    The shape is known where x's is.
    """
    if _suits(x, form):
        return kernels.native.convolution(x, filters, stride=2, flipped=True)
    n, *sides = tf.unstack(tf.shape(x)[:-1])
    transpose = tf.nn.conv2d_transpose if x.shape.rank == 4 else tf.nn.conv3d_transpose
    y = transpose(x, filters, [n, *(2 * side for side in sides), filters.shape[-2]], 2, "SAME")
    if x.shape[1:-1].is_fully_defined():
        y = tf.ensure_shape(y, [x.shape[0], *(2 * side for side in x.shape[1:-1]), filters.shape[-2]])
    return y


def in_use(form="fused"):
    """The name of the convolutions that a network of this form uses here, 'native' or 'tensorflow'."""
    fast = form == "fused" and kernels.in_use() == "native" and kernels.native.instruction_set() in FAST
    return "native" if fast else "tensorflow"


def _suits(x, form):
    return kernels.module_for(x) is kernels.native and in_use(form) == "native"


def _plain(x, filters):
    # Not tf.nn.convolution, whose gradient fails for volumes outside a graph.
    return tf.nn.conv2d(x, filters, 1, "SAME") if x.shape.rank == 4 else tf.nn.conv3d(x, filters, [1] * 5, "SAME")


def _of_grids(x, filters, dilation):
    """The convolution of each of the coarser grids that make up the map.

    The same as TensorFlow's with dilations, in two thirds of its time on a CPU, and on any CPU at all.
    """
    known = x.shape[1:-1].is_fully_defined()
    sides = x.shape[1:-1] if known else tf.unstack(tf.shape(x)[1:-1])
    apart, filled = [dilation] * len(sides), [[0, -side % dilation] for side in sides]
    grids = _plain(tf.space_to_batch(x, apart, filled), filters)
    return tf.ensure_shape(tf.batch_to_space(grids, apart, filled), [*x.shape[:-1], filters.shape[-1]])
