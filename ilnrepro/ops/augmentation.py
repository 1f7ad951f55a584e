"""Preparation of images for a network: intensities stretched, sides shrunk, and rotations during training."""

import math

import numpy as np

from ilnrepro import tf
from ilnrepro.errors import InputError
from ilnrepro.ops.entries import Entries


def prepare(images, masks, shrink=1):
    """Images stretched to [0, 1], float32, and their masks, uint8, both averaged over shrink × shrink pixels.

    Each image is stretched by its own smallest and largest value; a constant image becomes zeros. A mask is 1 where its
    average is ≥ 0.5.

    Args:
      images, masks: `[n, ..., H, W]`; of `Entries` it gives `Entries`.

    Raises:
      InputError: the sides are not divisible by `shrink`.
    """
    if any(side % shrink for side in images.shape[-2:]):
        raise InputError(f"images: size {images.shape[-2]}×{images.shape[-1]} is not divisible by {shrink}, "
                         "by which this protocol shrinks; use protocol 'quick' or 'paper', or crop the images")
    if isinstance(images, Entries):
        return (images.map(lambda image: _stretched(image[np.newaxis], shrink)[0]),
                masks.map(lambda mask: _shrunk(mask[np.newaxis], shrink)[0]))
    return _stretched(images, shrink), _shrunk(masks, shrink)


def _stretched(images, shrink):
    flat = images.reshape(len(images), -1).astype(np.float32)
    low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    images = ((flat - low) / np.where(high > low, high - low, 1)).reshape(images.shape)
    return images if shrink == 1 else _mean_over_squares(images, shrink)


def _shrunk(masks, shrink):
    return masks if shrink == 1 else (_mean_over_squares(masks, shrink) >= 0.5).astype(np.uint8)


def enlarged(masks, like):
    """Masks of `prepare`, enlarged to the resolution of `like` by repeating their pixels."""
    side = like.shape[-1] // masks.shape[-1]
    return masks.repeat(side, axis=-2).repeat(side, axis=-1)


def _mean_over_squares(a, side):
    *rest, height, width = a.shape
    return a.reshape(*rest, height // side, side, width // side, side).mean(axis=(-3, -1), dtype=np.float32)


def epoch_steps(images, angles, batch, steps=None):
    """The number of steps of one epoch: all (image, angle) pairs once, or `steps` if that is fewer."""
    all_pairs = math.ceil(images * angles / batch)
    return all_pairs if steps is None else min(all_pairs, steps)


def epoch_order(images, angles, batch, seed, epoch, steps=None):
    """Indices of the images and of the angles of one epoch's batches, `[steps, batch]` each.

    All (image, angle) pairs come once, in an order drawn from (seed, epoch). The last batch is filled up from the start
    of the order. `steps` cuts the epoch short.
    """
    order = np.random.default_rng((seed, epoch)).permutation(images * angles)
    order = np.resize(order, (epoch_steps(images, angles, batch), batch))[:steps]
    return order // angles, order % angles


def factors(largest, shape, seed, stream):
    """Random factors of this shape between 1/largest and largest, their logarithm uniform, from (seed, stream)."""
    return largest ** np.random.default_rng((seed, 0, stream)).uniform(-1, 1, shape)


def rotate(image, mask, angle, zoom=1.0):
    """An image `[H, W]`, or the slices of a volume `[D, H, W]`, and its mask, rotated anticlockwise about the centre.

    The image is interpolated bilinearly and the mask by the nearest pixel; both are filled with zeros.

    Args:
      angle: in radians.
      zoom: factor by which they are enlarged about the centre, in the same resampling.
    """
    height, width = tf.unstack(tf.cast(tf.shape(image)[-2:], tf.float32))
    cosine, sine = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    row, column = (height - 1) / 2, (width - 1) / 2
    transform = tf.stack([cosine, -sine, column - cosine * column + sine * row,
                          sine, cosine, row - sine * column - cosine * row, 0, 0])[tf.newaxis]

    def resample(a, interpolation):
        shape = tf.shape(a)
        slices = tf.reshape(a, tf.concat([[-1], shape[-2:], [1]], 0))
        return tf.reshape(tf.raw_ops.ImageProjectiveTransformV3(
            images=slices, transforms=transform, output_shape=shape[-2:], fill_value=0.0, interpolation=interpolation,
            fill_mode="CONSTANT"), shape)

    return resample(image, "BILINEAR"), resample(mask, "NEAREST")


def batches(images, masks, image_index, angle, zoom=None, gamma=None):
    """A `tf.data` pipeline of training batches: (images `[B, H, W, 1]`, masks `[B, H, W]`).

    Images are rotated in a thread beside the training step and held in memory once; of `Entries`, those of the batches
    alone. Volumes give batches `[B, D, H, W, 1]` and `[B, D, H, W]`.

    Args:
      images, masks: `[n, H, W]` or `[n, D, H, W]`.
      image_index: of the batches' images, `[steps, B]`.
      angle: by which they are rotated, in radians, `[steps, B]`.
      zoom: factors by which they are enlarged, `[steps, B]`; None for none.
      gamma: exponents of their grey levels from 0 to 1, `[steps, B]`; None for none.
    """
    pair = _pairs(images, masks)

    def load(indices, angles, zooms=None, gammas=None):
        pairs = [rotate(*pair(indices[i]), angles[i], 1.0 if zoom is None else zooms[i])
                 for i in range(image_index.shape[1])]
        if gamma is not None:
            pairs = [(image ** gammas[i], mask) for i, (image, mask) in enumerate(pairs)]
        return (tf.stack([image for image, _ in pairs])[..., tf.newaxis],
                tf.cast(tf.stack([mask for _, mask in pairs]), tf.int32))

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    columns = [image_index.astype(np.int32), angle.astype(np.float32)]
    if zoom is not None or gamma is not None:
        columns += [np.float32(np.ones_like(angle) if factor is None else factor) for factor in (zoom, gamma)]
    steps = tf.data.Dataset.from_tensor_slices(tuple(columns))
    return steps.map(load).prefetch(8).with_options(options)


def _pairs(images, masks):
    """A function of a tensor, the index of an image: the image and its mask."""
    if not isinstance(images, Entries):
        images, masks = tf.constant(images), tf.constant(masks)
        return lambda index: (images[index], masks[index])

    def read(index):
        pair = tf.numpy_function(lambda i: (images[i], masks[i]), [index], (images.dtype, masks.dtype), stateful=False)
        return [tf.ensure_shape(one, images.shape[1:]) for one in pair]

    return read
