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
