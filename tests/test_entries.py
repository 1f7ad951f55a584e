"""A data set too large for memory: read as it is asked for, with the results of one that is not, to the bit."""

import numpy as np
import pytest
import tiny
from test_dataset import made_up
from test_training import configuration

from ilnrepro.ops.augmentation import batches, prepare
from ilnrepro.ops.entries import Entries
from ilnrepro.ops.slabs import cut
from ilnrepro.storage import dataset, inspection
from ilnrepro.training import loop


@pytest.fixture
def larger_than_memory(monkeypatch):
    monkeypatch.setattr(dataset, "memory", lambda: 1)


def entries(values):
    return Entries(lambda i: values[i], np.arange(len(values)), np.zeros_like(values[0]))


def test_entries_are_selected_and_read_as_an_array_is():
    values = np.random.default_rng(0).integers(0, 9, (6, 2, 3)).astype(np.uint8)
    read = []
    stored = Entries(lambda i: read.append(i) or values[i], np.arange(6), np.zeros([2, 3], np.uint8))
    assert (len(stored), stored.shape, stored.ndim, stored.dtype) == (6, (6, 2, 3), 3, np.uint8)
    some = stored[np.array([True, False, True, True, False, False])][1:][np.array([1, 0, 1])]
    assert not read and some.shape == (3, 2, 3)
    np.testing.assert_array_equal(some[1], values[2])
    assert read == [2]
    np.testing.assert_array_equal(some, values[[3, 2, 3]])
    np.testing.assert_array_equal(np.stack(list(stored)), values)
    doubled = stored[:2].map(lambda entry: entry[:1] * 2.5)
    assert (doubled.shape, doubled.dtype) == ((2, 1, 3), float)
    np.testing.assert_array_equal(doubled, values[:2, :1] * 2.5)
    assert np.asarray(stored[:0]).shape == (0, 2, 3)


@pytest.mark.parametrize("shrink", [1, 2])
def test_what_training_makes_of_entries_is_what_it_makes_of_arrays(shrink):
    rng = np.random.default_rng(0)
    volumes = rng.integers(0, 255, (3, 8, 4, 6)).astype(np.uint8)
    masks = (volumes > 99).astype(np.uint8)
    whole, read = prepare(volumes, masks, shrink), prepare(entries(volumes), entries(masks), shrink)
    slabs = [(cut(a, 4), cut(b, 4)) for a, b in zip(whole, read, strict=True)]
    for a, b in [*zip(whole, read, strict=True), *slabs]:
        assert isinstance(b, Entries) and (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)
    order, angle = np.array([[2, 0], [8, 3], [3, 3]]), rng.uniform(-1, 1, (3, 2))
    for a, b in zip(batches(*(slab[0] for slab in slabs), order, angle),
                    batches(*(slab[1] for slab in slabs), order, angle), strict=True):
        for one, other in zip(a, b, strict=True):
            assert one.shape == other.shape
            np.testing.assert_array_equal(one, other)


def test_a_run_is_the_same_to_the_bit(tmp_path, larger_than_memory, monkeypatch):
    path, asked = tmp_path / "made-up.h5", configuration("in", steps_per_epoch=6, block=2)
    dataset.write(path, made_up())
    stored = dataset.read(path)
    assert isinstance(stored.images, Entries) and isinstance(stored.masks, Entries)
    run = loop.run(asked, stored)
    monkeypatch.undo()
    data = dataset.read(path)
    assert isinstance(data.images, np.ndarray) and data.checksum == stored.checksum
    whole = loop.run(asked, data)
    for name in ("loss", "masks", "examples", "example_truth"):
        np.testing.assert_array_equal(getattr(run, name), getattr(whole, name), err_msg=name)
    for name, values in whole.test.items():
        np.testing.assert_array_equal(run.test[name], values, err_msg=name)


def test_images_are_read_one_at_a_time(tmp_path, larger_than_memory, monkeypatch):
    """No part of reading and checking asks for more than an entry."""
    path = tmp_path / "made-up.h5"
    dataset.write(path, made_up())
    monkeypatch.setattr(Entries, "__array__", None)
    data = dataset.read(path)
    dataset.check(data, path)
    assert inspection.describe(path)["images"] == len(data)


def test_commands_take_it(tmp_path, larger_than_memory):
    path = tmp_path / "made-up.h5"
    dataset.write(path, made_up())
    assert "made-up.h5" in tiny.command("ilnrepro", "inspect", path).stdout


def test_memory_is_known():
    assert 1e8 < dataset.memory() < 1e14
