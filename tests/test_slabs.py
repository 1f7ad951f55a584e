"""Slabs: what is cut from a volume, and the volume put together again."""

import numpy as np
import pytest

from ilnrepro.ops.entries import Entries
from ilnrepro.ops.slabs import cut, joined, starts


@pytest.mark.parametrize("depth, expected", [(9, [0]), (16, [0]), (17, [0, 1]), (24, [0, 8]), (40, [0, 8, 16, 24]),
                                             (43, [0, 8, 16, 24, 27])])
def test_slabs_begin_half_a_slab_apart_and_the_last_ends_with_the_volume(depth, expected):
    assert starts(depth, 16) == expected


@pytest.mark.parametrize("depth", [1, 15, 16, 17, 24, 31, 40, 43])
def test_a_network_that_returns_its_input_gives_the_volume_back(depth):
    volumes = np.random.default_rng(0).random((3, depth, 2, 3))
    slabs = cut(volumes, 16)
    each = len(starts(depth, 16))
    assert slabs.shape == (3 * each, 16, 2, 3)
    for k in range(3):
        np.testing.assert_array_equal(joined(slabs[k * each:(k + 1) * each], depth), volumes[k])


def test_prediction_keeps_the_middle_eight_and_the_ends_from_the_ends():
    slabs = np.arange(4).repeat(16).reshape(4, 16, 1, 1)
    np.testing.assert_array_equal(joined(slabs, 40)[:, 0, 0], [0] * 12 + [1] * 8 + [2] * 8 + [3] * 12)


def test_a_volume_thinner_than_a_slab_is_filled_up_behind():
    volumes = np.ones((2, 15, 4, 4), np.float32)
    for slabs in (cut(volumes, 16), np.asarray(cut(Entries(lambda i: volumes[i], np.arange(2), volumes[0]), 16))):
        assert slabs.shape == (2, 16, 4, 4) and slabs.dtype == np.float32
        np.testing.assert_array_equal(slabs[:, :15], volumes)
        assert not slabs[:, 15].any()
