"""A run goes on from where it was ended, and its file is that of an uninterrupted run, bit for bit."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tiny

from ilnrepro.errors import InputError
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.storage import checkpoint, locking

WORDS = ["--method", "bin-projected", "--batch", "2", "--fold", "1", "--rate", "0.5", "--protocol", "quick",
         "--steps-per-epoch", "25", "--checkpoint-seconds", "0", "--progress", "lines"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.phantom(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The run file of an uninterrupted run."""
    results = tmp_path_factory.mktemp("whole")
    done = tiny.process("ilnrepro", "run", "--data", data, "--results", results, *WORDS)
    assert done.returncode == 0, done.stderr
    assert not list(results.rglob("*.checkpoint"))
    return next(results.rglob("*.h5"))


def ended(data, results, after, how):
    """Starts the run and ends it by a signal after so many blocks; returns (status, standard error)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ilnrepro", "run", "--data", str(data), "--results", str(results), *WORDS],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(tiny.ROOT)})
    for _ in range(after):
        assert process.stdout.readline().startswith("steps ")
    process.send_signal(how)
    said = process.communicate(timeout=120)[1]
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("how, status", [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)],
                         ids=["SIGKILL", "SIGINT", "SIGTERM"])
def test_an_ended_run_goes_on_to_the_same_bits(data, whole, tmp_path, how, status):
    code, said = ended(data, tmp_path, 3, how)
    assert code == status and "Traceback" not in said
    assert not list(tmp_path.rglob("*.h5"))
    kept = sorted(tmp_path.rglob("*.checkpoint"))
    assert 1 <= len(kept) <= checkpoint.NUMBER
    done = tiny.process("ilnrepro", "run", "--data", data, "--results", tmp_path, *WORDS)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 10  # the first block it reports is not the run's first
    assert tiny.content(next(tmp_path.rglob("*.h5"))) == tiny.content(whole)
    assert not list(tmp_path.rglob("*.checkpoint")) and not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_damaged_checkpoints_are_passed_over(data, whole, tmp_path):
    ended(data, tmp_path, 4, signal.SIGKILL)
    kept = sorted(tmp_path.rglob("*.checkpoint"))
    kept[-1].write_bytes(kept[-1].read_bytes()[:-2000])
    if len(kept) > 1:
        kept[0].write_text("nothing", encoding="utf-8")
    done = tiny.process("ilnrepro", "run", "--data", data, "--results", tmp_path, *WORDS)
    assert done.returncode == 0, done.stderr
    assert tiny.content(next(tmp_path.rglob("*.h5"))) == tiny.content(whole)


def configuration(**changes):
    fields = dict(dataset="d", dataset_checksum="0", structure="LV", method="in", fold=1, rate=0.1, seed=0,
                  protocol=protocol("quick"))
    return Configuration(**fields | changes)


def test_the_last_two_are_kept_and_only_the_run_s_own_are_taken(tmp_path):
    path = tmp_path / "run.h5"
    for step in (10, 20, 30):
        checkpoint.save(path, configuration(), step, {"a/b": np.arange(step)}, seconds=step / 2)
    assert len(list(tmp_path.glob(".*.checkpoint"))) == 2
    step, arrays, seconds = checkpoint.latest(path, configuration())
    assert step == 30 and seconds == 15
    np.testing.assert_array_equal(arrays["a/b"], np.arange(30))
    newest = sorted(tmp_path.glob(".*.checkpoint"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    assert checkpoint.latest(path, configuration())[0] == 20
    checkpoint.remove(path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_locked_is_not_said_to_be_in_use(tmp_path, monkeypatch):
    if locking.fcntl is None:
        pytest.skip("no flock here")

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking.fcntl, "flock", refuse)
    with pytest.raises(InputError, match="cannot be locked .No locks"), locking.locked(tmp_path / "x", "here"):
        pass


def test_checkpoints_of_other_data_do_not_displace_the_run_s_own(tmp_path):
    path, other = tmp_path / "run.h5", configuration(dataset_checksum="1")
    for step in (40, 50):
        checkpoint.save(path, other, step, {"a": np.arange(3)}, seconds=1)
    assert checkpoint.latest(path, configuration()) is None
    for step in (10, 20):
        checkpoint.save(path, configuration(), step, {"a": np.arange(3)}, seconds=1)
        assert checkpoint.latest(path, configuration())[0] == step
