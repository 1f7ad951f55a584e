"""The committed results: their tables come again from their run files, byte for byte, without training or images."""

import shutil

import numpy as np
import pytest
import tiny
from PIL import Image

from ilnrepro.storage import runfile

pytestmark = pytest.mark.slow
COMMITTED = tiny.ROOT / "results"


def captions(folder):
    return {path.name: Image.open(path).text["Description"] for path in folder.glob("*.png")}


@pytest.mark.parametrize("name", sorted({path.parts[-6] for path in COMMITTED.glob("*/runs/*/*/*/*.h5")}))
def test_tables_come_again(name, tmp_path):
    source = COMMITTED / name
    shutil.copytree(source / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns(".*"))
    if (source / "cost.json").exists():
        shutil.copy(source / "cost.json", tmp_path)
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
    # Committed with the images of data that may be shown; the captions of figures without them say so.
    missing = " The grey images are not in the run files: name the data sets to see them."
    assert {key: caption.replace(missing, "") for key, caption in shown.items()} == captions(source / "figures")
    for name, caption in shown.items():
        if name != "figure1-gates.png":  # drawn from no run
            for words in ("Data: ", "test images in", "Protocol ", "Rates ", "Seeds "):
                assert words in caption, (name, words)
            assert "rule '" in caption or "every learning rate" in caption or "Rules: '" in caption, name
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The images are not shown" in report and len(report.encode()) < 10_000_000


def test_over_single_images_bn_trained_the_networks_of_in():
    runs = COMMITTED / "sunnybrook-lite" / "runs" / "sunnybrook-lv" / "lite"
    paths = sorted((runs / "bn").glob("fold*-seed0.h5"))
    assert len(paths) == 15
    for path in paths:
        assert np.array_equal(runfile.read(path).loss, runfile.read(runs / "in" / path.name).loss), path.name
