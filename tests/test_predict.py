"""Using a trained network: predict on every kind of input, and export to a model that stands alone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny
from PIL import Image

from ilnrepro.errors import InputError
from ilnrepro.preparation import Preparation
from ilnrepro.storage import dataset, hdf5, runfile
from ilnrepro.use import images as readers
from ilnrepro.use import prediction
from ilnrepro.use.segmenter import Segmenter, export, in_batches, load

pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.fixture(scope="module")
def segment(trained):
    """Its network, loaded once."""
    return load(trained[0])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run that kept its weights: (run file, data set file)."""
    folder = tmp_path_factory.mktemp("trained")
    data = tiny.discs(folder)
    done = tiny.command("ilnrepro", "run", "--data", data, "--results", folder, "--protocol", "tiny", "--method",
                        "iln", "--fold", 1, "--rate", 0.3, "--steps-per-epoch", 10, "--keep-weights")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("runs/*/*/*/*.h5")), data


def test_weights_come_back_exactly_and_give_the_run_s_own_masks(trained):
    path, data = trained
    run, images = runfile.read(path), dataset.read(data)
    segmenter = Segmenter(path)
    for name, variable in segmenter.network.named_variables.items():
        np.testing.assert_array_equal(variable, run.weights[name])
    tested = images.images[run.test["index"]]
    sure = np.abs(segmenter.segment(tested.astype(np.float32))["probability"] - 0.5) > 1e-5
    assert run.masks.any() and sure.mean() > 0.9
    np.testing.assert_array_equal(in_batches(segmenter.segment, tested, batch=3)[sure], run.masks[sure])
    ranges = [image * 2.0**(i % 3) + i for i, image in enumerate(tested)]  # exact: each image is stretched by itself
    np.testing.assert_array_equal(in_batches(segmenter.segment, ranges)[sure], run.masks[sure])


@pytest.mark.parametrize("shape", [(1, 17, 40), (2, 5, 5), (3, 32, 16)])
def test_any_size_is_padded_and_cropped_back(segment, shape):
    found = segment(np.random.default_rng(0).random(shape).astype(np.float32))
    assert found["mask"].shape == found["probability"].shape == shape


@pytest.fixture(scope="module", params=[pytest.param([], id="cropped"), pytest.param(
    ["--spacing", 1.1], id="resampled", marks=pytest.mark.slow)])
def prepared(request, tmp_path_factory):
    """A run on slices that were cropped or padded to 48², or resampled before: (run file, its `Run`, release)."""
    pytest.importorskip("SimpleITK", reason="the extra `images` is not installed")
    import raw_trees

    folder = tmp_path_factory.mktemp("prepared")
    raw_trees.acdc(folder / "acdc", patients=3)
    for words in (["data_prep", "acdc", "--source", folder / "acdc", "--structure", "rv", "--size", 48, *request.param,
                   "--output", folder / "a.h5"],
                  ["ilnrepro", "run", "--data", folder / "a.h5", "--results", folder, "--protocol", "tiny", "--method",
                   "iln", "--fold", 1, "--rate", 0.3, "--steps-per-epoch", 40, "--keep-weights"]):
        done = tiny.command(*words)
        assert done.returncode == 0, done.stderr
    path = next(folder.glob("runs/*/*/*/*.h5"))
    run = runfile.read(path)
    assert run.preparation == dataset.read(folder / "a.h5").preparation == Preparation(
        (48, 48), "crop", request.param[1] if request.param else None)
    return path, run, folder / "acdc"


def test_raw_volumes_are_prepared_as_the_run_s_own_and_masks_come_back(prepared, tmp_path):
    """In the run's grid the masks are the run's own; the written ones are those, in the volume's grid."""
    path, run, release = prepared
    model, frames = load(path), {}
    for i, name in enumerate(run.test["name"]):
        frame, _, number = name.rpartition("_slice")
        frames.setdefault(frame, []).append((int(number) - 1, run.masks[i]))
    assert run.masks.any() and len(frames) == 2
    done = predict(path, *(next(release.rglob(f"{frame}.nii.gz")) for frame in frames), output=tmp_path)
    assert done.returncode == 0, done.stderr
    for frame, own in frames.items():
        volume = readers.read(next(release.rglob(f"{frame}.nii.gz")))
        in_grid = in_batches(model, [model.preparation.image(one, volume.spacing) for one in volume.values])
        for k, mask in own:
            assert (in_grid[k] == mask).mean() >= 0.999, (frame, k)
        written = readers.read(tmp_path / f"{frame}-mask.nii.gz").values
        back = [model.preparation.back(mask, written.shape[1:], volume.spacing) for mask in in_grid]
        assert written.any() and (written != back).mean() < 0.001
        overlays = sorted(p.name for p in (tmp_path / f"{frame}-overlay").iterdir())
        assert overlays == [f"slice-{k + 1:03d}.png" for k in np.flatnonzero(written.any((1, 2)))]


@pytest.mark.slow
def test_the_exported_arithmetic_prepares_a_raw_volume_alike(prepared, tmp_path):
    path, _, release = prepared
    whole = Segmenter(path, form="reference")
    for source in sorted(release.rglob("*_frame??.nii.gz"))[:2]:
        assert predict(path, source, output=tmp_path).returncode == 0
        volume = readers.read(source)
        further = () if whole.preparation.spacing is None else (tf.constant(volume.spacing, tf.float32),)
        exported = whole.from_source(tf.constant(volume.values, tf.float32), *further)["mask"].numpy()
        written = readers.read(tmp_path / f"{source.name.removesuffix('.nii.gz')}-mask.nii.gz").values
        assert (exported != written).mean() < 0.02  # where a pixel lies half-way, rounding decides


def test_a_pixel_size_that_is_needed_and_not_told_is_missed(prepared, tmp_path):
    path, run, _ = prepared
    Image.fromarray(np.tile(np.arange(40, dtype=np.uint8), (40, 1))).save(tmp_path / "i.png")
    done = predict(path, tmp_path / "i.png", output=tmp_path)
    if run.preparation.spacing is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2 and "i.png: no pixel size in the file" in done.stderr


@pytest.mark.parametrize("found, status", [(0, "collapsed"), (4, "collapsed"), (6, "complete")])
def test_a_run_of_less_than_five_hundredths_has_collapsed(trained, found, status):
    """In the mean over the images that hold the structure; those without it do not hide it."""
    run = runfile.read(trained[0])
    holding = {"truth_pixels": 100, "predicted_pixels": 100, "common_pixels": found}
    run.test = {key: np.array([value, value, 0, 0]) for key, value in holding.items()}
    assert run.dice.tolist() == [found / 100] * 2 + [1, 1] and run.status == status


def test_the_network_of_a_collapsed_run_says_so(trained, tmp_path):
    run = runfile.read(trained[0])
    run.test["common_pixels"][:] = 0
    runfile.write(tmp_path / "c.h5", run)
    Image.fromarray(np.tile(np.arange(32, dtype=np.uint8), (32, 1))).save(tmp_path / "i.png")
    for path, word in ((tmp_path / "c.h5", True), (trained[0], False)):
        done = predict(path, tmp_path / "i.png", output=tmp_path)
        assert done.returncode == 0 and ("a network that collapsed" in done.stderr) == word, done.stderr


def predict(model, *inputs, output):
    return tiny.command("ilnrepro", "predict", model, *inputs, "--output", output)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_overlay_shows_the_grey_image_and_the_mask_s_rim(tmp_path, kind):
    image, mask = np.tile(np.arange(50, 250, 5, kind), (40, 1)), np.zeros((40, 40), np.uint8)
    mask[10:20, 5:30] = 1
    prediction._write_overlay(tmp_path / "o.png", image, mask)
    shown = np.array(Image.open(tmp_path / "o.png")).astype(int)
    rim = (shown == (255, 0, 0)).all(axis=2)
    assert rim.sum() == 2 * 10 + 2 * 23 and not rim[11:19, 6:29].any() and rim[10, 5:30].all()
    assert np.abs(shown[~rim] - (255 * (image - 50.0) / 195)[~rim][:, None]).max() <= 1


def test_data_set_and_pictures(trained, segment, tmp_path):
    path, data = trained
    images = dataset.read(data).images
    Image.fromarray(images[0][:20, :30]).save(tmp_path / "one.png")
    done = predict(path, data, tmp_path / "one.png", output=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with hdf5.reading(tmp_path / "out" / "discs-mask.h5", "masks") as file:
        masks = file["masks"][()]
    np.testing.assert_array_equal(masks, in_batches(segment, images))
    assert len(list((tmp_path / "out" / "discs-overlay").glob("*.png"))) == len(images)
    mask = np.array(Image.open(tmp_path / "out" / "one-mask.png"))
    assert mask.shape == (20, 30) and set(np.unique(mask)) <= {0, 255}
    assert np.array(Image.open(tmp_path / "out" / "one-overlay.png")).shape == (20, 30, 3)


def test_volumes_keep_their_geometry_and_dicom_becomes_nifti(trained, segment, tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="the extra `images` is not installed")
    path, data = trained
    images = dataset.read(data).images[:5]
    volume = sitk.GetImageFromArray(images.astype(np.int16))
    volume.SetSpacing((1.5, 1.5, 8))
    volume.SetOrigin((-20, 30, 7))
    volume.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    sitk.WriteImage(volume, str(tmp_path / "v.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(images[:1].astype(np.uint16)), str(tmp_path / "d.dcm"))
    done = predict(path, tmp_path / "v.nii.gz", tmp_path / "d.dcm", output=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    written = sitk.ReadImage(str(tmp_path / "out" / "v-mask.nii.gz"))
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(written, what)(), getattr(volume, what)(), atol=1e-5)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), in_batches(segment, images))
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "d-mask.nii.gz")))
    np.testing.assert_array_equal(np.squeeze(mask), in_batches(segment, images[:1])[0])


FORMATS = {".tif": ".tif", ".jpg": ".png", ".PNG": ".png", ".nii": ".nii", ".nrrd": ".nrrd", ".nhdr": ".nrrd",
           ".mha": ".mha", ".mhd": ".mha"}


def test_every_format_gets_one_whole_mask_file(trained, segment, tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="the extra `images` is not installed")
    path, data = trained
    image = dataset.read(data).images[0]
    for ending, mask_ending in FORMATS.items():
        source, out = tmp_path / "in" / f"i{ending}", tmp_path / f"out{ending}"
        source.parent.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(source))
        ((planned, target),) = prediction.plan([source], out)
        prediction.predict(segment, planned, target)
        assert sorted(p.name for p in out.iterdir()) == [f"i-mask{mask_ending}", "i-overlay.png"]
        read = sitk.GetArrayFromImage(sitk.ReadImage(str(source)))  # JPEG is lossy
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(target)))
        np.testing.assert_array_equal(found > 0, in_batches(segment, read[None])[0], ending)


def test_a_folder_keeps_its_places_and_earlier_results_are_not_taken_for_images(trained, segment, tmp_path):
    path, data = trained
    images = dataset.read(data).images
    for k, place in enumerate(("a", "b/c", ".hidden")):
        (tmp_path / "in" / place).mkdir(parents=True)
        Image.fromarray(images[k]).save(tmp_path / "in" / place / "i.png")
    (tmp_path / "in" / "a" / "._i.png").write_bytes(b"not a picture")
    out = tmp_path / "in" / "masks"
    for _ in range(2):
        for planned, target in prediction.plan([tmp_path / "in"], out):
            prediction.predict(segment, planned, target)
        made = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png"))
        assert made == ["a/i-mask.png", "a/i-overlay.png", "b/c/i-mask.png", "b/c/i-overlay.png"]


def test_a_damaged_file_does_not_stop_the_others(trained, tmp_path):
    path, data = trained
    for name in "abc":
        Image.fromarray(dataset.read(data).images[0]).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    done = predict(path, *(tmp_path / f"{name}.png" for name in "abc"), output=tmp_path / "out")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"error: {tmp_path / 'b.png'}: cannot be read" in done.stderr and "1 of 3 files have no mask" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").glob("*-mask.png")) == ["a-mask.png", "c-mask.png"]


@pytest.mark.parametrize("case", ["file in place", "file above", "disk full"])
def test_export_leaves_nothing_half_written(trained, tmp_path, monkeypatch, case):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    if case == "disk full":
        def save(model, folder, **_):
            os.makedirs(folder)
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

        monkeypatch.setattr(tf.saved_model, "save", save)
    folder = {"file in place": "file", "file above": "file/model", "disk full": "model"}[case]
    with pytest.raises(InputError, match="choose another folder"):
        export(trained[0], tmp_path / folder)
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text("utf-8") == "mine"


@pytest.mark.slow
def test_a_damaged_export_is_refused(trained, tmp_path):
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        folder = tmp_path / Path(name).name
        export(trained[0], folder)
        for damage in (lambda p: p.write_bytes(p.read_bytes()[:len(p.read_bytes()) // 2]), Path.unlink):
            damage(folder / name)
            with pytest.raises(InputError, match="not an exported model"):
                load(folder)


def agree(served, ours):
    """Probabilities within 1e-5, and masks but where the logit lies within 1e-4 of the threshold."""
    assert np.abs(served["probability"] - ours["probability"]).max() < 1e-5
    sure = np.abs(ours["probability"] - 0.5) > 1e-4 / 4
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(np.asarray(served["mask"])[sure], np.asarray(ours["mask"])[sure])


def test_what_is_exported_computes_the_same_by_tensorflow_s_own_operations(trained, segment):
    images = dataset.read(trained[1]).images[:4].astype(np.float32)
    plain = Segmenter(trained[0], form="plain").segment
    agree(plain(images), segment(images))
    ops = {op.type for op in plain.get_concrete_function().graph.get_operations()}
    assert "Conv2D" in ops and not [op for op in ops if op.startswith("Iln") or "Call" in op]  # a call is compiled


@pytest.mark.slow
def test_exported_model_serves_without_this_package(trained, tmp_path):
    path, data = trained
    done = tiny.command("ilnrepro", "export", path, "--output", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    images = dataset.read(data).images[:4].astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    program = ("import sys; sys.modules['ilnrepro'] = None\n"
               "import numpy as np, tensorflow as tf\n"
               "model = tf.saved_model.load(sys.argv[1])\n"
               "ops = {n.op for f in model.signatures['serving_default'].graph.as_graph_def().library.function"
               " for n in f.node_def}\n"
               "assert not [op for op in ops if op.startswith('Iln') or 'Xla' in op], ops\n"
               "found = model.signatures['serving_default'](tf.constant(np.load(sys.argv[2])))\n"
               "np.savez(sys.argv[3], **found)\n")
    words = [sys.executable, "-c", program, tmp_path / "model", tmp_path / "images.npy", tmp_path / "m.npz"]
    without = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, encoding="utf-8", env=without)
    assert done.returncode == 0, done.stderr[-2000:]
    served, ours = np.load(tmp_path / "m.npz"), load(path)(images)
    agree(served, ours)
    done = predict(tmp_path / "model", data, output=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    again = tiny.command("ilnrepro", "export", path, "--output", tmp_path / "model")
    assert again.returncode == 2 and "not an empty folder" in again.stderr


@pytest.mark.parametrize("case, message", [
    ("no such input", "no such file"), ("unknown format", "unknown format"), ("empty folder", "holds no image"),
    ("same names", "would have the name"), ("damaged picture", "cannot be read"), ("no weights", "holds no weights"),
    ("not a model", "not an exported model"), ("no model", "no such file"),
])
def test_bad_input(trained, tmp_path, case, message):
    path, data = trained
    inputs, model = [data], path
    if case == "no such input":
        inputs = [tmp_path / "none.png"]
    elif case == "unknown format":
        (tmp_path / "x.txt").write_text("x", encoding="utf-8")
        inputs = [tmp_path / "x.txt"]
    elif case == "empty folder":
        (tmp_path / "empty").mkdir()
        inputs = [tmp_path / "empty"]
    elif case == "same names":
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / folder / "i.png")
        inputs = [tmp_path / "a", tmp_path / "b"]
    elif case == "damaged picture":
        Image.fromarray(np.eye(64, dtype=np.uint8)).save(tmp_path / "i.png")
        (tmp_path / "i.png").write_bytes((tmp_path / "i.png").read_bytes()[:60])
        inputs = [tmp_path / "i.png"]
    elif case == "no weights":
        run = runfile.read(path)
        run.weights = {}
        runfile.write(model := tmp_path / "w.h5", run)
    elif case == "not a model":
        (model := tmp_path / "m").mkdir()
    elif case == "no model":
        model = tmp_path / "m.h5"
    done = predict(model, *inputs, output=tmp_path / "out")
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_segmenter_names_a_run_without_weights(trained, tmp_path):
    run = runfile.read(trained[0])
    run.weights = {}
    runfile.write(tmp_path / "w.h5", run)
    with pytest.raises(InputError, match="--keep-weights"):
        Segmenter(tmp_path / "w.h5")
