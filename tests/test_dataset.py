"""Data set files: written whole or not at all, read back as they were, and refused when they are not sound."""

import h5py
import numpy as np
import pytest

from ilnrepro.errors import InputError
from ilnrepro.preparation import Preparation
from ilnrepro.storage import dataset, hdf5
from ilnrepro.storage.dataset import DataSet


def made_up(n=6, size=16, **changes):
    rng = np.random.default_rng(0)
    fields = dict(
        images=rng.integers(0, 256, (n, size, size)).astype(np.uint8),
        masks=rng.integers(0, 2, (n, size, size)).astype(np.uint8),
        subject=np.array([f"s{i}" for i in range(n)]), name=np.array([f"image {i}" for i in range(n)]),
        fold=np.arange(n) % 3 + 1, title="made up", structure="LV", source="a test", licence="CC0-1.0", citation="",
        synthetic=True, optional={"spacing": np.ones((n, 2)), "site": np.arange(n)})
    return DataSet(**fields | changes)


def test_written_and_read_back(tmp_path):
    data = made_up()
    dataset.write(tmp_path / "d.h5", data)
    again = dataset.read(tmp_path / "d.h5")
    for key in ("images", "masks", "subject", "name", "fold"):
        np.testing.assert_array_equal(getattr(again, key), getattr(data, key))
        assert getattr(again, key).dtype.kind == getattr(data, key).dtype.kind
    assert again.synthetic is True and again.structure == "LV" and set(again.optional) == {"spacing", "site"}
    assert len(again.checksum) == 64


def test_data_are_named_by_what_training_sees(tmp_path):
    """Audit, text, preparation and spacing describe them; images, masks, subjects, names, folds and sites are them."""
    def checksum(**changes):
        dataset.write(tmp_path / "d.h5", made_up(**changes))
        return dataset.read(tmp_path / "d.h5").checksum

    data, named = made_up(), checksum()
    for changes in (dict(audit="{}"), dict(title="other"), dict(licence=""), dict(source="b"), dict(synthetic=False),
                    dict(optional={"spacing": np.full((6, 2), 2.0), "site": np.arange(6)}),
                    dict(preparation=Preparation((16, 16), "crop", 1.4))):
        assert checksum(**changes) == named, changes
    for changes in (dict(images=data.images ^ 1), dict(masks=data.masks ^ 1), dict(subject=data.subject[::-1]),
                    dict(name=data.name[::-1]), dict(fold=data.fold[::-1]), dict(optional={"site": np.arange(6) // 2}),
                    dict(images=data.images.astype(np.float32))):
        assert checksum(**changes) != named, changes


def test_a_file_of_an_earlier_version_keeps_its_name(tmp_path):
    """It told no preparation, and its data were named by all of it."""
    path = tmp_path / "d.h5"
    dataset.write(path, made_up(preparation=Preparation((16, 16), "crop", 1.4)))
    assert dataset.read(path).preparation == Preparation((16, 16), "crop", 1.4)
    with h5py.File(path, "r+") as file:
        del file.attrs["preparation"], file.attrs["seen_checksum"]
        file.attrs["checksum"] = whole = hdf5.checksum(file)
    hdf5.seal(path)
    again = dataset.read(path)
    assert again.checksum == whole and again.preparation == Preparation((16, 16))


def volumes(**changes):
    rng = np.random.default_rng(0)
    shape = (6, 5, 16, 16)
    return made_up(**{"images": rng.normal(size=shape).astype(np.float32), "optional": {"spacing": np.ones((6, 3))},
                      "masks": rng.integers(0, 2, shape).astype(np.uint8)} | changes)


def test_volumes_are_written_read_and_explained(tmp_path):
    data = volumes()
    dataset.write(tmp_path / "d.h5", data)
    again = dataset.read(tmp_path / "d.h5")
    np.testing.assert_array_equal(again.images, data.images)
    np.testing.assert_array_equal(again.masks, data.masks)
    assert again.size.startswith("6 volumes of ")
    with h5py.File(tmp_path / "d.h5") as file:
        assert [d.label for d in file["images"].dims] == ["image", "slice", "row", "column"]


@pytest.mark.parametrize("change, words", [
    (dict(masks=np.zeros((6, 4, 16, 16), np.uint8)), "masks: shape"),
    (dict(masks=np.zeros((6, 16, 16), np.uint8)), "masks: shape"),
    (dict(images=np.full((6, 5, 16, 16), np.inf, np.float32)), "images: NaN"),
    (dict(images=np.zeros((6, 5, 16, 16, 1), np.float32)), r"neither \[n, H, W\] nor \[n, D, H, W\]"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_unsound_volumes_are_refused(tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        dataset.write(tmp_path / "d.h5", volumes(**change))


def test_file_explains_itself(tmp_path):
    dataset.write(tmp_path / "d.h5", made_up())
    with h5py.File(tmp_path / "d.h5") as file:
        assert [d.label for d in file["images"].dims] == ["image", "row", "column"]
        assert "meaning" in file["masks"].attrs and file["spacing"].attrs["unit"] == "mm"


@pytest.mark.parametrize("change, words", [
    (dict(masks=np.zeros((6, 16, 8), np.uint8)), "masks: shape"),
    (dict(masks=np.zeros((5, 16, 16), np.uint8)), "masks: shape"),
    (dict(masks=np.full((6, 16, 16), 2, np.uint8)), "masks: values other than 0 and 1"),
    (dict(images=np.full((6, 16, 16), np.nan, np.float32)), "images: NaN"),
    (dict(images=np.zeros((6, 16, 16), np.int32)), "images: type int32"),
    (dict(images=np.zeros((6, 16), np.uint8)), "images: shape"),
    (dict(images=np.zeros((0, 16, 16), np.uint8)), "images: there are none"),
    (dict(subject=np.array(["a", "a", "b", "b", "c", "c"])), "subject 'a' is in folds 1 and 2"),
    (dict(fold=np.ones(6, int)), "only one fold"),
    (dict(fold=np.arange(6) % 3), "folds are numbered from 1"),
    (dict(fold=np.arange(5) % 3 + 1), "fold: 5 entries for 6 images"),
    (dict(name=np.array(["x"] * 6)), "name: not unique"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_unsound_data_are_refused_and_nothing_is_written(tmp_path, change, words):
    with pytest.raises(InputError, match=words) as caught:
        dataset.write(tmp_path / "d.h5", made_up(**change))
    assert "d.h5" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_constant_image_is_warned_about(tmp_path):
    images = made_up().images
    images[2] = 7
    with pytest.warns(UserWarning, match="1 constant image.*image 2"):
        dataset.write(tmp_path / "d.h5", made_up(images=images))


def test_missing_foreign_and_cut_short_files(tmp_path):
    path = tmp_path / "d.h5"
    with pytest.raises(InputError, match="no such file"):
        dataset.read(path)
    with pytest.raises(InputError, match="is a folder"):
        dataset.read(tmp_path)
    path.write_text("not HDF5", encoding="utf-8")
    with pytest.raises(InputError, match="not a readable HDF5 file"):
        dataset.read(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="not a data set file"):
        dataset.read(path)
    dataset.write(path, made_up())
    whole = path.read_bytes()
    for length in (100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="d.h5"):
            dataset.read(path)


def test_every_changed_byte_that_matters_is_noticed(tmp_path):
    path = tmp_path / "d.h5"
    data = made_up()
    dataset.write(path, data)
    whole = path.read_bytes()
    before = dataset.read(path)
    rng = np.random.default_rng(0)
    noticed = 0
    for position in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            after = dataset.read(path)
        except InputError:
            noticed += 1
            continue
        for key in ("images", "masks", "subject", "name", "fold"):  # unused bytes may differ, content may not
            np.testing.assert_array_equal(getattr(after, key), getattr(before, key))
    assert noticed > 20


def test_interrupted_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), hdf5.writing(tmp_path / "d.h5") as file:
        file["x"] = 1
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        dataset.write(tmp_path / "file" / "d.h5", made_up())


def test_older_format_is_refused(tmp_path):
    dataset.write(tmp_path / "d.h5", made_up())
    with h5py.File(tmp_path / "d.h5", "a") as file:
        file.attrs["format_version"] = 0
        file.attrs["checksum"] = hdf5.checksum(file)
    hdf5.seal(tmp_path / "d.h5")
    with pytest.raises(InputError, match="format_version 0"):
        dataset.read(tmp_path / "d.h5")


def test_content_that_its_checksum_denies_is_refused(tmp_path):
    dataset.write(tmp_path / "d.h5", made_up())
    with h5py.File(tmp_path / "d.h5", "a") as file:
        file["masks"][0, 0, 0] ^= 1
    with pytest.raises(InputError, match="its bytes do not match"):
        dataset.read(tmp_path / "d.h5")
    (tmp_path / "d.h5").write_bytes((tmp_path / "d.h5").read_bytes()[hdf5._BLOCK:])  # a file without a seal
    with pytest.raises(InputError, match="its content does not match its checksum"):
        dataset.read(tmp_path / "d.h5")
