"""Using a trained network: predict on every kind of input, and export to a model that stands alone."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tiny
from PIL import Image

from ilnrepro import dataset, hdf5, runfile
from ilnrepro.errors import InputError
from ilnrepro.segmenter import Segmenter, in_batches, load


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run that kept its weights: (run file, data set file)."""
    folder = tmp_path_factory.mktemp("trained")
    data = tiny.phantom(folder)
    done = tiny.command("ilnrepro", "run", "--data", data, "--results", folder, "--protocol", "quick", "--method",
                        "iln", "--fold", 1, "--rate", 0.3, "--steps-per-epoch", 150, "--keep-weights")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("runs/*/*/*/*.h5")), data


def test_weights_come_back_exactly_and_give_the_run_s_own_masks(trained):
    path, data = trained
    run, images = runfile.read(path), dataset.read(data)
    segmenter = Segmenter(path)
    for name, variable in segmenter.network.named_variables.items():
        np.testing.assert_array_equal(variable, run.weights[name])
    masks = in_batches(segmenter.segment, images.images[run.test["index"]], batch=3)
    assert run.masks.any()
    np.testing.assert_array_equal(masks, run.masks)


@pytest.mark.parametrize("shape", [(1, 17, 40), (2, 5, 5), (3, 32, 16)])
def test_any_size_is_padded_and_cropped_back(trained, shape):
    found = load(trained[0])(np.random.default_rng(0).random(shape).astype(np.float32))
    assert found["mask"].shape == found["probability"].shape == shape


def predict(model, *inputs, output):
    return tiny.command("ilnrepro", "predict", model, *inputs, "--output", output)


def test_data_set_and_pictures(trained, tmp_path):
    path, data = trained
    images = dataset.read(data).images
    Image.fromarray(images[0][:20, :30]).save(tmp_path / "one.png")
    done = predict(path, data, tmp_path / "one.png", output=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with hdf5.reading(tmp_path / "out" / "tiny-lv-mask.h5", "masks") as file:
        masks = file["masks"][()]
    np.testing.assert_array_equal(masks, in_batches(load(path), images))
    assert len(list((tmp_path / "out" / "tiny-lv-overlay").glob("*.png"))) == len(images)
    mask = np.array(Image.open(tmp_path / "out" / "one-mask.png"))
    assert mask.shape == (20, 30) and set(np.unique(mask)) <= {0, 255}
    assert np.array(Image.open(tmp_path / "out" / "one-overlay.png")).shape == (20, 30, 3)


def test_volumes_keep_their_geometry_and_dicom_becomes_nifti(trained, tmp_path):
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
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), in_batches(load(path), images))
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "d-mask.nii.gz")))
    np.testing.assert_array_equal(np.squeeze(mask), in_batches(load(path), images[:1])[0])


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
    assert np.abs(served["probability"] - ours["probability"]).max() < 1e-4
    np.testing.assert_array_equal(served["mask"], ours["mask"])
    done = predict(tmp_path / "model", data, output=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    again = tiny.command("ilnrepro", "export", path, "--output", tmp_path / "model")
    assert again.returncode == 2 and "not empty" in again.stderr


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
