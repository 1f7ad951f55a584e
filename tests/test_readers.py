"""What files say of themselves is believed, or refused: where a mask lies, what a pixel means, which form it has."""

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason='the optional extra "images" is not installed')

import raw_trees
import SimpleITK as sitk
from PIL import Image

from data_prep import audit
from data_prep.__main__ import main
from data_prep.geometry import into_grid
from data_prep.phantom import phantom
from ilnrepro.errors import DamagedError, InputError
from ilnrepro.storage import dataset, files
from ilnrepro.use import images, nifti, prediction

SPACING = (1.4, 1.2, 8.0)
RNG = np.random.default_rng(0)
LABEL = np.zeros((5, 12, 10), np.uint8)  # no symmetry, and nothing at the border
LABEL[1:3, 3:6, 2:8], LABEL[3, 4:9, 6] = 1, 1
GREY = (60 + RNG.integers(0, 20, LABEL.shape) + 120 * LABEL).astype(np.int16)


def itk(values, spacing=SPACING, origin=(0, 0, 0), direction=None):
    made = sitk.GetImageFromArray(values)
    made.SetSpacing(spacing)
    made.SetOrigin(origin)
    if direction is not None:
        made.SetDirection(np.ravel(direction).tolist())
    return made


def turned(values, how):
    """The same voxels in the same places of the world, stored otherwise."""
    made = itk(values)
    if how == "permuted":
        return sitk.PermuteAxes(made, (2, 0, 1))
    if how == "part":
        return made[1:9, 2:10, 1:4]
    if how == "larger":
        return sitk.ConstantPad(made, (2, 0, 1), (0, 3, 0))
    return sitk.Flip(made, ["x" in how, "y" in how, "z" in how])


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("how", ["", "x", "y", "z", "xy", "xyz", "permuted", "part", "larger"])
def test_mask_comes_into_its_images_grid(tmp_path, how, ending):
    sitk.WriteImage(itk(GREY), str(tmp_path / f"image{ending}"))
    sitk.WriteImage(turned(LABEL, how), str(tmp_path / f"mask{ending}"))
    image, mask = (images.read(tmp_path / f"{kind}{ending}") for kind in ("image", "mask"))
    values, told = into_grid(mask, image, "mask", "image")
    np.testing.assert_array_equal(values, LABEL)
    assert bool(told) == bool(how)


@pytest.mark.parametrize("change", [{"spacing": (1.4, 1.3, 8.0)}, {"spacing": (1, 1, 1)}, {"origin": (0.7, 0, 0)},
                                    {"origin": (0, 0, 3)}, {"origin": (0, 0, 800)}, {"origin": (0, 0, 24)},
                                    {"direction": [[0.995, -0.1, 0], [0.1, 0.995, 0], [0, 0, 1]]}])
def test_mask_of_another_place_is_refused_with_both_geometries(tmp_path, change):
    sitk.WriteImage(itk(GREY), str(tmp_path / "image.nrrd"))
    sitk.WriteImage(itk(LABEL, **change), str(tmp_path / "mask.nrrd"))
    image, mask = (images.read(tmp_path / f"{kind}.nrrd") for kind in ("image", "mask"))
    with pytest.raises(InputError, match=r"5×12×10 voxels of .* mm from \(.*5×12×10 .* of 8×1.2×1.4 mm from \(0, 0"):
        into_grid(mask, image, "mask", "image")


def test_rounded_headers_are_of_one_grid_and_pictures_have_no_place(tmp_path):
    """Directions within 1e-4, as tools round them; and a PNG is laid on a slice of a scanner's."""
    sitk.WriteImage(itk(GREY), str(tmp_path / "image.nrrd"))
    image = images.read(tmp_path / "image.nrrd")
    mask = images.Picture(LABEL, (1.2, 1.4), 8.0, None, image.affine + 1e-4)
    np.testing.assert_array_equal(into_grid(mask, image, "mask", "image")[0], LABEL)
    raw_trees.write_dicom(tmp_path / "a.dcm", GREY[0], position=30.0)
    Image.fromarray(LABEL[1]).save(tmp_path / "a.png")
    values, told = into_grid(images.read(tmp_path / "a.png"), images.read(tmp_path / "a.dcm"), "mask", "image")
    np.testing.assert_array_equal(values, LABEL[1])
    assert told == ""


def run(tmp_path, *words):
    assert main([*map(str, words), "--output", str(tmp_path / "made.h5")]) == 0
    data = dataset.read(tmp_path / "made.h5")
    return data, json.loads(data.audit)


@pytest.mark.parametrize("source", ["folder", "acdc", "spine"])
def test_every_reader_turns_masks_and_says_so(tmp_path, source):
    side = 32
    for k in range(3):
        label = np.zeros((4, side, side), np.uint8)
        label[:2, 5 + k:12, 8:20] = 3
        grey = (60 + RNG.integers(0, 20, label.shape) + 40 * label).astype(np.int16)
        place = {"folder": ("images/p{}.nii.gz", "masks/p{}.nii.gz"), "spine": ("p{}.nrrd", "p{}_label.nrrd"),
                 "acdc": ("patient00{0}/patient00{0}_frame01.nii.gz", "patient00{0}/patient00{0}_frame01_gt.nii.gz")
                 }[source]
        for name, values in zip(place, (itk(grey), turned(label, "xz")), strict=True):
            path = tmp_path / "in" / name.format(k)
            path.parent.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(values, str(path))
    here = tmp_path / "in"
    words = {"folder": ("--images", here / "images", "--masks", here / "masks", "--subject-pattern", "p.",
                        "--label", 3),
             "acdc": ("--source", here, "--structure", "lv", "--size", side),
             "spine": ("--source", here, "--size", side)}
    data, report = run(tmp_path, source, *words[source])
    inside = data.masks > 0
    assert data.images[inside].min() >= 180 and data.images[~inside].max() < 80
    assert list(report["masks brought into the image's grid"].values()) == ["columns reversed, slices reversed"] * 3


# One scan under two names


def scans(tmp_path, pixels, masks, names):
    raw_trees.pictures(tmp_path, names, pixels, masks)
    return "folder", "--images", tmp_path / "image", "--masks", tmp_path / "mask", "--subject-pattern", "p[0-9]+"


@pytest.mark.parametrize("seed", range(5))
def test_subjects_that_share_images_lie_in_one_fold(tmp_path, seed):
    """Also by way of a third, and with other grey levels; the audit says how far the masks agree."""
    pixels = RNG.integers(0, 120, (12, 16, 16)).astype(np.uint8)
    masks = np.zeros((12, 16, 16), np.uint8)
    masks[:, 4:8, 4:8] = 1
    pixels[2] = 2 * pixels[10] + 3
    pixels[11] = pixels[5]
    masks[10, 4:6] = 0
    words = scans(tmp_path, pixels, masks, [f"p{k // 2}_{k}" for k in range(12)])
    data, report = run(tmp_path, *words, "--seed", seed)
    fold = dict(zip(data.subject.tolist(), data.fold.tolist(), strict=True))
    assert fold["p1"] == fold["p5"] == fold["p2"] and len(set(fold.values())) == 3
    assert report["subjects that share images, in one fold"] == {
        "p1 and p5": "1 images, Dice of their masks 0.667", "p2 and p5": "1 images, Dice of their masks 1.000"}


def test_folds_of_subjects_that_share_nothing_are_as_they_were(tmp_path):
    from data_prep.folds import random_split

    pixels, masks = RNG.integers(0, 120, (9, 16, 16)), np.ones((9, 16, 16), np.uint8)
    pixels[:2] = 7  # constant images are nobody's scan
    data, report = run(tmp_path, *scans(tmp_path, pixels, masks, [f"p{k}" for k in range(9)]), "--seed", 3)
    np.testing.assert_array_equal(data.fold, random_split(data.subject, 3, 3))
    assert "subjects that share images, in one fold" not in report


def test_data_that_are_one_scan_are_refused(tmp_path):
    same = np.repeat(RNG.integers(0, 120, (1, 16, 16)), 3, axis=0)
    with pytest.raises(InputError, match="all 3 subjects share images"):
        run(tmp_path, *scans(tmp_path, same, np.ones((3, 16, 16)), ["p1", "p2", "p3"]))


# Pixels as the format means them


def tiff(path, values, photometric=1, orientation=1, order="<"):
    """One strip, uncompressed; the type tells bits and sample format."""
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    form = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = [(256, 4, values.shape[1]), (257, 4, values.shape[0]), (258, 3, 8 * values.dtype.itemsize), (259, 3, 1),
            (262, 3, photometric), (273, 4, 8), (274, 3, orientation), (277, 3, 1), (278, 4, values.shape[0]),
            (279, 4, len(data)), (339, 3, form)]
    entries = b"".join(struct.pack(order + ("HHIHH" if kind == 3 else "HHII"), tag, kind, 1, value, *[0] * (kind == 3))
                       for tag, kind, value in tags)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    path.write_bytes(start + data + struct.pack(order + "H", len(tags)) + entries + bytes(4))


RAMP = np.arange(12).reshape(3, 4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind, first", [("u1", 0), ("u2", 60000), ("u4", 3_000_000_000), ("i1", -6), ("i2", -600),
                                         ("i4", -70000), ("f4", -1.5), ("f8", 1e-3)])
def test_tiff_types(tmp_path, kind, first, order):
    values = (RAMP + first).astype(kind)
    tiff(tmp_path / "a.tif", values, order=order)
    found = images.read(tmp_path / "a.tif").values
    np.testing.assert_array_equal(found, values.astype("f4") if kind == "f8" else values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_tiff_whose_white_is_zero(tmp_path, kind, order):
    values = RAMP.astype(kind)
    tiff(tmp_path / "a.tif", values, photometric=0, order=order)
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif").values, np.iinfo(kind).max - values)


@pytest.mark.parametrize("kind", ["i2", "f4", "u4"])
def test_tiff_of_no_clear_meaning_is_refused(tmp_path, kind):
    tiff(tmp_path / "a.tif", RAMP.astype(kind), photometric=0)
    with pytest.raises(InputError, match="white is zero|pixel mode"):
        images.read(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", [".tif", ".jpg", ".png"])
def test_pictures_are_turned_as_viewers_turn_them(tmp_path, ending):
    """Orientation 6: the first row stored is the right column shown."""
    values = np.full((16, 24), 10, np.uint8)
    values[:8, :8] = 240
    exif = Image.Exif()
    exif[274] = 6
    if ending == ".tif":
        tiff(tmp_path / "a.tif", values, orientation=6)
    else:
        Image.fromarray(values).save(tmp_path / f"a{ending}", exif=exif)
    found = images.read(tmp_path / f"a{ending}").values
    assert found.shape == (24, 16)
    np.testing.assert_allclose(found, np.rot90(values, -1), atol=12 if ending == ".jpg" else 0)


def test_grey_in_other_clothes(tmp_path):
    """Three equal channels, an opaque fourth, a palette of greys in another order."""
    values = np.arange(240, dtype=np.uint8).reshape(15, 16)
    Image.fromarray(np.repeat(values[..., None], 3, axis=2)).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([values] * 3 + [np.full_like(values, 255)])).save(tmp_path / "rgba.png")
    palette = Image.fromarray(239 - values, "L").convert("P")
    palette.putpalette([level for k in range(256) for level in (max(239 - k, 0),) * 3])
    palette.putdata(list((239 - values).ravel()))
    palette.save(tmp_path / "palette.png")
    for name in ("rgb", "rgba", "palette"):
        np.testing.assert_array_equal(images.read(tmp_path / f"{name}.png").values, values)


@pytest.mark.parametrize("channels, says", [((0, 1, 0), "colours"), ((0, 0, 0, 9), "transparent")])
def test_colours_and_transparency_are_refused(tmp_path, channels, says):
    Image.fromarray(np.stack([np.full((8, 8), 100 + c, np.uint8) for c in channels], -1)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=says):
        images.read(tmp_path / "a.png")


@pytest.mark.parametrize("kind, step", [(np.uint8, 2), (np.uint16, 200)])
def test_a_transparent_grey_level_is_refused_where_it_is_used(tmp_path, kind, step):
    values = np.arange(64, dtype=kind).reshape(8, 8) * step
    for name, clear in (("used", 7 * step), ("unused", 7 * step + 1)):
        Image.fromarray(values).save(tmp_path / f"{name}.png", transparency=clear)
    np.testing.assert_array_equal(images.read(tmp_path / "unused.png").values, values)
    with pytest.raises(InputError, match="partly transparent"):
        images.read(tmp_path / "used.png")


def test_dicom_scale_and_sense(tmp_path):
    """MONOCHROME1 is shown inverted; rescaled values, stored as halves from 512 on, come in rescaled."""
    values = np.arange(144, dtype=np.int16).reshape(12, 12)
    raw_trees.write_dicom(tmp_path / "a.dcm", values)
    content = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "b.dcm").write_bytes(content.replace(b"MONOCHROME2", b"MONOCHROME1"))
    plain, inverted = (images.read(tmp_path / name).values.astype(float) for name in ("a.dcm", "b.dcm"))
    np.testing.assert_array_equal(plain, values)
    np.testing.assert_array_equal(inverted - inverted.min(), values.max() - values)
    made = itk(values[None])
    for key, value in (("0008|0060", "CT"), ("0028|1052", "-1024"), ("0028|1053", "2")):
        made.SetMetaData(key, value)
    sitk.WriteImage(made, str(tmp_path / "c.dcm"))
    np.testing.assert_allclose(images.read(tmp_path / "c.dcm").values, values, atol=1)
    assert np.repeat(np.arange(512, 584, dtype="<i2"), 2).tobytes() in (tmp_path / "c.dcm").read_bytes()


# NIfTI as it is met


def write_nifti(path, values, affine=None, slope=1.0, inter=0.0, version=1, order="<", pack=None, pixdim=None):
    """[x, y, z] values, written field by field."""
    affine = np.eye(4) if affine is None else np.asarray(affine, float)
    code = {"u1": 2, "i2": 4, "f4": 16, "f8": 64}[values.dtype.str[1:]]
    zooms = np.linalg.norm(affine[:3, :3], axis=0) if pixdim is None else pixdim
    size, real, whole, at = ((348, "f", "h", (40, 70, 76, 108, 112, 254, 280)),
                             (540, "d", "q", (16, 12, 104, 168, 176, 348, 400)))[version - 1]
    header = bytearray(size + 4)
    struct.pack_into(order + "i", header, 0, size)
    struct.pack_into(order + "8" + whole, header, at[0], values.ndim, *values.shape, *[1] * (7 - values.ndim))
    struct.pack_into(order + "hh", header, at[1], code, 8 * values.dtype.itemsize)
    struct.pack_into(order + "8" + real, header, at[2], 1, *zooms, *[1] * 4)
    struct.pack_into(order + ("f" if version == 1 else "q"), header, at[3], size + 4)
    struct.pack_into(order + "2" + real, header, at[4], slope, inter)
    struct.pack_into(order + ("h" if version == 1 else "i"), header, at[5], 1)
    struct.pack_into(order + "12" + real, header, at[6], *affine[:3].ravel())
    if version == 1:
        header[344:348] = b"n+1\0"
    else:
        header[4:12] = b"n+2\0\r\n\x1a\n"
    content = bytes(header) + values.astype(values.dtype.newbyteorder(order)).tobytes(order="F")
    packed = str(path).endswith(".gz") if pack is None else pack
    path.write_bytes(gzip.compress(content) if packed else content)


VOLUME = RNG.integers(-300, 300, (5, 4, 3)).astype(np.int16)


@pytest.mark.parametrize("name, options", [
    ("a.nii", {}), ("a.nii.gz", {}), ("a.nii", {"pack": True}), ("a.nii.gz", {"pack": False}),
    ("a.nii", {"version": 2}), ("a.nii.gz", {"version": 2, "order": ">"}), ("a.nii", {"order": ">"}),
    ("a.nii", {"slope": 0.0, "inter": 5.0}), ("a.nii", {"slope": np.nan})])
def test_nifti_forms(tmp_path, name, options):
    write_nifti(tmp_path / name, VOLUME, np.diag([1.4, -1.2, 8, 1]), **options)
    found = images.read(tmp_path / name)
    np.testing.assert_array_equal(found.values, VOLUME.T)
    np.testing.assert_allclose((*found.spacing, found.slice_spacing), (1.2, 1.4, 8), rtol=1e-6)
    np.testing.assert_allclose(found.affine, np.diag([-1.4, 1.2, 8, 1]), rtol=1e-6)


def test_nifti_slope_and_intercept(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", VOLUME, slope=0.5, inter=-100.0)
    np.testing.assert_allclose(images.read(tmp_path / "a.nii.gz").values, VOLUME.T * 0.5 - 100)


@pytest.mark.parametrize("direction", ["", "x", "permuted"])
def test_nifti_geometry_is_what_simpleitk_reads(tmp_path, direction):
    """By the qform alone and by the sform alone."""
    made = turned(GREY, direction)
    made.SetOrigin((3.5, -20.25, 7))
    turn = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    made.SetDirection(np.ravel(np.reshape(made.GetDirection(), (3, 3)) @ turn).tolist())
    for codes in (b"\1\0\0\0", b"\0\0\1\0"):
        sitk.WriteImage(made, str(tmp_path / "a.nii"))
        content = bytearray((tmp_path / "a.nii").read_bytes())
        content[252:256] = codes
        (tmp_path / "a.nii").write_bytes(content)
        expected, found = sitk.ReadImage(str(tmp_path / "a.nii")), images.read(tmp_path / "a.nii")
        np.testing.assert_array_equal(found.values, sitk.GetArrayFromImage(expected))
        np.testing.assert_allclose(found.affine[:3, 3], expected.GetOrigin(), atol=1e-4)
        columns = np.reshape(expected.GetDirection(), (3, 3)) * expected.GetSpacing()
        np.testing.assert_allclose(found.affine[:3, :3], columns, atol=1e-5)


def test_nifti_direction_need_not_be_orthonormal(tmp_path):
    shear = [[1, 0.02, 0, 0], [0, 1, 0.05, 0], [0, 0, 5, 0], [0, 0, 0, 1]]
    write_nifti(tmp_path / "a.nii.gz", VOLUME, shear)
    np.testing.assert_array_equal(images.read(tmp_path / "a.nii.gz").values, VOLUME.T)


@pytest.mark.parametrize("options", [{}, {"version": 2}, {"order": ">"}, {"pixdim": (1.5, 1.25, 10), "slope": 3.0}])
def test_predicted_masks_keep_the_nifti_header(tmp_path, options):
    """All bytes but type, scale, window and place of the voxels, and so affine, codes and spacing as they were."""
    write_nifti(tmp_path / "a.nii", VOLUME, [[1, 0.02, 0, 4], [0, -1, 0.05, 5], [0, 0, 5, 6], [0, 0, 0, 1]], **options)
    mask = (VOLUME.T > 0).astype(np.uint8)
    (tmp_path / "m.nii").write_bytes(nifti.like(tmp_path / "a.nii", mask))
    before, after = (nifti.read(tmp_path / name) for name in ("a.nii", "m.nii"))
    np.testing.assert_array_equal(after.values, mask)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.spacing == before.spacing and after.values.dtype == np.uint8
    old, new = ((tmp_path / name).read_bytes() for name in ("a.nii", "m.nii"))
    changed = {k for k in range(540 if "version" in options else 348) if old[k] != new[k]}
    assert changed <= set(range(12, 16) if "version" in options else (*range(70, 74), *range(108, 120)))


def test_nifti_nan_is_no_zero(tmp_path):
    values = VOLUME.astype(np.float32)
    values[1, 2, 1] = np.nan
    write_nifti(tmp_path / "a.nii.gz", values)
    np.testing.assert_array_equal(images.read(tmp_path / "a.nii.gz").values, values.T)


def test_nifti_whose_sform_lacks_the_scale(tmp_path):
    """As ACDC's: the spacing stands in pixdim alone. And the other way round."""
    write_nifti(tmp_path / "a.nii", VOLUME, np.diag([-1, -1, 1, 1]), pixdim=(1.5, 1.25, 10))
    write_nifti(tmp_path / "b.nii", VOLUME, np.diag([-1.5, -1.25, 10, 1]), pixdim=(1, 1, 1))
    for name in ("a.nii", "b.nii"):
        found = nifti.read(tmp_path / name)
        np.testing.assert_allclose(found.spacing, (1.5, 1.25, 10))
        np.testing.assert_allclose(found.affine, np.diag([-1.5, -1.25, 10, 1]))


@pytest.mark.parametrize("change, says", [
    (lambda b: b[:-1], "cut short: 471 bytes of 472"), (lambda b: b[:200], "no NIfTI file"), (lambda b: b"", "empty"),
    (lambda b: b[:70] + b"\x20\0" + b[72:], "data type 32"), (lambda b: b[:344] + b"ni1\0" + b[348:], "pair"),
    (lambda b: b[:42] + b"\xff\xff" + b[44:], "gives the size"), (lambda b: b"\x1f\x8b" + b, "gzip")])
def test_nifti_refusals_name_the_reason(tmp_path, change, says):
    write_nifti(tmp_path / "a.nii", VOLUME)
    (tmp_path / "a.nii").write_bytes(change((tmp_path / "a.nii").read_bytes()))
    with pytest.raises(InputError, match=says):
        images.read(tmp_path / "a.nii")


@pytest.mark.parametrize("name, content, says", [("a.jpg", b"version https://git-lfs", "Git LFS pointer"),
                                                 ("a.nrrd", b"<!DOCTYPE html>", "a web page"),
                                                 ("a.dcm", b"\x89PNG\r\n", "a PNG picture"),
                                                 ("a.mha", bytes(128) + b"DICM", "holds DICOM")])
def test_what_a_file_holds_is_said(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content + bytes(200))
    with pytest.raises(InputError, match=says):
        images.read(tmp_path / name)


# What lies in a source


def test_links_to_folders_are_followed_and_dead_ones_counted(tmp_path):
    pixels, masks = RNG.integers(0, 255, (4, 16, 16), np.uint8), np.ones((4, 16, 16), np.uint8)
    for k in range(4):
        home = tmp_path / ("data" if k < 2 else "disk")
        for part, values in (("images", pixels), ("masks", masks)):
            (home / part / f"p{k}").mkdir(parents=True)
            Image.fromarray(values[k]).save(home / part / f"p{k}" / "s.png")
            if k > 1:
                (tmp_path / "data" / part / f"p{k}").symlink_to(home / part / f"p{k}")
    (tmp_path / "data" / "images" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "images" / "gone").symlink_to(tmp_path / "nowhere")
    data, report = run(tmp_path, "folder", "--images", tmp_path / "data" / "images", "--masks",
                       tmp_path / "data" / "masks", "--subject-pattern", r"p\d")
    assert data.subject.tolist() == ["p0", "p1", "p2", "p3"]
    np.testing.assert_array_equal(data.images, pixels)
    assert report["files passed over"]["links that lead nowhere or back up"] == 2
    assert len(prediction.plan([tmp_path / "data" / "images"], tmp_path / "out")) == 4


@pytest.mark.parametrize("ending", ["", ".IMA", ".ima", ".1.2.840.7"])
def test_dicom_is_known_by_its_content(tmp_path, ending):
    pixels = RNG.integers(0, 900, (3, 16, 16)).astype(np.int16)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for k, values in enumerate(pixels):
        raw_trees.write_dicom(tmp_path / "t.dcm", values)
        (tmp_path / "t.dcm").rename(tmp_path / "images" / f"p{k}{ending}")
        name = f"p{k}" if ending.lower() == ".ima" else f"p{k}{ending}"
        Image.fromarray(np.ones((16, 16), np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "images" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "images" / "notes").write_text("no image", encoding="utf-8")
    data, report = run(tmp_path, "folder", "--images", tmp_path / "images", "--masks", tmp_path / "masks",
                       "--subject-pattern", r"p\d")
    np.testing.assert_array_equal(data.images, pixels)
    assert report["files passed over"]["others"] == 2
    planned = prediction.plan([tmp_path / "images"], tmp_path / "out")
    assert [target.name.endswith("-mask.nii.gz") for _, target in planned] == [True] * 3


# Anybody's folder


def test_sizes_and_labels_of_ones_own(tmp_path):
    """Of 24×20 and 20×28 pixels, brought to 16², one structure of two; what is cut is named."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    written = {}
    for k, shape in enumerate([(24, 20), (20, 28), (24, 20)]):
        values, label = RNG.integers(1, 900, shape).astype(np.int16), np.zeros(shape, np.uint8)
        label[8:12, 8:10], label[6:9, 11:13] = 2, 1
        label[8:12, :5 * (k == 2)] = 2
        raw_trees.write_dicom(tmp_path / "images" / f"p{k}.dcm", values)
        Image.fromarray(label).save(tmp_path / "masks" / f"p{k}.png")
        written[f"p{k}"] = values, label == 2
    words = ("folder", "--images", tmp_path / "images", "--masks", tmp_path / "masks", "--subject-pattern", r"p\d")
    with pytest.raises(InputError, match=r"mask values 0 \(\d+×\), 1 \(6×\), 2 \(8×\).*--label"):
        run(tmp_path, *words)
    with pytest.raises(InputError, match="not square.*--size"):
        run(tmp_path, *words, "--label", 2)
    with pytest.raises(InputError, match="no mask in .* holds 7"):
        run(tmp_path, *words, "--label", 7, "--size", 16)
    with pytest.raises(InputError, match="give --size too"):
        run(tmp_path, *words, "--label", 2, "--spacing", 1)
    data, report = run(tmp_path, *words, "--label", 2, "--size", 16)
    for name, image, mask in zip(data.name, data.images, data.masks, strict=True):
        values, label = written[name]
        rows, columns = ((n - 16) // 2 for n in values.shape)
        np.testing.assert_array_equal(image, values[rows:rows + 16, columns:columns + 16])
        np.testing.assert_array_equal(mask, label[rows:rows + 16, columns:columns + 16])
    assert report["structure cut at the border"] == ["p2"]
    fine, _ = run(tmp_path, *words, "--label", 2, "--size", 64, "--spacing", 0.7)
    np.testing.assert_allclose(fine.masks.sum(axis=(1, 2)) * 0.49, [m.sum() * 1.4 * 1.25 for _, m in written.values()],
                               rtol=0.15)


def test_structures_that_a_size_loses_whole_are_told_apart_from_empty_slices(tmp_path):
    pixels, masks = RNG.integers(0, 255, (6, 32, 32)), np.zeros((6, 32, 32), np.uint8)
    masks[1:, 14:18, 14:18] = 1
    masks[4] = np.roll(masks[1], 13, axis=0)
    masks[5] = np.roll(masks[1], 9, axis=0)
    words = scans(tmp_path, pixels, masks, [f"p{k}" for k in range(6)])
    data, report = run(tmp_path, *words, "--size", 16)
    assert data.name.tolist() == ["p1", "p2", "p3", "p5"]
    assert report["structure cut at the border"] == ["p5"]
    assert report["structure lost whole by the size or spacing"] == ["p4"]
    assert [rule["number"] for rule in report["left out by rule"]] == [1, 1]


@pytest.mark.parametrize("values", [np.uint8([0, 1]), np.float64([0, 0.99998]), np.float32([1e-5, 254.999])])
def test_labels_stored_with_an_error_are_whole_numbers(tmp_path, values):
    from data_prep.images import binary

    np.testing.assert_array_equal(binary(np.tile(values, (4, 2)), "here"), np.tile([0, 1], (4, 2)))
    with pytest.raises(InputError, match=r"mask values 0 \(.*0.5 \(1×\)"):
        binary(np.append(np.zeros(9), 0.5), "here")


@pytest.mark.parametrize("encoding, says", [("ascii", "this shell's locale .* set LC_ALL=C.UTF-8"),
                                            ("utf-8", "undecodable characters in the name; rename the file")])
def test_names_that_are_no_text_blame_the_locale_where_it_is_to_blame(tmp_path, monkeypatch, encoding, says):
    from data_prep.images import files_in

    try:
        (tmp_path / os.fsdecode(b"p\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    with pytest.raises(InputError, match=says):
        files_in(tmp_path)


def test_twins_but_for_the_ending_are_all_named_and_can_be_left_out(tmp_path):
    pixels, masks = RNG.integers(0, 255, (4, 16, 16)), np.ones((4, 16, 16), np.uint8)
    words = scans(tmp_path, pixels, masks, [f"p{k}" for k in range(4)])
    for k in (1, 2):
        Image.open(tmp_path / "image" / f"p{k}.png").save(tmp_path / "image" / f"p{k}.bmp")
    with pytest.raises(InputError, match="p1.png: p1.bmp has the same name.*1 more damaged"):
        run(tmp_path, *words)
    data, report = run(tmp_path, *words, "--allow-partial")
    assert data.name.tolist() == ["p0", "p3"] and len(report["damaged, left out"]) == 2


# Sunnybrook


def test_scout_series_beside_the_contoured_one(tmp_path):
    """The series that has all the contours' numbers is theirs, and two that have are not guessed between."""
    written = raw_trees.sunnybrook(tmp_path / "raw", layout="challenge")
    scouts = {path.parent for path in (tmp_path / "raw").rglob("*.dcm")}
    for here in scouts:
        for k in range(1, 9):
            raw_trees.write_dicom(here / f"IM-0099-{k:04d}.dcm", np.zeros((48, 48), np.int16))
    data, _ = run(tmp_path, "sunnybrook", "--source", tmp_path / "raw", "--allow-partial")
    assert data.name.tolist() == sorted(written)
    assert (data.images.max(axis=(1, 2)) > 0).all()
    for k in (28, 48):
        for here in scouts:
            raw_trees.write_dicom(here / f"IM-0099-{k:04d}.dcm", np.zeros((48, 48), np.int16))
    with pytest.raises(InputError, match="a second series"):
        run(tmp_path, "sunnybrook", "--source", tmp_path / "raw")


def test_files_beside_the_picture_folders_are_counted(tmp_path):
    names = [f"{s}-IM-0001-0008" for s in ("SC-HF-I-01", "SC-HYP-06")]
    raw_trees.pictures(tmp_path / "png", names, RNG.integers(0, 255, (2, 16, 16)), np.ones((2, 16, 16)))
    raw_trees.pictures(tmp_path / "png" / "more", names, RNG.integers(0, 255, (2, 16, 16)), np.ones((2, 16, 16)))
    _, report = run(tmp_path, "sunnybrook", "--source", tmp_path / "png", "--folds", "random")
    assert report["files passed over"]["beside images and masks"] == 4


def test_two_frames_of_one_number_are_not_guessed_between(tmp_path):
    raw_trees.sunnybrook(tmp_path / "raw")
    frame = next((tmp_path / "raw").rglob("IM-0003-0008.dcm"))
    raw_trees.write_dicom(frame.with_name("IM-0003-08.dcm"), np.zeros((48, 48), np.int16))
    with pytest.raises(InputError, match="a second frame"):
        run(tmp_path, "sunnybrook", "--source", tmp_path / "raw")


def test_frames_without_ending(tmp_path):
    written = raw_trees.sunnybrook(tmp_path / "raw")
    for path in list((tmp_path / "raw").rglob("*.dcm")):
        path.rename(path.with_suffix(""))
    data, _ = run(tmp_path, "sunnybrook", "--source", tmp_path / "raw", "--allow-partial")
    assert data.name.tolist() == sorted(written)


# Files


def test_hdf5_is_read_without_locks_and_busy_files_are_not_called_damaged(tmp_path):
    """HDF5 marks a file that a program writes; the mark is gone when it is closed, and so is the refusal."""
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "x.h5"
    dataset.write(path, phantom("LV", 32, 3))
    before = path.read_bytes()
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        checksum = dataset.read(path).checksum
    code = f"import h5py; f = h5py.File({str(path)!r}, 'r+'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        with pytest.raises(InputError, match="open for writing in another program") as refused:
            dataset.read(path)
        assert not isinstance(refused.value, DamagedError)
        writer.communicate(b"\n")
    assert dataset.read(path).checksum == checksum and path.read_bytes() == before


def test_long_names_are_written(tmp_path):
    for name in ("n" * 240 + ".json", "ü" * 125 + ".json", "a.json"):
        files.write(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole"
    with pytest.raises(InputError, match="shorter name"):
        files.write(tmp_path / ("n" * 256), "whole")
    assert len(list(tmp_path.iterdir())) == 3


def test_audit_with_nothing_left_says_what_was_damaged(tmp_path):
    found = audit.Audit(Path("here"), allow_partial=True)
    with found.case("x"):
        raise InputError("x: broken")
    with pytest.raises(InputError, match=r"no labelled images left, of 1 damaged ones \(x: broken\)"):
        found.settle(0)
    found.leave_out(3, "images without the structure")
    with pytest.raises(InputError, match=r"broken\); 3 images without the structure; check the source"):
        found.settle(0)
