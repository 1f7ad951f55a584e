"""What the network sees: shrinking, stretching, rotations, and the order of training."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ilnrepro.errors import InputError
from ilnrepro.ops.augmentation import batches, epoch_order, epoch_steps, factors, prepare, rotate
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.training.loop import augmentation


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


@pytest.mark.parametrize("degrees, zoom", [(0, 0.75), (30, 1.4), (-60, 1 / 1.4)])
def test_zoom_and_rotation_in_one_resampling_agree_with_scipy(degrees, zoom):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.random((33, 33)), 2).astype(np.float32)
    image *= np.hypot(*np.indices((33, 33)) - 16) < 10
    mask = (image > np.median(image[image > 0])).astype(np.uint8)
    warped, warped_mask = rotate(tf.constant(image), tf.constant(mask), np.float32(np.deg2rad(degrees)), zoom)
    cosine, sine = np.cos(np.deg2rad(degrees)) / zoom, np.sin(np.deg2rad(degrees)) / zoom
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    expected, expected_mask = (ndimage.affine_transform(a, matrix, 16 - matrix @ [16, 16], order=order)
                               for a, order in ((image, 1), (mask, 0)))
    assert np.abs(warped - expected).max() < 1e-5
    assert np.mean(warped_mask.numpy() != expected_mask) < 0.005
    assert warped_mask.numpy().sum() / mask.sum() == pytest.approx(zoom**2, rel=0.1)


def test_factors_lie_about_one_on_a_logarithmic_scale():
    drawn = factors(1.5, (5000, 2), seed=3, stream=1)
    assert drawn.min() > 1 / 1.5 and drawn.max() < 1.5 and abs(np.log(drawn).mean()) < 0.01
    assert np.log(drawn).std() == pytest.approx(np.log(1.5) / 3**0.5, rel=0.05)
    np.testing.assert_array_equal(drawn, factors(1.5, (5000, 2), seed=3, stream=1))
    for other in (factors(1.5, (5000, 2), seed=4, stream=1), factors(1.5, (5000, 2), seed=3, stream=2)):
        assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 0.05


def test_batches_zoom_and_raise_grey_levels_and_go_on_alike():
    rng = np.random.default_rng(0)
    images, masks = rng.random((4, 16, 16)).astype(np.float32), rng.integers(0, 2, (4, 16, 16)).astype(np.uint8)
    order, angle = rng.integers(0, 4, (6, 2)), rng.uniform(-1, 1, (6, 2))
    c = Configuration("d", "0", "LV", "in", 1, 0.1, 5, protocol("tiny", zoom=1.4, gamma=1.5))
    drawn = augmentation(c, angle.shape)
    assert set(drawn) == {"zoom", "gamma"} and c.path.parent.name == "in+zoom1.4+gamma1.5"
    assert Configuration.from_path("x" / c.path).protocol == c.protocol
    assert augmentation(Configuration("d", "0", "LV", "in", 1, 0.1, 5, protocol("tiny")), (6, 2)) == {}
    whole = list(batches(images, masks, order, angle, **drawn))
    for step, (x, y) in enumerate(whole):
        for i in range(2):
            image, mask = rotate(tf.constant(images[order[step, i]]), tf.constant(masks[order[step, i]]), np.float32(
                angle[step, i]), np.float32(drawn["zoom"][step, i]))
            np.testing.assert_allclose(x[i, ..., 0], image.numpy() ** drawn["gamma"][step, i], atol=1e-5)
            np.testing.assert_array_equal(y[i], mask)
    rest = batches(images, masks, order[2:], angle[2:], **{name: values[2:] for name, values in drawn.items()})
    for one, same in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(one[0], same[0])
    gamma = next(iter(batches(images, masks, order, 0 * angle, gamma=np.full((6, 2), 2.0))))[0]
    np.testing.assert_allclose(gamma[..., 0], images[order[0]] ** 2, atol=1e-5)


@pytest.mark.parametrize("change", [{"zoom": 0.5}, {"gamma": 0}, {"zoom": float("inf")}, {"gamma": 5}])
def test_factors_below_one_or_far_above_are_refused(change):
    with pytest.raises(InputError, match="give a number from 1 to 4"):
        protocol("tiny", **change)


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
