"""Damaged sources: every outcome is a sound data set or one clear error, no traceback, no half-made file."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason='the optional extra "images" is not installed')

import raw_trees
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import sunnybrook_raw
from data_prep.__main__ import main
from ilnrepro.errors import InputError
from ilnrepro.storage import dataset
from ilnrepro.use import images as readers

ROOT = Path(__file__).parents[1]
NAMES = [f"{s}-IM-0001-{k:04d}" for s in ("SC-HF-I-01", "SC-HYP-06", "SC-N-11") for k in (8, 20)]


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """One sound source of each kind, and the command that prepares it from a folder."""
    root = tmp_path_factory.mktemp("sources")
    raw_trees.sunnybrook(root / "raw", frames=2, side=24)
    raw_trees.acdc(root / "acdc", patients=3, slices=2)
    raw_trees.spine(root / "spine", subjects=6)
    rng = np.random.default_rng(0)
    raw_trees.pictures(root / "png", NAMES, rng.integers(0, 256, (6, 16, 16)),
                       rng.integers(0, 2, (6, 16, 16)))
    return root


COMMAND = {
    "raw": lambda here: ["sunnybrook", "--source", here],
    "acdc": lambda here: ["acdc", "--source", here, "--structure", "lv", "--size", "32"],
    "spine": lambda here: ["spine", "--source", here, "--size", "16"],
    "png": lambda here: ["sunnybrook", "--source", here],
    "folder": lambda here: ["folder", "--images", here / "image", "--masks", here / "mask",
                            "--subject-pattern", r"SC-[A-Z-]+\d+"],
}


@pytest.fixture(autouse=True)
def complete(monkeypatch):
    """Takes the made-up release for the whole one."""
    monkeypatch.setitem(sunnybrook_raw.EXPECTED, "i", {"subjects": 3, "images": 6})


def prepare(kind, here, output, partial=False):
    """The data set from the source in `here`, or the InputError; never a file after an error."""
    arguments = [*COMMAND[kind](here), "--output", output, *(["--allow-partial"] if partial else [])]
    try:
        assert main(list(map(str, arguments))) == 0
    except InputError as error:
        assert not list(output.parent.iterdir()), "something was written"
        assert "\n" not in str(error)
        return error
    data = dataset.read(output)
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    return data


@pytest.fixture
def attempt(trees, tmp_path):
    """Copies a source, damages it, and returns what `prepare` does without and with --allow-partial."""
    def run(kind, damage):
        here = tmp_path / "source"
        shutil.copytree(trees / ("png" if kind == "folder" else kind), here)
        damage(here)
        (tmp_path / "out").mkdir()
        strict = prepare(kind, here, tmp_path / "out" / "x.h5")
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "out").mkdir()
        return strict, prepare(kind, here, tmp_path / "out" / "x.h5", partial=True)

    return run


def first(here, pattern):
    """The first file in the tree of that name."""
    return sorted(here.rglob(pattern))[0]


# One damaged case among many: named and refused, left out only on request


def cut(share):
    def damage(path):
        path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    return damage


def text(change):
    def damage(path):
        path.write_text(change(path.read_text("utf-8")), "utf-8")
    return damage


def image(shape, kind=np.int16):
    def damage(path):
        raw_trees.write_dicom(path, np.random.default_rng(0).integers(0, 99, shape).astype(kind))
    return damage


def volume(change):
    def damage(path):
        image = sitk.ReadImage(str(path))
        changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
        if changed.GetSize() == image.GetSize():
            changed.CopyInformation(image)
        sitk.WriteImage(changed, str(path))
    return damage


def png(values):
    def damage(path):
        from PIL import Image
        Image.fromarray(values).save(path)
    return damage


def many_frames(path):
    frames = sitk.GetImageFromArray(np.zeros((3, 24, 24), np.uint8))
    sitk.WriteImage(frames, str(path))


def not_finite(path):
    png(np.full((16, 16), np.nan, np.float32))(path.with_suffix(".tif"))
    path.unlink()


def wrong_checksum(path):
    """Of the pixels' chunk, whose last four bytes come before the closing chunk's twelve."""
    content = bytearray(path.read_bytes())
    content[-13] ^= 1
    path.write_bytes(content)


def labelled(value):
    def change(label):
        label[0, 0, 0] = value
        return label
    return change


SHAPELESS = "1 1\n2 2\n3 3\n4 4\n"
CONTOUR, FRAME = "IM-0001-0008-icontour-manual.txt", "IM-0003-0008.dcm"
GREY = np.zeros((16, 16), np.uint8)
DAMAGED = [
    ("raw", FRAME, cut(0.7), "cut short"),
    ("raw", FRAME, cut(0.01), "cut short"),
    ("raw", FRAME, cut(0), "cut short"),
    ("raw", FRAME, image((24, 30)), "not square"),
    ("raw", FRAME, image((24, 24, 3), np.uint8), "3-channel"),
    ("raw", FRAME, image((40, 40)), "differs from most images'"),
    ("raw", FRAME, many_frames, "3 frames in one file"),
    ("raw", CONTOUR, text(lambda t: "".join(t.splitlines(True)[:2])), "2 distinct points"),
    ("raw", CONTOUR, text(lambda t: 5 * t.splitlines(True)[0]), "1 distinct points"),
    ("raw", CONTOUR, text(lambda t: t + "NaN 3.0\n"), "line 61: NaN"),
    ("raw", CONTOUR, text(lambda t: t + "inf 3.0\n"), "infinite"),
    ("raw", CONTOUR, text(lambda t: t + "24.00 3.00\n"), "leave the 24×24 image"),
    ("raw", CONTOUR, text(lambda t: t + "-1 3\n"), "leave the 24×24 image"),
    ("raw", CONTOUR, text(lambda t: t.replace(".", ",")), "decimal points"),
    ("raw", CONTOUR, text(lambda t: t + "1 2 3\n"), "no `x y` pair"),
    ("raw", CONTOUR, text(lambda t: t + "one two\n"), "no `x y` pair"),
    ("raw", CONTOUR, text(lambda t: ""), "empty"),
    ("raw", CONTOUR, text(lambda t: " \n\n"), "empty"),
    ("raw", CONTOUR, text(lambda t: SHAPELESS), "one line"),
    ("raw", CONTOUR, lambda path: path.write_bytes(b"\xff\xfe\x00\x81"), "cannot be read as text"),
    ("acdc", "patient002_frame01.nii.gz", cut(0.999), "cannot be read"),
    ("acdc", "patient002_frame01_gt.nii.gz", cut(0.5), "cannot be read"),
    ("acdc", "patient002_frame01.nii.gz", volume(lambda v: v[:1]), "mask size 2×40×52 differs"),
    ("acdc", "patient002_frame01_gt.nii.gz", volume(lambda v: v[:, :, 1:]), "mask size 2×40×51 differs"),
    ("acdc", "patient002_frame01_gt.nii.gz", volume(labelled(7)), "unknown labels 7"),
    ("acdc", "patient002_frame09_gt.nii.gz", Path.unlink, "no label volume"),
    ("acdc", "patient002_frame09.nii.gz", Path.unlink, "no image volume"),
    ("spine", "case3.nrrd", cut(0.6), "cannot be read"),
    ("spine", "case3_label.nrrd", cut(0.2), "cannot be read"),
    ("spine", "case3.nrrd", Path.unlink, "no volume of this name"),
    ("spine", "case3_label.nrrd", volume(lambda v: v[1:]), "mask size 17×32×32 differs"),
    ("spine", "case3_label.nrrd", volume(lambda v: 0 * v), "no vertebra in it"),
    ("spine", "case3_label.nrrd", volume(lambda v: v * np.float32(0.5) + np.float32(0.2)), "not whole numbers from 0"),
    ("spine", "case3_label.nrrd", volume(lambda v: -v.astype(np.int16)), "not whole numbers from 0"),
    ("spine", "case3.nrrd", volume(lambda v: np.where(v > 900, np.nan, v).astype(np.float32)), "NaN"),
    ("png", f"image/{NAMES[2]}.png", cut(0.6), "cut short"),
    ("png", f"image/{NAMES[2]}.png", wrong_checksum, "cut short"),
    ("png", f"image/{NAMES[2]}.png", png(np.uint8(np.arange(768).reshape(16, 16, 3) % 256)), "3-channel"),
    ("png", f"image/{NAMES[2]}.png", png(np.zeros((16, 20), np.uint8)), "differs from the image's"),
    ("png", f"mask/{NAMES[2]}.png", png(GREY + 7), "mask values 7"),
    ("png", f"mask/{NAMES[2]}.png", png(GREY[:8]), "differs from the image's"),
    ("png", f"mask/{NAMES[2]}.png", Path.unlink, "no partner"),
    ("png", f"image/{NAMES[2]}.png", Path.unlink, "no partner"),
    ("png", f"image/{NAMES[2]}.png", lambda path: path.write_bytes(b"GIF89a"), "cannot be read"),
    ("folder", f"mask/{NAMES[2]}.png", png(GREY + np.arange(16, dtype=np.uint8)), "mask values 0 (16×), 1 (16×), 2"),
    ("folder", f"image/{NAMES[2]}.png", not_finite, "NaN"),
    ("folder", f"image/{NAMES[2]}.png", lambda path: shutil.copy(path, path.with_suffix(".bmp")), "the same name but"),
    ("folder", f"image/{NAMES[2]}.png", png(np.zeros((16, 16), np.uint8)[:, :8]), "differs from the image's"),
    ("folder", f"image/{NAMES[2]}.png", lambda path: path.rename(path.with_name("a.png")), "no partner"),
]


@pytest.mark.parametrize("kind, name, damage, says", DAMAGED)
def test_damaged_case_is_named_and_left_out_only_on_request(attempt, kind, name, damage, says):
    strict, partial = attempt(kind, lambda here: damage(first(here, name)))
    assert isinstance(strict, InputError) and says in str(strict), strict
    assert "--allow-partial" in str(strict) and Path(name).stem.split("_")[0][-4:] in str(strict)
    assert 1 <= 6 - len(partial) <= 2 and says in partial.audit


def second_series(here, target):
    for frame in list(first(here, FRAME).parent.iterdir()):
        target(frame).parent.mkdir(exist_ok=True)
        shutil.copy(frame, target(frame))


@pytest.mark.parametrize("target", [lambda frame: frame.with_name(frame.name.replace("0003", "0009")),
                                    lambda frame: frame.parents[1] / "CINESAX_301" / frame.name])
def test_two_series_for_a_subject_are_not_guessed_between(attempt, target):
    strict, partial = attempt("raw", lambda here: second_series(here, target))
    assert "a second series for SC-HF-I-01" in str(strict)
    assert set(partial.subject) == {"SC-HF-NI-07", "SC-N-09"}


def test_two_contours_for_a_frame_are_not_guessed_between(attempt):
    strict, partial = attempt("raw", lambda here: shutil.copy(
        first(here, CONTOUR), first(here, CONTOUR).with_name("IM-0002-0008-icontour-manual.txt")))
    assert "a second contour" in str(strict) and len(partial) == 5


# What is harmless


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t,
                                    lambda t: t + "\n\n", lambda t: t.replace(" ", "\t")])
def test_line_ends_and_blanks_change_nothing(trees, attempt, tmp_path, change):
    def rewrite(here):
        for path in here.rglob("*icontour-manual.txt"):
            path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8", newline="")

    (tmp_path / "sound").mkdir()
    sound = prepare("raw", trees / "raw", tmp_path / "sound" / "x.h5")
    np.testing.assert_array_equal(attempt("raw", rewrite)[0].masks, sound.masks)


# What no request can excuse


def rewrite(name, content):
    return lambda here: first(here, name).write_text(content, encoding="utf-8")


@pytest.mark.parametrize("kind, damage, says", [
    ("raw", shutil.rmtree, "no such file or folder"),
    ("acdc", shutil.rmtree, "no such folder"),
    ("folder", shutil.rmtree, "no such folder"),
    ("raw", lambda here: shutil.rmtree(here / "SCD_ManualContours"), "no contours"),
    ("raw", lambda here: [path.unlink() for path in here.rglob("*.dcm")], "no frames"),
    ("raw", lambda here: first(here, "*.csv").unlink(), "scd_patientdata.csv"),
    ("raw", rewrite("*.csv", "PatientID,OriginalID\nSCD0000101,SC-N-9\nSCD0000201,SC-N-09\n"), "named twice"),
    ("raw", rewrite("*.csv", "PatientID,OriginalID\nSCD0000101,Smith\n"), "no subject's name"),
    ("raw", rewrite("*.csv", ""), "no table with PatientID and OriginalID"),
    ("raw", lambda here: first(here, "*.csv").write_bytes(b"\xff\x00"), "cannot be read as a table"),
    ("acdc", lambda here: [path.unlink() for path in here.rglob("*frame*")], "no patient001_frame01.nii.gz"),
    ("acdc", lambda here: shutil.copytree(here / "training", here / "again"), "the same patient and frame"),
    ("spine", shutil.rmtree, "no such folder"),
    ("spine", lambda here: (shutil.rmtree(here), here.write_bytes(b"")), "a file; give the folder"),
    ("spine", lambda here: [path.unlink() for path in here.glob("*_label*")], "no case1.nrrd with case1_label.nrrd"),
    ("spine", lambda here: shutil.copytree(here, here / "again"), "the same subject as"),
    ("png", lambda here: shutil.rmtree(here / "mask"), "neither mask nor masks"),
    ("png", lambda here: shutil.copytree(here / "mask", here / "masks"), "both mask and masks"),
    ("png", lambda here: [path.unlink() for path in (here / "image").iterdir()], "no image files"),
])
def test_unusable_source(attempt, kind, damage, says):
    for outcome in attempt(kind, damage):
        assert isinstance(outcome, InputError) and says in str(outcome), outcome


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", None])
def test_damaged_npz(tmp_path, content):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, image=np.zeros((4, 16, 16), np.uint8), mask=np.zeros((4, 16, 16), np.uint8))
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    (tmp_path / "out").mkdir()
    assert "cannot be read as .npz" in str(prepare("raw", path, tmp_path / "out" / "x.h5"))


@pytest.mark.parametrize("change, says", [
    ({"mask": np.zeros((4, 16, 15), np.uint8)}, "do not fit together"),
    ({"mask": np.full((4, 16, 16), "a")}, "do not fit together"),
    ({"mask": np.full((4, 16, 16), 3)}, "mask values 3"),
    ({"image": np.full((4, 16, 16), np.nan)}, "NaN"),
    ({"subject": np.array(["a", "b"])}, "do not fit together"),
    ({"name": np.array(list("aabc"))}, "not unique"),
    ({"subject": np.array(list("aaaa"))}, "at least two are needed"),
    ({"image": None}, "lacks image"),
])
def test_unsound_npz(tmp_path, change, says):
    arrays = {"image": np.zeros((4, 16, 16), np.uint8), "mask": np.zeros((4, 16, 16), np.uint8),
              "subject": np.array(list("aabb")), "name": np.array(list("abcd"))} | change
    np.savez(tmp_path / "x.npz", **{key: value for key, value in arrays.items() if value is not None})
    (tmp_path / "out").mkdir()
    assert says in str(prepare("raw", tmp_path / "x.npz", tmp_path / "out" / "x.h5"))


@pytest.mark.parametrize("more, says", [(["--subject-pattern", "("], "no regular expression"),
                                        (["--subject-pattern", "Z+"], "finds no subject"),
                                        (["--subject-pattern", "SC"], "at least two are needed"),
                                        (["--folds", "1"], "not a split")])
def test_folder_options(trees, tmp_path, more, says):
    arguments = [*COMMAND["folder"](trees / "png"), "--output", tmp_path / "x.h5", *more]
    with pytest.raises(InputError, match=says):
        main(list(map(str, arguments)))
    assert not list(tmp_path.iterdir())


def test_libraries_own_words_are_not_shown(tmp_path, capfd):
    """The MetaImage reader prints what it misses."""
    path = tmp_path / "x.mha"
    sitk.WriteImage(sitk.GetImageFromArray(GREY), str(path))
    cut(0.9)(path)
    with pytest.raises(InputError, match="x.mha: cannot be read"):
        readers.read(path)
    assert capfd.readouterr() == ("", "")


def test_without_simpleitk_the_remedy_is_said(trees, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    (tmp_path / "out").mkdir()
    for kind in ("raw", "spine"):
        assert 'pip install "ilnrepro[images]"' in str(prepare(kind, trees / kind, tmp_path / "out" / "x.h5"))
    for kind in ("png", "acdc"):  # these need none
        assert len(prepare(kind, trees / kind, tmp_path / "out" / "x.h5")) == 6
        (tmp_path / "out" / "x.h5").unlink()


def test_command_line_says_it_in_one_line(trees, tmp_path):
    """Status 2, one line, no traceback, nothing that the libraries have to say."""
    shutil.copytree(trees / "raw", tmp_path / "raw")
    cut(0.6)(first(tmp_path / "raw", FRAME))
    done = subprocess.run([sys.executable, "-m", "data_prep", "sunnybrook", "--source", tmp_path / "raw",
                           "--output", tmp_path / "x.h5"], cwd=ROOT, capture_output=True, encoding="utf-8",
                          timeout=120)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and FRAME in done.stderr and not (tmp_path / "x.h5").exists()


# Hundreds of ways


def _cut(path, share, rng):
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])


def _flip(path, share, rng):
    content = bytearray(path.read_bytes())
    for _ in range(1 + int(8 * share)):
        if content:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def _header(path, share, rng):
    """Other bytes near the start, where formats keep their sizes and types."""
    content = bytearray(path.read_bytes())
    start = int(share * min(len(content), 1200))
    content[start:start + 4] = rng.bytes(len(content[start:start + 4]))
    path.write_bytes(content)


def _zeros(path, share, rng):
    content = bytearray(path.read_bytes())
    start = int(share * len(content))
    content[start:] = bytes(len(content) - start)
    path.write_bytes(content)


def _insert(path, share, rng):
    content = path.read_bytes()
    start = int(share * len(content))
    path.write_bytes(content[:start] + rng.bytes(rng.integers(1, 40)) + content[start:])


def _remove(path, share, rng):
    path.unlink()


def _copy(path, share, rng):
    old = ("1", "0", "8", "IM", "manual", "frame")[int(6 * share)]
    new = ("2", "7", "a", "-", ".")[rng.integers(5)]
    if old in path.name:
        shutil.copy(path, path.with_name(path.name.replace(old, new)))


def _move(path, share, rng):
    others = [p for p in path.parents[1].rglob("*") if p.is_dir()]
    path.rename(others[int(share * len(others))] / path.name)


def _swap(path, share, rng):
    files = sorted(p for p in path.parents[1].rglob("*") if p.is_file())
    path.write_bytes(files[int(share * len(files))].read_bytes())


def _folder(path, share, rng):
    path.unlink()
    path.mkdir()


WORDS = ["", "nan nan", "1,5 2,5", "1e999 1", "5", "1 2 3", "-4 300", "\x00", "𝟙 𝟚", '"', "a b"]


def _words(path, share, rng):
    """Text that is nearly right."""
    content = path.read_text("utf-8", errors="replace").split("\n")
    line = int(share * len(content))
    content[line] = WORDS[rng.integers(len(WORDS))]
    path.write_text("\n".join(content), "utf-8")


DAMAGES = [_cut, _flip, _header, _zeros, _insert, _remove, _copy, _move, _swap, _folder, _words]
SHARE = st.floats(0, 1, exclude_max=True)
STEP = st.tuples(SHARE, st.sampled_from(DAMAGES), SHARE, st.integers(0, 2**31))


def damage_at_random(here, steps):
    """Each step takes a file, a way to damage it, a place in it and a seed."""
    for which, way, share, seed in steps:
        files = sorted(path for path in here.rglob("*") if path.is_file())
        if files:
            way(files[int(which * len(files))], share, np.random.default_rng(seed))


@pytest.mark.parametrize("kind, examples", [
    ("raw", 20), ("acdc", 10), ("png", 10), *(pytest.param(kind, count, marks=pytest.mark.slow)
                                              for kind, count in (("raw", 200), ("acdc", 80), ("png", 80)))])
def test_any_damage_is_survived_or_refused(trees, tmp_path, capfd, kind, examples):
    """What is made is sound, and as it should be wherever the files are; nothing is printed but the audit."""
    (tmp_path / "sound").mkdir()
    sound = prepare(kind, trees / kind, tmp_path / "sound" / "x.h5")
    reference = {name: (i.tobytes(), m.tobytes()) for name, i, m in zip(sound.name, sound.images, sound.masks,
                                                                        strict=True)}
    outcomes = {"refused": 0, "survived": 0}

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.lists(STEP, min_size=1, max_size=3), st.booleans())
    def damaged(steps, partial):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            here, out = Path(folder) / "source", Path(folder) / "out"
            shutil.copytree(trees / kind, here)
            damage_at_random(here, steps)
            out.mkdir()
            outcome = prepare(kind, here, out / "x.h5", partial)
            touched = _touched(trees / kind, here)
        assert capfd.readouterr().err == ""
        outcomes["refused" if isinstance(outcome, InputError) else "survived"] += 1
        if not isinstance(outcome, InputError) and outcome.images.shape[1:] == sound.images.shape[1:]:
            for name, image, mask in zip(outcome.name, outcome.images, outcome.masks, strict=True):
                if name in reference and not any(part in name for part in touched):
                    assert (image.astype(sound.images.dtype).tobytes(), mask.tobytes()) == reference[name]

    damaged()
    assert min(outcomes.values()) > examples / 10, outcomes


def _touched(before, after):
    """What changed, as parts of cases' names: patients and subjects, or all if a table did."""
    def contents(folder):
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    old, new = contents(before), contents(after)
    changed = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
    subjects = {"SCD0000101": "SC-HF-I-01", "SCD0000201": "SC-HF-NI-07", "SCD0000301": "SC-N-09"}
    parts = {""} if any(name.endswith(".csv") for name in changed) else set()
    known = ("patient001", "patient002", "patient003", *subjects, *subjects.values(), *NAMES)
    for name in changed:
        parts |= {subjects.get(part, part) for part in known if part in name}
    return parts
