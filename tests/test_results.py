"""The committed results: their tables come again from their run files, byte for byte, without training or images."""

import shutil

import h5py
import numpy as np
import pytest
import tiny
from PIL import Image

from ilnrepro.storage import dataset, own_resolution, runfile

pytestmark = pytest.mark.slow
COMMITTED = tiny.ROOT / "results"


def captions(folder):
    return {path.name: Image.open(path).text["Description"] for path in folder.glob("*.png")}


@pytest.mark.parametrize("name", sorted({path.parts[-6] for path in COMMITTED.glob("*/runs/*/*/*/*.h5")}))
def test_tables_come_again(name, tmp_path):
    source = COMMITTED / name
    shutil.copytree(source / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns(".*"))
    for beside in ("cost.json", own_resolution.NAME):
        if (source / beside).exists():
            shutil.copy(source / beside, tmp_path)
    done = tiny.command("experiments", "tables", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    committed = {path.name: path.read_bytes() for path in (source / "tables").iterdir()}
    again = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    assert again.keys() == committed.keys()
    assert not [name for name, content in committed.items() if again[name] != content]
    for words in (["figures"], ["figures", "report"]):
        done = tiny.command(*words, "--results", tmp_path)
        assert done.returncode == 0, done.stderr
    shown = captions(tmp_path / "figures")
    synthetic = "SYNTHETIC" in (tmp_path / "tables" / "table3.md").read_text(encoding="utf-8")
    # Committed with the images of data that may be shown; the captions of figures without them say so.
    missing = " The grey images are not in the run files: name the data sets to see them."
    assert {key: caption.replace(missing, "") for key, caption in shown.items()} == captions(source / "figures")
    for name, caption in shown.items():
        if name != "figure1-gates.png":  # drawn from no run
            data = "SYNTHETIC data: " if synthetic else "Data: "
            for words in (data, "test images in", "Protocol ", "Rates ", "Seeds "):
                assert words in caption, (name, words)
            assert any(words in caption for words in (
                "rule '", "every learning rate", "Rules: '", "nothing to choose")), name
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The images are not shown" in report and len(report.encode()) < 10_000_000


def test_committed_runs_are_of_data_that_are_still_known_and_say_themselves_whether_they_collapsed():
    """By their scores, not by what an earlier version wrote into them: the same here, for all or nothing was found."""
    for path in COMMITTED.glob("*/runs/*/*/*/*.h5"):
        run = runfile.read(path)
        assert run.synthetic or run.configuration.dataset_checksum in dataset._EARLIER_CHECKSUMS.values(), path
        assert path == path.parents[4] / run.configuration.path
        with h5py.File(path) as file:
            assert run.status == file.attrs["status"], path
            assert run.configuration.hash == file.attrs["configuration_hash"], path
        assert run.dice.mean() > (0.2 if run.synthetic else 0.3) or run.status == "collapsed"


def test_a_run_that_finds_next_to_nothing_has_collapsed():
    path = next(COMMITTED.glob("*/runs/*/*/iln/fold1-*-seed0.h5"))
    run, n = runfile.read(path), 509
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(50, 500, n), np.zeros(n, int)
    predicted[:509 - 471] = 3
    run.test = {"truth_pixels": truth, "predicted_pixels": predicted, "common_pixels": predicted // 4}
    assert f"{run.dice.mean():.3f}" == "0.000" and run.status == "collapsed"
    empty = dict(truth_pixels=0 * truth, predicted_pixels=0 * truth, common_pixels=0 * truth)
    run.test = {key: np.append(values, empty[key]) for key, values in run.test.items()}
    assert run.dice.mean() == 0.5 and run.status == "collapsed"  # images without the structure do not hide it
    run.test = {"truth_pixels": truth, "predicted_pixels": np.full(n, 256 * 256), "common_pixels": truth}
    assert run.status == "collapsed"  # all is marked
    run.test |= {"predicted_pixels": truth, "common_pixels": truth // 3}
    assert run.status == "complete" and run.dice.mean() > 0.3


def test_over_single_images_bn_trained_the_networks_of_in():
    runs = COMMITTED / "sunnybrook-lite" / "runs" / "sunnybrook-lv" / "lite"
    paths = sorted((runs / "bn").glob("fold*-seed0.h5"))
    assert len(paths) == 15
    for path in paths:
        assert np.array_equal(runfile.read(path).loss, runfile.read(runs / "in" / path.name).loss), path.name
