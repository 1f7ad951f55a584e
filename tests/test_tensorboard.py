"""The curves written for TensorBoard are the run file's, bit for bit, whatever ended the run in between."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny

from ilnrepro.errors import InputError
from ilnrepro.storage import runfile
from ilnrepro.training.tensorboard import Curves


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.phantom(tmp_path_factory.mktemp("data"))


def run(data, folder, *words):
    """One short run with curves; returns its run file and the curves' folder."""
    done = tiny.run(data, folder / "results", "--fold", 1, "--tensorboard", folder / "curves", *words)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("results/runs/*/*/*/*.h5")
    (events,) = folder.glob("curves/*/*/*/*/events.out.tfevents.*")
    below = path.relative_to(folder / "results" / "runs").with_suffix("")
    assert events.parent == folder / "curves" / below
    return runfile.read(path), events


def curves(events):
    """{tag: (steps, values)}, in the file's order."""
    by_tag = {}
    for event in tf.compat.v1.train.summary_iterator(str(events)):
        for value in event.summary.value:
            assert value.WhichOneof("value") == "simple_value"
            steps, values = by_tag.setdefault(value.tag, ([], []))
            steps.append(event.step)
            values.append(np.float32(value.simple_value))
    return by_tag


def check(run, events):
    """The event file holds the run file's curves, all of them, once, and nothing else."""
    expected = {"loss": (np.arange(len(run.loss)) + 1, run.loss), "learning_rate": (np.arange(len(run.rate)) + 1,
                                                                                     run.rate)}
    for k, layer in enumerate(run.layers):
        expected[f"gate/{layer}"] = run.gate_step, run.gate[:, k]
        numbers = run.rho.shape[2]
        for i in range(numbers):
            expected[f"rho/{layer}" + (f"/{i + 1}" if numbers > 1 else "")] = run.gate_step, run.rho[:, k, i]
    written = curves(events)
    assert set(written) == set(expected)
    for tag, (steps, values) in expected.items():
        np.testing.assert_array_equal(written[tag][0], steps, tag)
        np.testing.assert_array_equal(np.array(written[tag][1]).view(np.int32), np.array(values).view(np.int32), tag)


@pytest.mark.parametrize("method, rate", [("softmax", 0.5), ("none", 1e30)])
def test_curves_are_the_run_file_s(data, tmp_path, method, rate):
    done, events = run(data, tmp_path, "--method", method, "--rate", rate)
    assert done.status == ("diverged" if rate > 1 else done.status) and len(done.loss) >= 1
    check(done, events)


def test_the_run_file_does_not_change(data, tmp_path):
    words = ["--method", "none", "--rate", 0.5, "--keep-weights"]
    run(data, tmp_path, *words)
    assert tiny.run(data, tmp_path / "without", "--fold", 1, *words).returncode == 0
    first, second = tmp_path.glob("*/runs/*/*/*/*.h5")
    assert tiny.content(first) == tiny.content(second)


@pytest.mark.slow
def test_an_ended_run_goes_on_without_gap_or_duplicate(data, tmp_path):
    words = ["run", "--data", data, "--results", tmp_path / "results", "--method", "iln", "--fold", 1, "--rate", 0.5,
             "--protocol", "quick", "--steps-per-epoch", 25, "--checkpoint-seconds", 0, "--progress", "lines",
             "--tensorboard", tmp_path / "curves"]
    process = subprocess.Popen([sys.executable, "-m", "ilnrepro", *map(str, words)], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, encoding="utf-8", env=tiny.environment())
    for _ in range(3):
        assert process.stdout.readline().startswith("steps ")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    (before,) = tmp_path.rglob("events.out.tfevents.*")
    assert len(curves(before)["loss"][0]) >= 10  # what was there when it ended
    done = tiny.process("ilnrepro", *words)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 10  # it went on
    (path,) = tmp_path.glob("results/runs/*/*/*/*.h5")
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    check(runfile.read(path), events)


@pytest.mark.slow
def test_a_grid_tells_its_runs_apart_and_a_dry_run_passes_it_on(data, tmp_path, monkeypatch):
    words = ["experiments", "run", "--data", data, "--results", tmp_path / "results", *tiny.SHORT, "--methods",
             "none", "in", "--folds", 1, 2, "--rates", 0.5, "--tensorboard", "curves", "--keep-weights"]
    monkeypatch.chdir(tmp_path)
    listed = tiny.command(*words, "--dry-run")
    assert listed.returncode == 0 and not (tmp_path / "curves").exists()
    assert all(f"--keep-weights --tensorboard {tmp_path / 'curves'}" in line for line in listed.stdout.splitlines())
    done = tiny.command(*words)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "results" / "runs").rglob("*.h5"):
        below = path.relative_to(tmp_path / "results" / "runs").with_suffix("")
        (events,) = (tmp_path / "curves" / below).iterdir()
        check(runfile.read(path), events)
    assert len(list((tmp_path / "curves").rglob("events*"))) == 4


@pytest.mark.parametrize("command", ["ilnrepro", "experiments"])
def test_a_folder_that_cannot_be_one_is_refused_before_training(data, tmp_path, command):
    (tmp_path / "curves").write_text("", encoding="utf-8")
    words = {"ilnrepro": ["--method", "in", "--fold", 1, "--rate", 0.5],
             "experiments": ["--methods", "in", "--folds", 1, "--rates", 0.5]}[command]
    done = tiny.command(command, "run", "--data", data, "--results", tmp_path / "results", *tiny.SHORT, *words,
                        "--tensorboard", tmp_path / "curves")
    assert done.returncode == 2 and f"{tmp_path / 'curves'}" in done.stderr and "cannot be written" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "steps " not in done.stdout, done.stderr
    assert not list(tmp_path.rglob("*.h5")) and (tmp_path / "curves").read_bytes() == b""


def test_a_disk_that_fills_up_gets_a_clear_error(tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    class History:
        layers, loss, rate = [], np.zeros(2, np.float32), np.zeros(2, np.float32)

    monkeypatch.setattr(tf.summary.experimental, "write_raw_pb", full)
    with pytest.raises(InputError, match="No space left on device.*--tensorboard another folder"):
        Curves(tmp_path / "c")(History)
