"""What the network sees: shrinking, stretching, rotations, and the order of training."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ilnrepro.errors import InputError
from ilnrepro.ops.augmentation import batches, epoch_order, epoch_steps, prepare, rotate


def test_images_are_stretched_one_by_one_and_constant_ones_become_zeros():
    images = np.array([[[3, 5], [7, 11]], [[9, 9], [9, 9]]], np.uint8)
    stretched, masks = prepare(images, np.zeros_like(images))
    np.testing.assert_allclose(stretched[0], [[0, 0.25], [0.5, 1]])
    assert not stretched[1].any() and stretched.dtype == np.float32


def test_shrinking_averages_images_and_takes_half_covered_masks():
    images = np.array([[[0, 4, 8, 8], [4, 8, 8, 8], [1, 1, 0, 0], [1, 1, 0, 0]]], np.uint8)
    masks = np.array([[[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]], np.uint8)
    small, small_masks = prepare(images, masks, 2)
    np.testing.assert_allclose(small, [[[0.5, 1], [0.125, 0]]])  # of images stretched before
    np.testing.assert_array_equal(small_masks, [[[1, 0], [0, 1]]])
    with pytest.raises(InputError, match="not divisible by 2"):
        prepare(np.zeros((1, 5, 4), np.uint8), np.zeros((1, 5, 4), np.uint8), 2)


@pytest.mark.parametrize("degrees", [-60, -20, 0, 10, 45, 90])
def test_rotation_agrees_with_scipy(degrees):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.random((33, 33)), 2).astype(np.float32)
    image *= np.hypot(*np.indices((33, 33)) - 16) < 15  # zero at the rim, where the two libraries fill differently
    mask = (image > np.median(image[image > 0])).astype(np.uint8)
    rotated, rotated_mask = rotate(tf.constant(image), tf.constant(mask), np.float32(np.deg2rad(degrees)))
    expected = ndimage.rotate(image, degrees, reshape=False, order=1)
    assert np.abs(rotated - expected).max() < 1e-5
    nearest = ndimage.rotate(mask, degrees, reshape=False, order=0)
    assert np.mean(rotated_mask.numpy() != nearest) < 0.005  # ties between two pixels may fall either way


def test_rotation_turns_image_and_mask_together():
    image = np.zeros((32, 32), np.float32)
    image[4:9, 20:25] = 1
    rotated, mask = rotate(tf.constant(image), tf.constant(image.astype(np.uint8)), np.float32(0.7))
    assert np.abs((rotated.numpy() > 0.5).astype(int) - mask.numpy()).sum() <= 4
    centre = np.array(ndimage.center_of_mass(mask.numpy())) - 15.5
    start = np.array([6, 22]) - 15.5
    assert np.abs(np.hypot(*centre) - np.hypot(*start)) < 0.3


def test_an_epoch_visits_every_pair_once_in_an_order_of_its_own():
    images, angles = epoch_order(7, 5, 1, seed=3, epoch=0)
    assert sorted(zip(images[:, 0], angles[:, 0], strict=True)) == [(i, a) for i in range(7) for a in range(5)]
    same = epoch_order(7, 5, 1, seed=3, epoch=0)
    np.testing.assert_array_equal(images, same[0])
    for other in (epoch_order(7, 5, 1, seed=3, epoch=1), epoch_order(7, 5, 1, seed=4, epoch=0)):
        assert (images != other[0]).any()


def test_a_last_batch_is_filled_from_the_start_and_an_epoch_can_be_cut():
    images, angles = epoch_order(7, 5, 8, seed=0, epoch=0)
    assert images.shape == (5, 8) == (epoch_steps(7, 5, 8), 8)
    pairs = (images * 5 + angles).ravel()
    assert set(pairs) == set(range(35)) and (pairs[35:] == pairs[:5]).all()
    assert epoch_order(7, 5, 8, 0, 0, steps=2)[0].shape == (2, 8)
    assert epoch_steps(7, 5, 8, 2) == 2 and epoch_steps(7, 5, 8, 99) == 5


def test_batches_hold_the_images_asked_for():
    rng = np.random.default_rng(0)
    images, masks = rng.random((4, 16, 16)).astype(np.float32), rng.integers(0, 2, (4, 16, 16)).astype(np.uint8)
    order = np.array([[2, 0], [1, 3], [3, 3]])
    got = list(batches(images, masks, order, np.zeros((3, 2))))
    assert len(got) == 3
    for indices, (x, y) in zip(order, got, strict=True):
        assert np.abs(x[..., 0] - images[indices]).max() < 1e-6
        np.testing.assert_array_equal(y, masks[indices])


def test_a_volume_turns_slice_by_slice():
    volume = np.random.default_rng(0).random((3, 16, 24)).astype(np.float32)
    masks = (volume > 0.5).astype(np.uint8)
    turned, turned_masks = rotate(tf.constant(volume), tf.constant(masks), np.float32(0.4))
    for k in range(3):
        image, mask = rotate(tf.constant(volume[k]), tf.constant(masks[k]), np.float32(0.4))
        np.testing.assert_array_equal(turned[k], image)
        np.testing.assert_array_equal(turned_masks[k], mask)
    still, still_masks = rotate(tf.constant(volume), tf.constant(masks), np.float32(0))
    np.testing.assert_array_equal(still, volume)
    np.testing.assert_array_equal(still_masks, masks)


def test_volumes_are_stretched_as_a_whole_and_shrunk_slice_by_slice():
    volume = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    images, masks = prepare(volume, (volume > 20).astype(np.uint8), 2)
    assert images.shape == masks.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(images[0, 0], np.array([[2.5, 4.5], [10.5, 12.5]]) / 47, rtol=1e-6)
