"""Scores."""

import numpy as np
import pytest

from ilnrepro.ops.metrics import dice, intersection_over_union, overlap, surface_distances


def test_dice_by_hand():
    truth = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]], [[1, 1], [1, 1]]], np.uint8)
    predicted = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], np.uint8)
    counts = overlap(truth, predicted)
    np.testing.assert_array_equal(counts, [[2, 0, 1, 4], [2, 0, 0, 4], [1, 0, 0, 4]])
    np.testing.assert_allclose(dice(*counts), [0.5, 1, 0, 1])
    np.testing.assert_allclose(intersection_over_union(*counts), [1 / 3, 1, 0, 1])


def test_surface_distances_in_millimetres():
    pytest.importorskip("surface_distance", reason="the extra `surface` is not installed")
    masks = np.zeros([2, 20, 20], np.uint8)
    masks[0, 5:15, 5:15] = masks[1, 5:15, 7:17] = 1  # moved by two columns
    distances = {}
    for spacing in ((1, 1), (3, 1), (1, 0.5)):
        distances[spacing], _ = surface_distances(masks[:1], masks[1:], np.array([spacing]))
    assert distances[1, 1] == distances[3, 1] == 2 * distances[1, 0.5] == 2
    nothing = np.zeros_like(masks[:1])
    assert surface_distances(masks[:1], nothing, np.array([(3, 4)]))[0] == 100  # the diagonal of 60 by 80


def test_surface_distances_by_hand():
    pytest.importorskip("surface_distance", reason="the extra `surface` is not installed")
    masks = np.zeros((4, 40, 40), bool)
    masks[0, 10:20, 10:20] = masks[1, 13:23, 10:20] = masks[3, 12:18, 12:18] = True
    hd95, assd = surface_distances(masks[[0, 0, 0, 2, 0]], masks[[0, 1, 2, 2, 3]])
    diagonal = np.hypot(40, 40)
    np.testing.assert_allclose(hd95[:4], [0, 3, diagonal, 0])
    np.testing.assert_allclose(assd[[0, 2, 3]], [0, diagonal, 0])
    assert 0.8 < assd[1] < 2 and 1.9 < assd[4] < 2.5  # two squares one in the other, two pixels apart all round
