"""From an image to a data set's grid and back: whole pixels keep, the graph does what NumPy does, files tell it."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from ilnrepro.errors import InputError
from ilnrepro.preparation import Preparation, stretched
from ilnrepro.use import graph

KINDS = [Preparation(), Preparation((24, 32)), Preparation((24, 32), "crop"), Preparation((24, 32), "crop", 1.1),
         Preparation((24, 32), "resize"), Preparation((24, 32), "crop", 0.8, True), Preparation((24, 32), stretch=True)]
SHAPES, SPACING = [(24, 32), (23, 41), (31, 17), (61, 59)], (1.3, 0.9)


def image_of(shape):
    return np.random.default_rng(0).integers(-40, 900, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_whole_pixels_come_back_where_they_were(shape):
    mask = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8)
    there = Preparation((24, 32), "crop").mask(mask)
    assert there.shape == (24, 32)
    back = Preparation((24, 32), "crop").back(there, shape)
    rows, columns = ((slice((n - m) // 2, (n - m) // 2 + m) if n > m else slice(None)) for n, m in zip(
        shape, (24, 32), strict=True))
    np.testing.assert_array_equal(back[rows, columns], mask[rows, columns])
    assert back.sum() == there.sum()
    kept = Preparation((24, 32))  # nothing is cut where the source was taken as it was
    np.testing.assert_array_equal(kept.back(kept.mask(mask), shape), mask)
    assert kept.image(image_of(shape)).shape == tuple(np.maximum((24, 32), shape))


@pytest.mark.parametrize("preparation", [Preparation((24, 32), "crop", 1.1), Preparation((24, 32), "resize")])
def test_a_resampled_mask_comes_back_to_its_place(preparation):
    rows, columns = np.mgrid[:50, :44]
    mask = ((rows - 22) ** 2 + (columns - 25) ** 2 < 9**2).astype(np.uint8)
    spacing = (0.5, 0.6)
    back = preparation.back(preparation.mask(mask, spacing), mask.shape, spacing)
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.9
    full = preparation.back(np.ones((24, 32), np.uint8), mask.shape, spacing)
    assert full[8:-8, 8:-8].all() and (preparation.fit == "crop" or full.all())


@pytest.mark.parametrize("preparation, shape", itertools.product(KINDS, SHAPES), ids=str)
def test_the_graph_does_the_same(preparation, shape, eagerly):
    image = image_of(shape)
    spacing = None if preparation.spacing is None else SPACING
    there, back = graph.positions(preparation, tf.constant(shape), spacing and tf.constant(SPACING, tf.float32))
    found = graph.image(preparation, tf.constant(image[None]), there).numpy()[0]
    expected = preparation.image(image, spacing)
    apart = np.abs(found - expected)
    assert np.quantile(apart, 0.99) < 1e-3 and apart.max() < (1.01 if preparation.stretch else 1e-3)  # halves round
    rows, columns = (np.arange(n) - n / 2 for n in expected.shape)
    mask = (np.hypot(rows[:, None], columns) < 9).astype(np.uint8)  # halves round either way on its rim
    returned = graph.nearest(tf.constant(mask[None]), back).numpy()[0]
    assert (returned != preparation.back(mask, shape, spacing)).mean() < 0.03 and returned.shape == shape


def test_a_preparation_is_told_in_full():
    for preparation in KINDS:
        assert Preparation.from_json(preparation.json) == preparation
    assert str(KINDS[3]) == "resampled to 1.1 mm, cropped or padded to 24×32 pixels; grey levels as in the source"


def test_a_missing_pixel_size_is_named():
    with pytest.raises(InputError, match=r"no pixel size in the file.* 1\.1 mm"):
        Preparation((24, 32), "crop", 1.1).image(image_of((24, 32)))


def test_grey_levels_are_stretched_before_anything_is_added():
    image = image_of((10, 12))
    found = Preparation((24, 32), "crop", stretch=True).image(image)
    np.testing.assert_array_equal(found[7:17, 10:22], stretched(image))
    assert found.dtype == np.uint8 and not found[:7].any()
