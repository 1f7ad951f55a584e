"""Raw sources into data sets: what is read is what was written, folds, audits; on real data where at hand."""

import csv
import json
import os
import shutil
import weakref
import zlib
from argparse import Namespace
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason='the optional extra "images" is not installed')

import raw_trees

from data_prep import audit, cases, contours, folds, sunnybrook
from data_prep.__main__ import main
from ilnrepro.errors import InputError
from ilnrepro.preparation import fitted, resampled, stretched
from ilnrepro.storage import dataset

REAL = os.environ.get("ILNREPRO_TEST_DATA")
needs_real = pytest.mark.skipif(not REAL, reason="ILNREPRO_TEST_DATA names no folder of real data")


@pytest.fixture
def made(tmp_path):
    """Runs the command line with an output of its own and returns the data set and its audit."""
    def run(*arguments):
        output = tmp_path / "made.h5"
        assert main([*map(str, arguments), "--output", str(output)]) == 0
        data = dataset.read(output)
        return data, json.loads(data.audit)

    return run


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The data set of the 805 images."""
    return _of_npz(tmp_path_factory.mktemp("real"))


def _of_npz(folder, *options):
    words = ["sunnybrook", "--source", Path(REAL) / "sunnybrook_lv_805.npz", *options, "--output", folder / "real.h5"]
    assert main(list(map(str, words))) == 0
    return dataset.read(folder / "real.h5")


def dice(a, b):
    """Per image, [n]."""
    return 2 * (a & b).sum(axis=(1, 2)) / (a.sum(axis=(1, 2)) + b.sum(axis=(1, 2)))


# Contours


def inside_exactly(points, column, row):
    """Whether a centre is inside or on the contour, in exact arithmetic."""
    points = [tuple(map(Fraction, p)) for p in points.tolist()]
    odd = False
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if ((x1 - x0) * (row - y0) == (y1 - y0) * (column - x0) and min(x0, x1) <= column <= max(x0, x1)
                and min(y0, y1) <= row <= max(y0, y1)):
            return True
        if (y0 <= row) != (y1 <= row) and x0 + (row - y0) * (x1 - x0) / (y1 - y0) <= column:
            odd = not odd
    return odd


@pytest.mark.parametrize("seed", range(12))
def test_mask_is_even_odd_with_contour_in_exact_arithmetic(seed):
    """Also where the contour crosses itself, runs along rows and columns, and through pixel centres."""
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 25, (rng.integers(3, 12), 2)) / 2
    points = np.repeat(points, 1 + (seed % 3 == 0), axis=0)
    mask = contours.mask(points, (14, 13), "here")
    expected = [[inside_exactly(points, column, row) for column in range(13)] for row in range(14)]
    np.testing.assert_array_equal(mask, np.array(expected, np.uint8))


def test_mask_agrees_with_matplotlib_off_the_contour():
    from matplotlib.path import Path as Outline

    points = np.random.default_rng(1).uniform(0, 40, (15, 2))
    row, column = np.mgrid[:41, :42]
    expected = Outline(points).contains_points(np.stack([column.ravel(), row.ravel()], axis=1))
    np.testing.assert_array_equal(contours.mask(points, row.shape, "here").ravel(), expected)


def test_x_is_the_column_and_y_the_row():
    mask = contours.mask(np.array([[5, 1], [9, 1], [9, 3], [5, 3]]), (8, 12), "here")
    inside = np.argwhere(mask)
    assert inside.min(axis=0).tolist() == [1, 5] and inside.max(axis=0).tolist() == [3, 9]


# Sunnybrook


@pytest.mark.parametrize("layout", ["today", "challenge"])
def test_raw_release_gives_its_frames_and_contours(tmp_path, made, layout):
    """Right frame for each contour, geometry, names, the challenge's folds; other files are counted."""
    written = raw_trees.sunnybrook(tmp_path / "raw", layout=layout)
    data, report = made("sunnybrook", "--source", tmp_path / "raw", "--allow-partial")
    assert data.name.tolist() == sorted(written)
    for name, image, mask in zip(data.name, data.images, data.masks, strict=True):
        pixels, contour = written[name]
        np.testing.assert_array_equal(image, stretched(pixels))
        np.testing.assert_array_equal(mask, contours.mask(contour, mask.shape, name))
    assert dict(zip(data.subject.tolist(), data.fold.tolist(), strict=True)) == {
        "SC-HF-I-01": 1, "SC-HF-NI-07": 2, "SC-N-09": 3}
    np.testing.assert_allclose(data.optional["spacing"], [raw_trees.SPACING] * len(data))
    assert data.optional["slice"].tolist() == [1, 1, 2] * 3
    assert (report["subjects"], report["images"], report["images without contour"]) == (3, 9, 3)
    assert report["files passed over"]["hidden or temporary"] == len(raw_trees.LITTER)
    assert report["files passed over"]["contours of other kinds"] == 6
    assert report["expected"] == {"subjects": "3 of 45", "images": "9 of 805"}
    assert report["sizes"] == {"48×48": 9} and not report["suspected misalignment (rows, columns)"]


def test_both_layouts_give_the_same(tmp_path, made):
    for layout in ("today", "challenge"):
        raw_trees.sunnybrook(tmp_path / layout, layout=layout)
    first, second = (made("sunnybrook", "--source", tmp_path / layout, "--allow-partial")[0]
                     for layout in ("today", "challenge"))
    for key in ("images", "masks", "name", "subject", "fold"):
        np.testing.assert_array_equal(getattr(first, key), getattr(second, key))


def test_epicardium_on_request(tmp_path, made):
    raw_trees.sunnybrook(tmp_path / "raw")
    data, _ = made("sunnybrook", "--source", tmp_path / "raw", "--contour", "o", "--allow-partial")
    assert len(data) == 3 and data.structure == "LV with myocardium" and "epicardium" in data.title


def test_missing_frames_are_counted_and_totals_checked(tmp_path, made):
    raw_trees.sunnybrook(tmp_path / "raw")
    next((tmp_path / "raw").rglob("IM-0003-0028.dcm")).unlink()
    with pytest.raises(InputError, match="8 images found, 805 expected; 1 contours lack their image"):
        made("sunnybrook", "--source", tmp_path / "raw")
    data, report = made("sunnybrook", "--source", tmp_path / "raw", "--allow-partial")
    assert len(data) == 8 and [Path(p).name for p in report["contours without image"]] == [
        "IM-0001-0028-icontour-manual.txt"]


def test_complete_totals_pass_without_allowing_less(tmp_path, made, monkeypatch):
    raw_trees.sunnybrook(tmp_path / "raw")
    monkeypatch.setitem(sunnybrook.sunnybrook_raw.EXPECTED, "i", {"subjects": 3, "images": 9})
    assert made("sunnybrook", "--source", tmp_path / "raw")[1]["expected"]["images"] == "9 of 9"


def test_frames_of_other_axes_are_not_taken(tmp_path, made):
    """A long-axis series beside the short-axis one may use the same numbers."""
    empty = np.zeros((48, 48), np.int16)
    written = raw_trees.sunnybrook(tmp_path / "raw")
    for series in list((tmp_path / "raw").rglob("CINESAX*")):
        raw_trees.write_dicom(series.parent / "CINELAX_301" / "IM-0009-0008.dcm", empty)
    data, _ = made("sunnybrook", "--source", tmp_path / "raw", "--allow-partial")
    assert data.name.tolist() == sorted(written)
    for name, image in zip(data.name, data.images, strict=True):
        np.testing.assert_array_equal(image, stretched(written[name][0]))


def test_compressed_frames_are_read(tmp_path, made):
    written = raw_trees.sunnybrook(tmp_path / "raw")
    pixels = written["SC-HF-I-01-IM-0001-0008"][0]
    raw_trees.write_dicom(next((tmp_path / "raw").rglob("IM-0003-0008.dcm")), pixels, compressed=True)
    data, _ = made("sunnybrook", "--source", tmp_path / "raw", "--allow-partial")
    np.testing.assert_array_equal(data.images[0], stretched(pixels))


def test_one_group_or_unknown_subjects_get_a_seeded_split(tmp_path, made):
    raw_trees.sunnybrook(tmp_path / "raw", subjects=("SC-HF-I-01", "SC-HF-I-02"))
    data, report = made("sunnybrook", "--source", tmp_path / "raw", "--allow-partial", "--seed", 4)
    assert data.folds == [1, 2] and report["folds"] == "random, seed 4"
    assert folds.known_groups(["SC-HF-I-01", "SC-X-99"], sunnybrook.GROUP) is None


@pytest.mark.parametrize("plural, factor", [(False, 255), (True, 1)])
def test_png_folder_gives_what_was_written(tmp_path, made, plural, factor):
    rng = np.random.default_rng(0)
    names = [f"{s}-IM-0001-{k:04d}" for s in ("SC-HF-I-01", "SC-HYP-06", "SC-N-11") for k in (8, 20)]
    pixels, masks = rng.integers(0, 256, (6, 32, 32)), rng.integers(0, 2, (6, 32, 32))
    raw_trees.pictures(tmp_path / "png", names, pixels, masks, plural, factor)
    (tmp_path / "png" / ("images" if plural else "image") / "Thumbs.db").write_bytes(b"litter")
    data, report = made("sunnybrook", "--source", tmp_path / "png")
    assert data.name.tolist() == names and data.fold.tolist() == [1, 1, 2, 2, 3, 3]
    assert data.images.dtype == np.uint8
    np.testing.assert_array_equal(data.images, pixels)
    np.testing.assert_array_equal(data.masks, masks)
    assert report["files passed over"]["hidden or temporary"] == 1


# Fitting to a size


@pytest.mark.parametrize("shape, rows, columns", [((7, 4), (1, 5, 0, 4), (0, 4, 0, 4)),
                                                  ((3, 6), (0, 3, 0, 3), (1, 5, 0, 4)),
                                                  ((1, 9), (0, 1, 1, 2), (2, 6, 0, 4))])
def test_fitting_cuts_and_adds_the_larger_half_at_the_end(shape, rows, columns):
    """Rows and columns: first and last taken, first and last given, of a size of 4."""
    values = np.arange(1, 1 + np.prod(shape)).reshape(shape)
    expected = np.zeros((4, 4), int)
    expected[rows[2]:rows[3], columns[2]:columns[3]] = values[rows[0]:rows[1], columns[0]:columns[1]]
    np.testing.assert_array_equal(fitted(values, (4, 4), 0), expected)


@pytest.mark.parametrize("to", [0.5, 0.9, 1.7])
def test_resampling_keeps_a_ramp_in_mm(to):
    """An image whose grey level is the place in mm from its centre keeps it, in rows and in columns."""
    def ramp(shape, spacing):
        rows, columns = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True))
        return rows[:, None] + 100 * columns

    found = resampled(ramp((30, 37), (1.4, 1.2)), (to / 1.4, to / 1.2), (8, 8), 1, 0)
    np.testing.assert_allclose(found, ramp((8, 8), (to, to)), atol=1e-9)


# ACDC


@pytest.mark.parametrize("structure, label", [("rv", 1), ("myo", 2), ("lv", 3)])
def test_acdc_gives_its_slices(tmp_path, made, structure, label):
    """Padded about the centre without resampling; empty slices left out and counted; diseases counted."""
    written = raw_trees.acdc(tmp_path / "acdc", shape=(40, 52))
    data, report = made("acdc", "--source", tmp_path / "acdc", "--structure", structure, "--size", 48)
    assert len(data) == 6 * 2 * 3 and data.images.shape[1:] == (48, 48) and data.images.dtype == np.float32
    for i, name in enumerate(data.name):
        volume, labels = written[data.subject[i], data.optional["frame"][i]]
        z = data.optional["slice"][i] - 1
        assert name == f"{data.subject[i]}_frame{data.optional['frame'][i]:02d}_slice{z + 1:02d}"
        np.testing.assert_array_equal(data.images[i, 4:44], volume[z, :, 2:50])
        np.testing.assert_array_equal(data.masks[i, 4:44], labels[z, :, 2:50] == label)
        assert (data.images[i, :4] == volume[z].min()).all() and not data.masks[i, 44:].any()
    np.testing.assert_allclose(data.optional["spacing"], [raw_trees.SPACING] * len(data), rtol=1e-6)
    assert [rule["number"] for rule in report["left out by rule"]] == [12]
    assert report["patients by disease"] == {"DCM": 2, "NOR": 2, "RV": 2}


def test_acdc_keeps_empty_slices_on_request(tmp_path, made):
    raw_trees.acdc(tmp_path / "acdc", patients=3)
    data, report = made("acdc", "--source", tmp_path / "acdc", "--structure", "lv", "--keep-empty", "--size",
                        32)
    assert len(data) == 3 * 2 * 4 and len(report["empty masks"]) == 6


def test_acdc_gives_volumes_as_deep_as_the_deepest(tmp_path, made):
    written = raw_trees.acdc(tmp_path / "acdc", patients=2) | raw_trees.acdc(tmp_path / "acdc", 1, 6, first=3)
    data, report = made("acdc", "--source", tmp_path / "acdc", "--structure", "rv", "--size", 48, "--volumes")
    assert data.name.tolist() == [f"{patient}_frame{frame:02d}" for patient, frame in sorted(written)]
    assert data.images.shape == data.masks.shape == (6, 6, 48, 48) and report["slices filled up to"] == 6
    for i, key in enumerate(sorted(written)):
        volume, labels = written[key]
        np.testing.assert_array_equal(data.images[i, :len(volume), 4:44], volume[:, :, 2:50])
        np.testing.assert_array_equal(data.masks[i, :len(volume), 4:44], labels[:, :, 2:50] == 1)
        assert (data.images[i, len(volume):] == volume.min()).all() and not data.masks[i, len(volume):].any()
    np.testing.assert_allclose(data.optional["spacing"], [(10, *raw_trees.SPACING)] * 6, rtol=1e-6)
    assert set(data.optional) == {"spacing", "frame"}


def test_acdc_s_diseases_are_sites_on_request(tmp_path, made):
    raw_trees.acdc(tmp_path / "acdc", patients=6)
    words = ("acdc", "--source", tmp_path / "acdc", "--structure", "rv", "--size", 32, "--sites")
    data, _ = made(*words)
    assert dict(zip(data.subject.tolist(), data.optional["site"].tolist(), strict=True)) == {
        f"patient{k:03d}": ("NOR", "DCM", "RV")[k % 3] for k in range(1, 7)}
    (tmp_path / "acdc" / "training" / "patient002" / "Info.cfg").unlink()
    with pytest.raises(InputError, match="Info.cfg: no line `Group: DCM`.*leave --sites out"):
        made(*words)


def test_acdc_names_what_the_crop_cuts(tmp_path, made):
    raw_trees.acdc(tmp_path / "acdc", patients=2, slices=2)
    cut = [made("acdc", "--source", tmp_path / "acdc", "--structure", "rv", "--size", size)[1][
        "structure cut at the border"] for size in (32, 20)]
    assert cut[0] == [] and len(cut[1]) == 4 and cut[1][0] == "patient001_frame01_slice02"


def test_acdc_resampled_keeps_places_in_mm(tmp_path, made):
    """The structure's centre stays where it is in mm from the image's, and its area in mm² within a tenth."""
    raw_trees.acdc(tmp_path / "acdc", patients=2)
    plain, fine = (made("acdc", "--source", tmp_path / "acdc", "--structure", "rv", "--size", 96, *more)[0]
                   for more in ((), ("--spacing", 0.7)))
    np.testing.assert_array_equal(fine.optional["spacing"], 0.7)

    def place(data):
        spacing = np.array(data.optional["spacing"][0])
        pixels = np.argwhere(data.masks[0])
        return (pixels.mean(axis=0) - 47.5) * spacing, len(pixels) * spacing.prod()

    np.testing.assert_allclose(place(fine)[0], place(plain)[0], atol=0.36)
    assert place(fine)[1] == pytest.approx(place(plain)[1], rel=0.1)
    assert fine.images[0, 0, 0] == plain.images[0, 0, 0] == 5  # the least value pads


@pytest.mark.parametrize("seed", range(4))
def test_acdc_folds_spread_each_disease(tmp_path, made, seed):
    """Of two patients with a disease, either fold of two has one."""
    raw_trees.acdc(tmp_path / "acdc", patients=6, slices=2)
    data, _ = made("acdc", "--source", tmp_path / "acdc", "--structure", "lv", "--size", 32, "--folds", 2,
                   "--seed", seed)
    fold = dict(zip(data.subject.tolist(), data.fold.tolist(), strict=True))
    assert all(fold[f"patient00{k}"] != fold[f"patient00{k + 3}"] for k in (1, 2, 3))


def test_acdc_patients_without_labels_are_left_out(tmp_path, made):
    raw_trees.acdc(tmp_path / "acdc", patients=3)
    for path in (tmp_path / "acdc").rglob("patient002*_gt.nii.gz"):
        path.unlink()
    data, report = made("acdc", "--source", tmp_path / "acdc", "--structure", "lv", "--size", 32)
    assert set(data.subject) == {"patient001", "patient003"}
    assert {"number": 1, "reason": "patients without label volumes"} in report["left out by rule"]


def test_images_are_never_all_in_memory(tmp_path, made, monkeypatch):
    """Files are read, audited and written one by one: of all arrays only those at hand are unpacked at a time."""
    alive, most = weakref.WeakSet(), []

    class Content(bytearray):
        __hash__ = object.__hash__

    def counted(packed):
        content = Content(zlib.decompress(packed))
        alive.add(content)
        most.append(len(alive))
        return content

    monkeypatch.setattr(cases, "zlib", Namespace(compress=zlib.compress, decompress=counted))
    raw_trees.acdc(tmp_path / "acdc", patients=6, slices=3)
    data, _ = made("acdc", "--source", tmp_path / "acdc", "--structure", "lv", "--size", 32)
    assert len(data) == 24 and len(most) > 24 and max(most) < 6


# CSI 2014


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_spine_volumes_are_resampled_filled_up_and_labels_joined(tmp_path, made, ending):
    """By two the linear resampling is the mean over squares; shorter volumes end with their least value."""
    written = raw_trees.spine(tmp_path / "csi", ending=ending)
    data, report = made("spine", "--source", tmp_path / "csi", "--size", 16)
    assert data.images.shape == (5, 20, 16, 16) and data.images.dtype == np.float32 and data.structure == "spine"
    assert list(data.name) == list(data.subject) == sorted(written) and len(data.folds) == 5
    for image, mask, name in zip(data.images, data.masks, data.name, strict=True):
        volume, label = written[name]
        depth = len(volume)
        squares = (depth, 16, 2, 16, 2)
        np.testing.assert_allclose(image[:depth], volume.reshape(squares).mean((2, 4)), atol=1e-3)
        np.testing.assert_array_equal(mask[:depth], (label > 0).reshape(squares).mean((2, 4)) >= 0.5)
        assert (image[depth:] == image[:depth].min()).all() and not mask[depth:].any()
    np.testing.assert_allclose(data.optional["spacing"], [(1.5, 0.7, 0.8)] * 5, rtol=1e-6)
    assert report["slices"] == {"case1": 18, "case2": 20, "case3": 18, "case4": 20, "case5": 18}
    assert report["slices filled up to"] == 20


def test_spine_volumes_without_labels_are_left_out(tmp_path, made):
    raw_trees.spine(tmp_path / "csi")
    (tmp_path / "csi" / "case2_label.nrrd").unlink()
    data, report = made("spine", "--source", tmp_path / "csi", "--size", 32, "--folds", 2)
    assert "case2" not in data.subject and data.images.shape == (4, 20, 32, 32)
    assert {"number": 1, "reason": "volumes without labels"} in report["left out by rule"]


# Folder


@pytest.mark.parametrize("ending", [".png", ".tif", ".nii.gz", ".nrrd", ".mha", ".dcm"])
def test_folder_reads_formats(tmp_path, made, ending):
    import SimpleITK as sitk
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels, masks = rng.integers(0, 200, (4, 32, 32)).astype(np.uint8), np.zeros((4, 32, 32), np.uint8)
    masks[:, 4:20, 9:13] = 1
    for kind, values in (("a", pixels), ("b", masks)):
        (tmp_path / kind / "sub").mkdir(parents=True)
        for k, value in enumerate(values):
            path = tmp_path / kind / "sub" / f"p{k // 2}_{k}{ending}"
            if ending == ".tif":
                Image.fromarray(value).save(path)
            else:
                sitk.WriteImage(sitk.GetImageFromArray(value), str(path))
    data, _ = made("folder", "--images", tmp_path / "a", "--masks", tmp_path / "b",
                   "--subject-pattern", r"(p\d)_", "--structure", "thing", "--title", "Things", "--folds", 2)
    assert data.name.tolist() == ["sub/p0_0", "sub/p0_1", "sub/p1_2", "sub/p1_3"]
    assert data.subject.tolist() == ["p0", "p0", "p1", "p1"]
    assert (data.title, data.structure) == ("Things", "thing")
    np.testing.assert_array_equal(data.images, pixels)
    np.testing.assert_array_equal(data.masks, masks)


def test_folder_takes_a_volumes_slices(tmp_path, made):
    import SimpleITK as sitk

    volume = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    mask = np.ones((3, 16, 16), np.uint8)
    mask[1] = 0
    for subject in "ab":
        for kind, values in (("images", volume if subject == "a" else -volume), ("masks", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / kind / f"{subject}.nii.gz"))
    data, report = made("folder", "--images", tmp_path / "images", "--masks", tmp_path / "masks",
                        "--subject-pattern", ".")
    assert data.name.tolist() == ["a-slice001", "a-slice003", "b-slice001", "b-slice003"]
    assert data.optional["slice"].tolist() == [1, 3, 1, 3]
    np.testing.assert_array_equal(data.images[1], volume[2])
    assert report["left out by rule"][0]["number"] == 2


@pytest.mark.parametrize("source", ["folder", "png", "raw", "acdc", "npz"])
def test_paths_may_be_relative_and_say_nothing_in_the_data_set(tmp_path, made, monkeypatch, source):
    """Also masks that lie elsewhere than the images."""
    rng = np.random.default_rng(0)
    names = [f"SC-{kind}-IM-0001-0008" for kind in ("HF-I-01", "HYP-06", "N-11")]
    pixels, masks = rng.integers(0, 256, (3, 32, 32), np.uint8), rng.integers(0, 2, (3, 32, 32), np.uint8)
    raw_trees.pictures(tmp_path / "png", names, pixels, masks)
    raw_trees.sunnybrook(tmp_path / "raw")
    raw_trees.acdc(tmp_path / "acdc", patients=2)
    np.savez(tmp_path / "x.npz", image=pixels, mask=masks, subject=np.array(list("abc")), name=np.array(names))
    shutil.copytree(tmp_path / "png" / "mask", tmp_path / "elsewhere" / "mask")
    monkeypatch.chdir(tmp_path)
    pattern = ("--subject-pattern", "SC-[A-Z-]+")

    def words(here):
        return {"folder": ("folder", "--images", here / "png" / "image", "--masks", here / "png" / "mask", *pattern),
                "png": ("sunnybrook", "--source", here / "png"), "npz": ("sunnybrook", "--source", here / "x.npz"),
                "raw": ("sunnybrook", "--source", here / "raw", "--allow-partial"),
                "acdc": ("acdc", "--source", here / "acdc", "--structure", "lv", "--size", 32)}[source]

    absolute, relative = (made(*words(here))[0].checksum for here in (tmp_path, Path()))
    assert absolute == relative
    if source == "folder":
        elsewhere = made("folder", "--images", "png/image", "--masks", tmp_path / "elsewhere" / "mask", *pattern)[0]
        assert elsewhere.checksum == absolute


# Folds and audit


def test_random_split_keeps_subjects_whole_and_spreads_strata():
    subjects = [f"s{k:02d}" for k in range(31) for _ in range(1 + k % 4)]
    strata = {f"s{k:02d}": "abcde"[k % 5] for k in range(31)}
    fold = folds.random_split(subjects, 3, 7, strata)
    of = dict(zip(subjects, fold.tolist(), strict=True))
    assert all(of[s] == f for s, f in zip(subjects, fold, strict=True))
    for stratum in (None, *"abcde"):
        counts = np.bincount([f for s, f in of.items() if stratum in (None, strata[s])], minlength=4)[1:]
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(fold, folds.random_split(subjects, 3, 7, strata))
    assert (fold != folds.random_split(subjects, 3, 8, strata)).any()
    back = folds.random_split(subjects[::-1], 3, 7, strata)[::-1]
    np.testing.assert_array_equal(fold, back)


def test_audit_finds_what_is_wrong(tmp_path, made):
    """Empty, small and torn masks, equal images, masks beside their structure."""
    rng = np.random.default_rng(0)
    names = [f"s{k}_{i}" for k in range(4) for i in range(4)]
    pixels = rng.normal(60, 5, (16, 64, 64))
    masks = np.zeros((16, 64, 64), np.uint8)
    masks[:, 26:38, 24:36] = 1
    pixels[masks > 0] += 100
    masks[12:] = np.roll(masks[12:], (3, -4), axis=(1, 2))
    masks[0], masks[1], masks[2, 5, 5] = 0, 0, 1
    masks[1, 30:32, 30:32] = 1
    pixels[5] = pixels[9]
    raw_trees.pictures(tmp_path, names, pixels, masks)
    _, report = made("folder", "--images", tmp_path / "image", "--masks", tmp_path / "mask",
                     "--subject-pattern", r"s\d", "--keep-empty")
    assert report["empty masks"] == ["s0_0"] and report["masks under 20 pixels"] == ["s0_1"]
    assert report["masks in pieces"] == ["s0_2"] and report["duplicate images"] == [["s1_1", "s2_1"]]
    assert report["suspected misalignment (rows, columns)"] == {"s3": [-3, 4]}
    assert report["images per subject"] == dict.fromkeys(("s0", "s1", "s2", "s3"), 4)


def test_displacement_of_a_dark_structure():
    """A wall that is darker than both sides is sought as dark, by the whole data set's sign."""
    pixels, masks = np.full((6, 64, 64), 90.0), np.zeros((6, 64, 64), np.uint8)
    masks[:, 28:36, 26:36] = 1
    pixels[masks > 0] = 20
    pixels += np.random.default_rng(0).normal(0, 1, pixels.shape)
    masks[4:] = np.roll(masks[4:], (-3, 2), axis=(1, 2))
    found = audit.displacements(pixels, masks, np.array(list("aabbcc")))
    assert {subject: d[:2] for subject, d in found.items()} == {"a": (0, 0), "b": (0, 0), "c": (3, -2)}


def test_a_structure_beside_a_brighter_one_is_not_suspected():
    """As the right ventricle beside the left: the masks are at a peak, though not at the largest, until they move."""
    rows, columns = np.mgrid[:128, :128]
    pixels, masks = np.full((6, 128, 128), 60.0), np.zeros((6, 128, 128), np.uint8)
    masks[:, np.hypot(rows - 60, columns - 60) < 3.5] = 1
    pixels[masks > 0] += 40
    pixels[:, np.hypot(rows - 60, columns - 67) < 3.5] += 200
    pixels += np.random.default_rng(0).normal(0, 1, pixels.shape)
    subjects = np.array(list("aabbcc"))
    found = audit.displacements(pixels, masks, subjects)
    assert {where[:2] for where in found.values()} == {(0, 7)} and audit.suspected(found, 128) == {}
    masks[4:] = np.roll(masks[4:], 5, axis=1)
    assert list(audit.suspected(audit.displacements(pixels, masks, subjects), 128)) == ["c"]


def test_checksums_tell_the_sources_and_not_where_they_lie(tmp_path, made):
    reports = []
    raw_trees.sunnybrook(tmp_path / "a")
    for folder in "bcd":
        shutil.copytree(tmp_path / "a", tmp_path / folder / "raw")
        if folder == "d":
            path = next((tmp_path / folder).rglob("IM-0001-0008-icontour-manual.txt"))
            path.write_text(path.read_text(encoding="utf-8") + "\n")
        reports.append(made("sunnybrook", "--source", tmp_path / folder / "raw", "--allow-partial")[1])
    first, second, third = reports
    key = "sha256 of the sources"
    assert first[key] == second[key] and first[key]["all"] != third[key]["all"]
    assert sum(first[key][subject] != third[key][subject] for subject in first[key]) == 2  # a subject and all


def test_long_audits_are_stored_and_printed(tmp_path, capsys):
    """HDF5 keeps attributes in the header up to 64 KiB; a longer one must come back whole."""
    raw_trees.sunnybrook(tmp_path / "raw")
    for k in range(1500):
        raw_trees.write_contour(tmp_path / "raw" / "SC-N-09" / f"IM-0001-{1000 + k}-icontour-manual.txt",
                                np.array([[1, 1], [9, 1], [1, 9]]))
    main(["sunnybrook", "--source", str(tmp_path / "raw"), "--allow-partial",
          "--output", str(tmp_path / "x.h5")])
    stored = dataset.read(tmp_path / "x.h5").audit
    assert len(stored) > 2**16 and len(json.loads(stored)["contours without image"]) == 1500
    shown = capsys.readouterr().out
    assert "images per subject" in shown and shown.count("icontour") < 10
    with h5py.File(tmp_path / "x.h5") as file:
        assert file.attrs["audit"] == stored


def test_montage(tmp_path, made, capsys):
    raw_trees.sunnybrook(tmp_path / "raw")
    made("sunnybrook", "--source", tmp_path / "raw", "--allow-partial")
    assert main(["show", str(tmp_path / "made.h5")]) == 0
    assert (tmp_path / "made.png").stat().st_size > 20_000 and "made.png" in capsys.readouterr().out
    for output in ("made.h5/x.png", "x.what"):
        with pytest.raises(InputError, match="cannot be written"):
            main(["show", str(tmp_path / "made.h5"), "--output", str(tmp_path / output)])
    assert not (tmp_path / "x.what").exists()


# Real data


@needs_real
def test_real_groups_are_the_challenges():
    with open(Path(REAL) / "sunnybrook_lv_805.csv", newline="", encoding="utf-8") as file:
        truth = {row["subject"]: int(row["part"][-1]) for row in csv.DictReader(file)}
    assert truth == sunnybrook.GROUP


@needs_real
def test_real_images_have_the_published_numbers(real):
    assert (len(real), len(set(real.subject))) == (805, 45)
    assert [int((real.fold == k).sum()) for k in (1, 2, 3)] == [260, 266, 279]


@needs_real
def test_real_random_folds_hold_fifteen_subjects_each(real, tmp_path):
    data = _of_npz(tmp_path, "--folds", "random", "--seed", 1)
    assert [len(set(data.subject[data.fold == k])) for k in (1, 2, 3)] == [15, 15, 15]
    assert (data.fold != real.fold).any()


@needs_real
def test_real_raw_sample_is_the_same_as_the_npz(real, made):
    raw, report = made("sunnybrook", "--source", Path(REAL) / "sunnybrook_raw_sample", "--allow-partial")
    same = np.isin(real.subject, ["SC-HF-I-01", "SC-HF-I-02"])
    assert raw.name.tolist() == real.name[same].tolist() and len(raw) == 36
    assert np.abs(raw.images.astype(float) - real.images[same]).max() <= 0.5
    overlap = dice(raw.masks > 0, real.masks[same] > 0)
    assert overlap.mean() >= 0.97 and overlap.min() >= 0.9
    assert report["images without contour"] == 8 and not report["suspected misalignment (rows, columns)"]


@needs_real
def test_real_png_folder_is_the_same_as_the_npz(real, tmp_path, made):
    some = np.arange(0, 805, 40)
    raw_trees.pictures(tmp_path / "png", real.name[some], real.images[some], real.masks[some])
    data, _ = made("sunnybrook", "--source", tmp_path / "png")
    for key in ("images", "masks", "subject", "name", "fold"):
        np.testing.assert_array_equal(getattr(data, key), getattr(real, key)[some])


@pytest.mark.slow
@needs_real
def test_real_misalignment_is_found_and_little_else(real):
    """SC-N-06 and at most two others as the data are; of five others moved by 12 pixels, at least four."""
    rng = np.random.default_rng(0)
    as_they_are = audit.suspected(audit.displacements(real.images, real.masks, real.subject), 256)
    assert "SC-N-06" in as_they_are and len(as_they_are) <= 3
    moved = rng.permutation(np.setdiff1d(np.unique(real.subject), ["SC-N-06"]))[:5]
    masks = real.masks.copy()
    for subject in moved:
        angle = rng.uniform(0, 2 * np.pi)
        shift = np.round(12 * np.array([np.sin(angle), np.cos(angle)])).astype(int)
        masks[real.subject == subject] = np.roll(masks[real.subject == subject], shift, axis=(1, 2))
    found = audit.suspected(audit.displacements(real.images, masks, real.subject), 256)
    assert len(set(moved.tolist()) & set(found)) >= 4
    assert len(set(found) - set(moved.tolist()) - {"SC-N-06"}) <= 3
