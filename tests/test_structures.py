"""Networks of several structures in one call: one label map, in the image's own grid."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
from PIL import Image

import ilnrepro
from ilnrepro.errors import InputError
from ilnrepro.preparation import Preparation
from ilnrepro.storage import dataset, ensemble, hdf5, runfile
from ilnrepro.use import prediction
from ilnrepro.use.segmenter import load
from ilnrepro.use.structures import label_map, load_together

pytestmark = pytest.mark.usefixtures("uncompiled")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Discs, and three networks: of LV; of RV, an ensemble for another grid; and of a rim, which finds nothing."""
    folder = tmp_path_factory.mktemp("structures")
    data = tiny.discs(folder)
    for fold in (1, 2):
        done = tiny.command("ilnrepro", "run", "--data", data, "--results", folder, "--protocol", "tiny", "--method",
                            "in", "--fold", fold, "--rate", 0.3, "--steps-per-epoch", 10, "--keep-weights")
        assert done.returncode == 0, done.stderr
    one, two = (runfile.read(path) for path in sorted(folder.glob("runs/*/*/*/*.h5")))
    runfile.write(folder / "lv.h5", one)
    head = next(name for name, values in one.weights.items() if values.shape == (2,))
    for run in (one, two):
        run.configuration = replace(run.configuration, structure="RV")
        run.preparation = Preparation((24, 24), "crop")
        run.weights[head] = run.weights[head] + np.float32([0, 1])  # surer than LV where it sees anything
        runfile.write(folder / f"rv{run.configuration.fold}.h5", run)
    ensemble.write(folder / "rv.h5", [folder / "rv1.h5", folder / "rv2.h5"])
    one.configuration, one.preparation = replace(one.configuration, structure="rim"), Preparation((32, 32), "keep")
    one.weights[head] = np.float32([99, -99])
    runfile.write(folder / "rim.h5", one)
    return folder


def test_a_pixel_goes_to_the_most_probable_of_those_that_claim_it_and_of_equal_ones_to_the_first():
    masks = np.array([[1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 0, 1], [0, 0, 0, 1, 0, 0]], np.uint8)
    probabilities = np.array([[.6, .6, .4, .7, .4, .8], [.1, .9, .6, .7, .3, .8], [.2, .9, .1, .7, .45, .95]])
    labels, contested = label_map(masks, probabilities)
    np.testing.assert_array_equal(labels, [1, 2, 2, 1, 0, 1])
    np.testing.assert_array_equal(contested, [0, 1, 0, 1, 0, 1])
    assert labels.dtype == np.uint8


def wanted(folder, slices):
    """Labels and contested pixels by one network at a time, in the image's grid."""
    of_each = [prediction.outputs_of(load(folder / name), slices, [None] * len(slices), "")
               for name in ("lv.h5", "rv.h5", "rim.h5")]
    lv, rv, rim = of_each
    assert not rim["mask"].any() and lv["mask"].any() and not rv["mask"][:, :4].any()
    labels = np.where(lv["mask"] & (~rv["mask"] | (lv["probability"] >= rv["probability"])), 1, 2 * rv["mask"])
    return labels, lv["mask"] & rv["mask"], of_each


@pytest.mark.slow
def test_each_network_sees_its_own_grid_and_the_map_has_the_image_s(folder):
    images = dataset.read(folder / "discs.h5").images[:3]
    labels, contested, (lv, rv, _) = wanted(folder, images)
    found = ilnrepro.Structures([folder / "lv.h5", folder / "rv.h5", folder / "rim.h5"])(images)
    assert found.structures == ("LV", "RV", "rim") and contested.any() and set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.contested, contested)
    np.testing.assert_array_equal(found.probability["LV"], lv["probability"])
    np.testing.assert_array_equal(found.uncertainty["RV"], rv["uncertainty"])
    assert set(found.probability) == {"LV", "RV", "rim"} and set(found.uncertainty) == {"RV"}
    one = ilnrepro.Structures([folder / "lv.h5", folder / "rv.h5"])(images[0])
    np.testing.assert_array_equal(one.labels, labels[0])


def predict(folder, output, *inputs, models=("lv.h5", "rv.h5", "rim.h5")):
    first, *others = (folder / name for name in models)
    further = [word for other in others for word in ("--with", other)]
    return tiny.command("ilnrepro", "predict", first, *further, *inputs, "--output", output)


@pytest.mark.slow
def test_files_get_one_label_map_overlays_in_colours_and_a_line(folder, tmp_path):
    data = dataset.read(folder / "discs.h5")
    labels, contested, (_, rv, _) = wanted(folder, data.images)
    k = next(k for k in range(len(data)) if set(np.unique(labels[k])) == {0, 1, 2})
    Image.fromarray(data.images[k]).save(tmp_path / "i.png")
    done = predict(folder, tmp_path / "out", tmp_path / "i.png", folder / "discs.h5", "--probability")
    assert done.returncode == 0, done.stderr
    assert "labels: 1 LV, 2 RV, 3 rim" in done.stdout
    counts = [(labels[k] == label).sum() for label in (1, 2)]
    assert f"pixels: LV {counts[0]}, RV {counts[1]}, rim 0; claimed by several: {contested[k].sum()}" in done.stderr
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out" / "i-mask.png")), labels[k])
    assert (tmp_path / "out" / "i-probability-RV.png").exists() and (tmp_path / "out" / "i-uncertainty-RV.png").exists()
    overlay = np.array(Image.open(tmp_path / "out" / "i-overlay.png"))
    assert overlay.shape == (32 + 3 * 14, 32, 3)
    for label, colour in enumerate(prediction._COLOURS[:3], 1):
        rim = (overlay[:32] == colour).all(-1)
        assert rim.any() == (label < 3) and (labels[k][rim] == label).all()
        assert (overlay[32 + 14 * (label - 1):][:14] == colour).all(-1).any()  # its line of the legend
    with hdf5.reading(tmp_path / "out" / "discs-mask.h5", "masks") as file:
        np.testing.assert_array_equal(file["masks"], labels)
        np.testing.assert_array_equal(file["probability-RV"], rv["probability"])
        assert "1 LV, 2 RV, 3 rim" in file["masks"].attrs["meaning"]
    own = labels == 1
    dice = 2 * (own & (data.masks > 0)).sum((1, 2)) / (own.sum((1, 2)) + data.masks.sum((1, 2)))
    assert f"DSC {dice.mean():.3f} against its own masks" in done.stderr


@pytest.mark.slow
def test_a_volume_s_label_map_has_its_geometry(folder, tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="the extra `images` is not installed")
    images = dataset.read(folder / "discs.h5").images[:3]
    volume = sitk.GetImageFromArray(images)
    volume.SetSpacing((1.5, 1.5, 8))
    sitk.WriteImage(volume, str(tmp_path / "v.nii.gz"))
    done = predict(folder, tmp_path / "out", tmp_path / "v.nii.gz")
    assert done.returncode == 0, done.stderr
    written = sitk.ReadImage(str(tmp_path / "out" / "v-mask.nii.gz"))
    assert written.GetSpacing() == (1.5, 1.5, 8)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), wanted(folder, images)[0])


@pytest.mark.slow
@pytest.mark.parametrize("models, message", [
    (("lv.h5", "lv.h5"), "lv.h5: given twice"), (("rv.h5", "lv.h5", "rv1.h5"), "rv1.h5: finds RV, as"),
    (("lv.h5", "none.h5"), "none.h5: no such file"),
])
def test_bad_input(folder, tmp_path, models, message):
    done = predict(folder, tmp_path / "out", folder / "discs.h5", models=models)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_networks_of_images_and_of_volumes_do_not_go_together(folder, tmp_path):
    from ilnrepro import networks
    from ilnrepro.protocols import Configuration, protocol

    run = runfile.read(folder / "lv.h5")
    run.configuration = Configuration("spine", "0", "spine", "in", 1, 0.1, 0, protocol("kolarik-quick"))
    run.weights = {name: v.numpy() for name, v in networks.build(run.configuration).named_variables.items()}
    runfile.write(tmp_path / "spine.h5", run)
    with pytest.raises(InputError, match=r"spine.h5: a network of volumes, and .*lv.h5 is one of images"):
        load_together([folder / "lv.h5", tmp_path / "spine.h5"])
    with pytest.raises(InputError, match="there are none"):
        load_together([])
