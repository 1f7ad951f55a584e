"""The cardiac phantoms: reproducible, plausible, the same anatomy at every size."""

from collections import Counter

import numpy as np
import pytest
from layers import seldom
from scipy import ndimage

from data_prep.phantom import phantom
from ilnrepro.errors import InputError
from ilnrepro.storage import dataset


@pytest.fixture(scope="module", params=[("LV", 15), *(pytest.param(one, marks=pytest.mark.slow) for one in (
    ("LV", None), ("RV", None)))], ids=str)
def whole(request):
    """The default data set at 64 x 64, and its first subjects."""
    structure, subjects = request.param
    return phantom(structure, size=64, subjects=subjects)


def _areas(data):
    """The masks' areas in mm^2, a list of base to apex for each subject."""
    area = data.masks.sum(axis=(1, 2)) * data.optional["spacing"].prod(axis=1)
    return [area[data.subject == who] for who in dict.fromkeys(data.subject)]


def _dice(a, b):
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


def test_sound_and_complete(whole, tmp_path):
    dataset.write(tmp_path / "phantom.h5", whole)
    again = dataset.read(tmp_path / "phantom.h5")
    assert np.array_equal(again.images, whole.images)
    assert again.synthetic and again.licence == "CC0-1.0" and again.structure == whole.structure
    assert whole.images.dtype == whole.masks.dtype == np.uint8
    assert (whole.images.min(axis=(1, 2)) == 0).all() and (whole.images.max(axis=(1, 2)) == 255).all()
    assert whole.name[0] == f"{whole.structure}-phantom-01-slice-01"
    assert "site" not in whole.optional


def test_folds(whole):
    group = dict(zip(whole.subject, whole.fold, strict=True))
    assert all(group[who] == fold for who, fold in zip(whole.subject, whole.fold, strict=True))
    sizes = Counter(group.values())
    expected = {("LV", 45): [15, 15, 15], ("RV", 37): [12, 12, 13], ("LV", 15): [5, 5, 5]}
    assert [sizes[k] for k in (1, 2, 3)] == expected[whole.structure, len(group)]


def test_masks_are_plausible(whole):
    areas = _areas(whole)
    assert set(np.unique(whole.masks)) == {0, 1}
    assert all(6 <= len(a) <= 10 and a.min() > 0 for a in areas)
    assert all(a[-1] < 0.55 * a[0] for a in areas)
    assert np.mean([np.corrcoef(a, np.arange(len(a)))[0, 1] for a in areas]) < -0.85
    median = np.median(np.concatenate(areas))
    assert 800 < median < 2500 and max(a.max() for a in areas) < 8000


@pytest.mark.parametrize("structure", seldom(["LV", "RV"], ["RV"]))
def test_apex_never_vanishes(structure):
    assert (phantom(structure, size=32, subjects=12).masks.sum(axis=(1, 2)) >= 1).all()


@pytest.mark.parametrize("structure", ["LV", "RV"])
def test_one_connected_piece(structure):
    for mask in phantom(structure, size=128, subjects=4).masks:
        pieces, _ = ndimage.label(mask, np.ones((3, 3)))
        assert np.bincount(pieces.ravel())[1:].max() >= 0.97 * mask.sum()  # a thin tip may lose a pixel


def test_seed_decides():
    first, again, other = (phantom("LV", size=32, subjects=3, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.images, again.images) and np.array_equal(first.masks, again.masks)
    assert np.array_equal(first.fold, again.fold)
    assert not np.array_equal(first.images[0], other.images[0])


def test_subject_does_not_depend_on_their_number():
    few, more = phantom("RV", size=32, subjects=3), phantom("RV", size=32, subjects=5)
    assert np.array_equal(few.images, more.images[:len(few)])
    assert np.array_equal(few.masks, more.masks[:len(few)])
    assert np.array_equal(few.name, more.name[:len(few)])


def test_ventricles_of_a_subject_share_the_heart():
    left, right = phantom("LV", size=128, subjects=4), phantom("RV", size=128, subjects=4)
    assert np.array_equal(left.images, right.images)
    assert not (left.masks & right.masks).any()
    for a, b in zip(left.masks, right.masks, strict=True):
        apart = np.abs(np.argwhere(a)[:, None] - np.argwhere(b)[None]).max(axis=-1).min()
        assert 1 < apart < 12  # pixels of 2.8 mm: the septum lies between


@pytest.mark.parametrize("structure", seldom(["LV", "RV"], ["RV"]))
def test_same_anatomy_at_every_size(structure):
    fine = phantom(structure, size=256, subjects=3)
    for size in (32, 64, 128):
        coarse = phantom(structure, size=size, subjects=3)
        blocks = (len(fine), size, 256 // size, size, 256 // size)
        assert _dice(fine.masks.reshape(blocks).mean(axis=(2, 4)) >= 0.5, coarse.masks.astype(bool)) > 0.85
        shrunk = fine.images.reshape(blocks).mean(axis=(2, 4))
        alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(shrunk, coarse.images, strict=True)]
        assert np.mean(alike) > 0.85


def test_sites_differ():
    data = phantom("LV", size=64, subjects=6, sites=3)
    site, who = data.optional["site"], data.subject
    assert {s: len(set(who[site == s])) for s in (1, 2, 3)} == {1: 2, 2: 2, 3: 2}
    spacing = [set(data.optional["spacing"][site == s, 0]) for s in (1, 2, 3)]
    assert all(len(s) == 1 for s in spacing) and len(set.union(*spacing)) == 3
    alone = phantom("LV", size=64, subjects=6)
    assert np.array_equal(data.images[site == 1], alone.images[site == 1])  # site 1 is the only one's scanner
    for s in (2, 3):
        rest = data.images[site == s].astype(float), alone.images[site == s].astype(float)
        assert np.abs(rest[0] - rest[1]).mean() > 4


@pytest.mark.parametrize(("field", "arguments"), [
    ("structure", {"structure": "LA"}), ("structure", {"structure": ["LV"]}), ("size", {"size": 16}),
    ("size", {"size": 100}), ("size", {"size": 64.0}), ("subjects", {"subjects": 2}), ("sites", {"sites": 0}),
    ("sites", {"sites": True}), ("seed", {"seed": -1})])
def test_bad_parameters(field, arguments):
    with pytest.raises(InputError, match=f"phantom: {field}: ") as error:
        phantom(**{"structure": "LV", **arguments})
    assert str(arguments[field]) in str(error.value)


def test_number_of_folds_with_few_subjects():
    data = phantom("LV", size=32, subjects=4)
    assert sorted(Counter(dict(zip(data.subject, data.fold, strict=True)).values()).values()) == [1, 1, 2]


def test_crop_shows_the_middle_of_the_same_anatomy():
    whole, part = phantom("LV", 128, 3), phantom("LV", 64, 3, crop=0.5)
    middle = whole.masks[:, 32:96, 32:96].astype(bool)
    cropped = part.masks.astype(bool)
    assert 2 * (middle & cropped).sum() / (middle.sum() + cropped.sum()) > 0.95
    np.testing.assert_allclose(part.optional["spacing"], whole.optional["spacing"])
    with pytest.raises(InputError, match="crop"):
        phantom("LV", 64, 3, crop=0.1)
