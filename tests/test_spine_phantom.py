"""The spine phantoms: reproducible, plausible, the same anatomy at every size."""

import numpy as np
import pytest
from scipy import ndimage

from data_prep.spine_phantom import spine_phantom
from ilnrepro.errors import InputError
from ilnrepro.storage import dataset


@pytest.fixture(scope="module")
def data():
    """Five subjects, small."""
    return spine_phantom(64, 40, subjects=5)


@pytest.mark.slow
def test_sound_and_complete(tmp_path):
    data = spine_phantom(64, 40)
    dataset.write(tmp_path / "p.h5", data)
    again = dataset.read(tmp_path / "p.h5")
    assert again.images.shape == again.masks.shape == (10, 40, 64, 64) and again.images.dtype == np.float32
    assert again.synthetic and again.structure == "spine" and again.folds == [1, 2, 3, 4, 5]
    assert [int((again.fold == k).sum()) for k in again.folds] == [2] * 5
    np.testing.assert_allclose(again.optional["spacing"], [(4, 170 / 64, 170 / 64)] * 10)
    assert (data.images == np.round(data.images)).all()


def test_tissues_have_their_hounsfield_units(data):
    for image, mask in zip(data.images, data.masks, strict=True):
        bone = ndimage.binary_erosion(mask)
        assert 0.01 < mask.mean() < 0.12
        assert 150 < np.median(image[bone]) < 800
        assert image.min() >= -1024 and np.percentile(image, 5) < -700  # lungs, and air behind the back
        around = image[ndimage.binary_dilation(mask, iterations=6).astype(bool) & (mask == 0)]
        assert -50 < np.median(around) < 150 < np.median(image[mask == 1])


def test_ribs_are_bone_and_not_spine(data):
    """There is much bright bone off the spine: a threshold alone does not segment it."""
    for image, mask in zip(data.images, data.masks, strict=True):
        bright = image > 350
        assert (bright & (mask == 0)).sum() > 0.15 * (bright & (mask == 1)).sum()


@pytest.mark.slow
def test_six_vertebrae_with_bodies_apart_and_arches_about_a_canal():
    volume = spine_phantom(128, 80, subjects=2)
    for mask in volume.masks:
        profile = mask[:, 40:70].sum((1, 2))
        gaps = ndimage.label(profile < 0.35 * profile.max())[1]
        assert 5 <= gaps <= 8  # the discs between the bodies, and behind them the arches' gaps
        canals = [ndimage.binary_fill_holes(s).sum() > s.sum() + 60 for s in mask]
        assert 0.15 < np.mean(canals) < 0.8  # closed rings at the arches, open between them


def test_seed_decides_and_a_subject_does_not_depend_on_their_number():
    few, more, other = spine_phantom(32, 16, 2), spine_phantom(32, 16, 3), spine_phantom(32, 16, 2, seed=1)
    np.testing.assert_array_equal(few.images, more.images[:2])
    np.testing.assert_array_equal(few.masks, more.masks[:2])
    assert (few.masks != other.masks).any() and (few.images != other.images).any()


@pytest.mark.slow
def test_same_anatomy_at_every_size():
    fine, coarse = spine_phantom(96, 80, 2), spine_phantom(48, 40, 2)
    shrunk = fine.masks.reshape(2, 40, 2, 48, 2, 48, 2).mean((2, 4, 6)) >= 0.5
    assert 2 * (shrunk & (coarse.masks > 0)).sum() / (shrunk.sum() + coarse.masks.sum()) > 0.85
    small = fine.images.reshape(2, 40, 2, 48, 2, 48, 2).mean((2, 4, 6))
    assert min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(small, coarse.images, strict=True)) > 0.93


def test_crop_shows_the_middle_of_the_same_anatomy():
    whole, part = spine_phantom(64, 16, 2), spine_phantom(32, 16, 2, crop=0.5)
    middle = whole.masks[:, :, 16:48, 16:48] > 0
    assert 2 * (middle & (part.masks > 0)).sum() / (middle.sum() + part.masks.sum()) > 0.98


@pytest.mark.parametrize("field, changes", [("size", {"size": 16}), ("size", {"size": 40}), ("slices", {"slices": 8}),
                                            ("subjects", {"subjects": 1}), ("seed", {"seed": -1}),
                                            ("crop", {"crop": 0.1})])
def test_bad_parameters(field, changes):
    with pytest.raises(InputError, match=f"spine-phantom: {field}: "):
        spine_phantom(**{"size": 32, "slices": 16, "subjects": 2} | changes)
