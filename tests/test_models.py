"""Networks for use: trained on all subjects, and several together; wherever a run file goes, they go."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import tiny
from PIL import Image

from ilnrepro.storage import dataset, ensemble, hdf5, runfile
from ilnrepro.use import packaged, segmenter

pytestmark = pytest.mark.usefixtures("uncompiled")
LEARNING = ["--protocol", "tiny", "--steps-per-epoch", 10]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Discs, runs of IN on each fold at one rate in `results`, and a network trained on all subjects."""
    folder = tmp_path_factory.mktemp("models")
    tiny.discs(folder)
    for fold in (1, 2, 3):
        of_run(folder, "in", fold)
    done = train(folder, "model.h5", "--results", folder / "results")
    assert done.returncode == 0, done.stderr
    return folder


def of_run(folder, method, fold, rate=0.3, *further):
    done = tiny.command("ilnrepro", "run", "--data", folder / "discs.h5", "--results", folder / "results", "--method",
                        method, "--fold", fold, "--rate", rate, *LEARNING, *(further or ["--keep-weights"]))
    assert done.returncode == 0, done.stderr


def train(folder, output, *further, rate=0.3):
    return tiny.command("ilnrepro", "train", folder / "discs.h5", "--method", "in", "--rate", rate, "--output",
                        folder / output, *LEARNING, *further)


def run_files(folder, method="in"):
    return sorted(folder.glob(f"results/runs/*/*/{method}+*/*.h5"))


@pytest.fixture(scope="module")
def together(folder):
    done = tiny.command("ilnrepro", "ensemble", *run_files(folder), "--output", folder / "three.h5")
    assert done.returncode == 0, done.stderr
    return folder / "three.h5"


def test_all_subjects_train_and_the_other_folds_tell_what_to_expect(folder):
    run = runfile.read(folder / "model.h5")
    runs = [runfile.read(path) for path in run_files(folder)]
    assert run.configuration.fold == 0 and run.status == "complete" and not run.test and run.weights
    assert len(run.loss) == 2 * 10
    by_subject = [np.mean(run.dice[run.test["subject"] == s]) for run in runs for s in np.unique(run.test["subject"])]
    assert run.expected["dice"] == pytest.approx(np.mean(by_subject)) and run.expected["subjects"] == 3
    assert "mean over 3 subjects" in run.expected["text"] and "too high" not in run.expected["text"]


def test_it_learns_from_the_images_that_a_fold_leaves_out(folder):
    data = dataset.read(folder / "discs.h5")
    spoilt = dataset.read(folder / "discs.h5")
    spoilt.masks[spoilt.fold == 1] = 0
    dataset.write(folder / "spoilt.h5", spoilt)
    done = tiny.command("ilnrepro", "train", folder / "spoilt.h5", "--method", "in", "--rate", 0.3, "--output",
                        folder / "other.h5", *LEARNING)
    assert done.returncode == 0, done.stderr
    first, other = (runfile.read(folder / name) for name in ("model.h5", "other.h5"))
    assert (first.loss != other.loss).any() and data.trained_on(0).all()


def test_a_training_is_not_repeated_but_what_to_expect_is_looked_up(folder):
    before = runfile.read(folder / "model.h5")
    done = train(folder, "model.h5")
    assert done.returncode == 0 and "mean over 3 subjects" in done.stdout
    of_run(folder, "in", 1, 0.2, "--seed", 0)
    done = train(folder, "model.h5", "--results", folder / "results")
    assert "best of the 2 tried" in done.stdout
    after = runfile.read(folder / "model.h5")
    assert after.provenance["date"] == before.provenance["date"]
    assert all((after.weights[name] == before.weights[name]).all() for name in before.weights)
    for path in folder.glob("results/runs/*/*/*/fold1-lr0.2-*"):
        path.unlink()


@pytest.mark.parametrize("further, message", [
    (["--rate", "0.25"], "holds a run of another configuration (rate 0.3 instead of 0.25)"),
    (["--output", "."], "no name for a file"), (["--rate", "-1"], "rate: -1.0 must be"),
    (["--method", "gn7"], "7 groups do not divide"), (["--protocol", "kolarik"], "takes volumes"),
])
def test_bad_input_for_a_training(folder, further, message):
    done = train(folder, "model.h5", *further)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_run_of_no_fold_is_no_training(folder):
    done = tiny.command("ilnrepro", "run", "--data", folder / "discs.h5", "--results", folder / "results", "--method",
                        "in", "--fold", 0, "--rate", 0.3, *LEARNING)
    assert done.returncode == 2 and "`ilnrepro train" in done.stderr


def test_without_runs_nothing_is_expected(folder):
    done = train(folder, "alone.h5", "--results", folder / "results", rate=0.1)
    assert "not known" in done.stdout and "0 of 3 folds" in done.stdout
    assert set(runfile.read(folder / "alone.h5").expected) == {"text"}


def test_probabilities_are_averaged_and_their_spread_is_told(folder, together):
    images = dataset.read(folder / "discs.h5").images[:4].astype(np.float32)
    each = np.array([segmenter.load(path)(images)["probability"] for path in run_files(folder)])
    found = {name: values.numpy() for name, values in segmenter.load(together)(images).items()}
    np.testing.assert_allclose(found["probability"], each.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["uncertainty"], each.std(0), atol=1e-6)
    np.testing.assert_array_equal(segmenter.own_masks(found), each > 0.5)
    np.testing.assert_array_equal(found["mask"], found["probability"] > 0.5)


def test_disagreement_is_one_less_the_mean_dice_of_each_two_masks():
    a, b, empty = (np.zeros((2, 4, 4), np.uint8) for _ in range(3))
    a[0, :2], b[0, 1:3] = 1, 1
    assert segmenter.disagreement(np.array([a, a, a])) == 0 == segmenter.disagreement(np.array([empty, empty]))
    assert segmenter.disagreement(np.array([a, b])) == pytest.approx(0.5)
    assert segmenter.disagreement(np.array([a, b, empty])) == pytest.approx((0.5 + 1 + 1) / 3)


def test_both_are_used_inspected_and_verified(folder, together, tmp_path):
    image = dataset.read(folder / "discs.h5").images[0]
    Image.fromarray(image).save(tmp_path / "i.png")
    for model in (folder / "model.h5", together):
        done = tiny.command("ilnrepro", "predict", model, tmp_path / "i.png", folder / "discs.h5", "--probability",
                            "--output", tmp_path / model.stem)
        assert done.returncode == 0, done.stderr
        shown = np.array(Image.open(tmp_path / model.stem / "i-probability.png"))
        wanted = segmenter.load(model)(image[None].astype(np.float32))["probability"][0]
        assert shown.dtype == np.int32 or shown.dtype == np.uint16
        np.testing.assert_allclose(shown / 65535, wanted, atol=1e-5)
        assert (tmp_path / model.stem / "i-uncertainty.png").exists() == (model == together)
        assert ("disagree by" in done.stderr) == (model == together)
        with hdf5.reading(tmp_path / model.stem / "discs-mask.h5", "masks") as file:
            assert file["probability"].shape == file["masks"].shape
            assert ("disagreement" in file) == (model == together)
        assert "0 problem(s)" in tiny.command("ilnrepro", "verify", model).stdout
    assert "mean over 3 subjects" in tiny.command("ilnrepro", "inspect", folder / "model.h5").stdout
    assert "Dice of its own test" in tiny.command("ilnrepro", "inspect", together).stdout


def test_a_volume_s_probability_has_its_geometry(folder, together, tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="the extra `images` is not installed")
    images = dataset.read(folder / "discs.h5").images[:3]
    for name in ("v.nii.gz", "v.mha"):
        volume = sitk.GetImageFromArray(images)
        volume.SetSpacing((1.5, 1.5, 8))
        sitk.WriteImage(volume, str(tmp_path / name))
    done = tiny.command("ilnrepro", "predict", together, tmp_path / "v.nii.gz", tmp_path / "v.mha", "--output",
                        tmp_path / "out")
    assert done.returncode == 0, done.stderr
    wanted = segmenter.load(together)(images.astype(np.float32))["uncertainty"]
    for name in ("v-uncertainty.nii.gz", "v-uncertainty.mha"):
        written = sitk.ReadImage(str(tmp_path / "out" / name))
        assert written.GetSpacing() == (1.5, 1.5, 8)
        np.testing.assert_allclose(sitk.GetArrayFromImage(written), wanted, atol=1e-6)


@pytest.mark.slow
def test_an_exported_ensemble_says_the_same(folder, together, tmp_path):
    segmenter.export(together, tmp_path / "model")
    images = dataset.read(folder / "discs.h5").images[:2].astype(np.float32)
    ours, served = segmenter.load(together)(images), segmenter.load(tmp_path / "model")(images)
    assert set(ours) == set(served)
    np.testing.assert_allclose(ours["probability"], served["probability"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one network", "ensemble"])
def test_onnx_says_the_same_at_any_size(folder, together, tmp_path, kind):
    runtime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    pytest.importorskip("tf2onnx", reason="the extra `onnx` is not installed")
    model = together if kind == "ensemble" else folder / "model.h5"
    done = tiny.command("ilnrepro", "export", model, "--output", tmp_path / "m.onnx")
    assert done.returncode == 0, done.stderr
    session, ours = runtime.InferenceSession(str(tmp_path / "m.onnx")), segmenter.of_file(model, "plain")
    names = [output.name for output in session.get_outputs()]
    assert "preparation" in session.get_modelmeta().custom_metadata_map["about"]
    for shape in ((3, 32, 32), (1, 30, 45), (2, 61, 20)):
        images = np.random.default_rng(0).random(shape).astype(np.float32)
        served = dict(zip(names, session.run(None, {session.get_inputs()[0].name: images}), strict=True))
        wanted = {name: values.numpy() for name, values in ours.from_source(images).items()}
        assert set(wanted) == set(names)
        assert np.abs(served["probability"] - wanted["probability"]).max() < 1e-5
        sure = np.abs(wanted["probability"] - 0.5) > 1e-4 / 4  # a logit of 1e-4 about the threshold
        np.testing.assert_array_equal(served["mask"][sure], wanted["mask"][sure])
    again = tiny.command("ilnrepro", "export", model, "--output", tmp_path / "m.onnx")
    assert again.returncode == 2 and "is there already" in again.stderr


@pytest.mark.parametrize("case, message", [
    ("one", "is no ensemble"), ("twice", "the same run as"), ("another method", "method 'iln' differs from 'in'"),
    ("no weights", "holds no weights"), ("no run", "no such file"),
])
def test_bad_input_for_an_ensemble(folder, tmp_path, case, message):
    first, second, _ = run_files(folder)
    runs = {"one": [first], "twice": [first, first], "no run": [first, tmp_path / "none.h5"]}.get(case)
    if case in ("another method", "no weights"):
        run = runfile.read(second)
        if case == "no weights":
            run.weights = {}
        else:
            run.configuration = replace(run.configuration, method="iln")
        runfile.write(tmp_path / "w.h5", run)
        runs = [first, tmp_path / "w.h5"]
    done = tiny.command("ilnrepro", "ensemble", *runs, "--output", tmp_path / "e.h5")
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "e.h5").exists()


def test_a_damaged_ensemble_is_refused(together, tmp_path):
    content = bytearray(together.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "d.h5").write_bytes(content)
    done = tiny.command("ilnrepro", "verify", tmp_path / "d.h5")
    assert done.returncode == 1 and "damaged" in done.stdout
    assert len(ensemble.networks(together)) == 3


@pytest.mark.slow
def test_half_weights_take_half_the_space_and_are_read_as_float32(folder, together, tmp_path):
    done = tiny.command("ilnrepro", "ensemble", *run_files(folder), "--half", "--output", tmp_path / "half.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "half.h5") as file:
        stored = []
        file["networks/1/weights"].visititems(
            lambda _, item: stored.append(item.dtype) if isinstance(item, h5py.Dataset) else None)
        assert stored and set(stored) == {np.dtype(np.float16)}
    assert (tmp_path / "half.h5").stat().st_size < 0.7 * together.stat().st_size
    for whole, half in zip(ensemble.read(together), ensemble.read(tmp_path / "half.h5"), strict=True):
        assert half.configuration == whole.configuration and (half.loss == whole.loss).all() and half.test
        for name, values in whole.weights.items():
            assert half.weights[name].dtype == np.float32
            np.testing.assert_array_equal(half.weights[name], values.astype(np.float16).astype(np.float32))
    images = dataset.read(folder / "discs.h5").images[:4].astype(np.float32)
    of_whole, of_half = (segmenter.load(path)(images)["probability"] for path in (together, tmp_path / "half.h5"))
    assert 0 < np.abs(of_whole - of_half).max() < 0.02
    assert "0 problem(s)" in tiny.command("ilnrepro", "verify", tmp_path / "half.h5").stdout
    run = runfile.read(run_files(folder)[0])
    next(iter(run.weights.values()))[...] = 1e5
    runfile.write(tmp_path / "large.h5", run)
    done = tiny.command("ilnrepro", "ensemble", tmp_path / "large.h5", run_files(folder)[1], "--half", "--output",
                        tmp_path / "e.h5")
    assert done.returncode == 2 and "goes up to 1e+05, and float16 to 65504" in done.stderr
    assert not (tmp_path / "e.h5").exists()


def test_a_packaged_network_goes_by_its_name_shows_its_card_and_says_what_it_assumes(folder, tmp_path, monkeypatch):
    (tmp_path / "trained").mkdir()
    for path in run_files(folder):
        run = runfile.read(path)
        run.preparation = replace(run.preparation, spacing=2.0, assumed=1.0)
        runfile.write(tmp_path / path.name, run)
    ensemble.write(tmp_path / "trained" / "discs-lv.h5", [tmp_path / p.name for p in run_files(folder)], half=True)
    (tmp_path / "trained" / "discs-lv.md").write_text("# discs-lv\n\nA card.\n", encoding="utf-8")
    monkeypatch.setattr(packaged, "FOLDER", tmp_path / "trained")
    image = dataset.read(folder / "discs.h5").images[0]
    Image.fromarray(image).save(tmp_path / "i.png")
    done = tiny.command("ilnrepro", "predict", "discs-lv", tmp_path / "i.png", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "i.png: tells no pixel size; 1 mm assumed" in done.stderr
    model = segmenter.load("discs-lv")
    prepared = model.preparation.image(image, (1.0, 1.0))
    wanted = model.preparation.back(model(prepared[None].astype(np.float32))["mask"][0].numpy(), image.shape, (1., 1.))
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / "i-mask.png")), 255 * wanted)
    shown = tiny.command("ilnrepro", "inspect", "discs-lv").stdout
    assert shown.startswith("# discs-lv") and "Dice of its own test" in shown
    done = tiny.command("ilnrepro", "predict", "disc-lv", tmp_path / "i.png", "--output", tmp_path / "out")
    assert done.returncode == 2 and "disc-lv: no such file, nor a network that comes with the package (these do: " \
        "discs-lv)" in done.stderr
