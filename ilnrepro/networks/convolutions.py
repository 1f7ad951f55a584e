"""The convolutions of the networks: TensorFlow's operations, or native ones where these are faster.

Both compute the same sums, with rounding in another order. The native ones also sum the moments of what they compute,
and apply the maps of normalizations to what they read, so that a normalized feature map need not be written.
"""

from ilnrepro import tf
from ilnrepro.norms import kernels
from ilnrepro.norms.values import Unapplied

FAST = ("AVX2 with FMA",)  # the instruction sets on which native convolutions were measured to be faster


def convolution(x, filters, form="fused", dilation=1):
    """The "SAME" convolution `[N, ..., K]` of images or volumes x `[N, ..., C]`.

    Args:
      filters: `[..., C, K]`, with an odd number of taps in each direction.
      form: 'fused' takes the native convolution where it is in use; any other form takes TensorFlow's.
      dilation: distance of the taps.
    """
    if _uses_native(x, form):
        return kernels.native.convolution(x, filters, dilation=dilation)
    return _plain(x, filters) if dilation == 1 else _dilated(x, filters, dilation)


def transposed(x, filters, form="fused"):
    """The transposed convolution of stride 2 that doubles the sides of x `[N, ..., C]`; filters are `[..., K, C]`.

    The static shape is known if that of x is.
    """
    if _uses_native(x, form):
        return kernels.native.convolution(x, filters, stride=2, flipped=True)
    n, *sides = tf.unstack(tf.shape(x)[:-1])
    transpose = tf.nn.conv2d_transpose if x.shape.rank == 4 else tf.nn.conv3d_transpose
    y = transpose(x, filters, [n, *(2 * side for side in sides), filters.shape[-2]], 2, "SAME")
    if x.shape[1:-1].is_fully_defined():
        y = tf.ensure_shape(y, [x.shape[0], *(2 * side for side in x.shape[1:-1]), filters.shape[-2]])
    return y


def with_moments(x, filters, form="fused", transpose=False, needed=True):
    """(`convolution` or `transposed` of x, its mean and variance `[N, K]`); of TensorFlow's, (that, None).

    Args:
      x: a feature map, an `Unapplied`, or a list of these, whose channels follow one another.
      needed: whether moments are; otherwise zeros stand for them.
    """
    sources = x if isinstance(x, list) else [x]
    mapped = isinstance(sources[0], Unapplied)
    if not mapped and (len(sources) > 1 or not _uses_native(x, form)):
        joined = tf.concat(sources, -1) if len(sources) > 1 else sources[0]
        return (transposed if transpose else convolution)(joined, filters, form), None
    kind = {"stride": 2, "flipped": True} if transpose else {}
    y, moments = kernels.native.convolution_of_maps(sources if mapped else sources[0], filters, needed, **kind)
    return y, moments or [tf.zeros([tf.shape(y)[0], y.shape[-1]], y.dtype)] * 2


def max_pool(x):
    """The maximum over 2×2 pixels of images x, which may be `Unapplied`."""
    return kernels.native.max_pool(x) if isinstance(x, Unapplied) else tf.nn.max_pool2d(x, 2, 2, "VALID")


def in_use(form="fused"):
    """The name of the convolutions that a network of this form uses here, 'native' or 'tensorflow'."""
    fast = form == "fused" and kernels.in_use() == "native" and kernels.native.instruction_set() in FAST
    return "native" if fast else "tensorflow"


def _uses_native(x, form):
    return kernels.module_for(x) is kernels.native and in_use(form) == "native"


def _plain(x, filters):
    # Not tf.nn.convolution, whose gradient fails for volumes outside a graph.
    return tf.nn.conv2d(x, filters, 1, "SAME") if x.shape.rank == 4 else tf.nn.conv3d(x, filters, [1] * 5, "SAME")


def _dilated(x, filters, dilation):
    """The dilated convolution, as a plain one of each of the coarser grids of which the map consists.

    It equals TensorFlow's dilated convolution, takes two thirds of its time on a CPU, and works on any CPU.
    """
    static = x.shape[1:-1].is_fully_defined()
    sides = x.shape[1:-1] if static else tf.unstack(tf.shape(x)[1:-1])
    steps, padding = [dilation] * len(sides), [[0, -side % dilation] for side in sides]
    grids = _plain(tf.space_to_batch(x, steps, padding), filters)
    return tf.ensure_shape(tf.batch_to_space(grids, steps, padding), [*x.shape[:-1], filters.shape[-1]])
