"""The examples run as printed, and do what they say."""

import re
import subprocess
import sys

import pytest
import tiny

pytestmark = pytest.mark.slow


def test_keras_unet(tmp_path, method="iln"):
    done = subprocess.run([sys.executable, tiny.ROOT / "examples" / "keras_unet.py", "--method", method], cwd=tmp_path,
                          capture_output=True, encoding="utf-8", timeout=300, env=tiny.environment())
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"10 batch normalizations replaced by {method}" in done.stdout and "SYNTHETIC" in done.stdout
    first, last, score = map(float, re.search(rf"^{method}: loss ([\d.]+) to ([\d.]+), .* mean Dice ([\d.]+)",
                                              done.stdout, re.MULTILINE).groups())
    assert last < first / 2 and score > 0.8, done.stdout
    assert "loaded: the same predictions" in done.stdout and not list(tmp_path.iterdir())


def test_unknown_method_gets_one_line():
    done = subprocess.run([sys.executable, tiny.ROOT / "examples" / "keras_unet.py", "--method", "foo"],
                          capture_output=True, encoding="utf-8", timeout=300, env=tiny.environment())
    assert done.returncode == 2 and "'foo' is unknown" in done.stderr and "Traceback" not in done.stderr


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="the extra `notebook` is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra `notebook` is not installed")
    monkeypatch.setenv("PYTHONPATH", tiny.environment()["PYTHONPATH"])
    notebook = nbformat.read(tiny.ROOT / "examples" / "phantom.ipynb", 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "loaded, it predicts the same" in said
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "image/png" in
                output.get("data", {})]
    assert len(pictures) == 3
