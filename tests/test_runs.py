"""Single runs, by the command that users and schedulers give."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny

from ilnrepro.norms import kernels
from ilnrepro.ops.metrics import surface_distances
from ilnrepro.storage import dataset, inspection, runfile
from ilnrepro.training import provenance


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.phantom(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A short ILN run: (results folder, run file)."""
    results = tmp_path_factory.mktemp("results")
    done = tiny.run(data, results, "--method", "iln", "--fold", 1, "--rate", 0.5, "--keep-weights")
    assert done.returncode == 0, done.stderr
    (path,) = results.glob("runs/*/*/*/*.h5")
    return results, path


def test_path_tells_what_the_run_is(finished):
    results, path = finished
    assert str(path.relative_to(results)) == "runs/tiny-lv/tiny/iln+eps0.0001/fold1-lr0.5-seed0.h5"


def test_run_file_holds_everything(finished, data):
    run, images = runfile.read(finished[1]), dataset.read(data)
    testing = images.fold == 1
    assert run.status in ("complete", "collapsed") and run.synthetic
    assert len(run.loss) == len(run.rate) == 4 and np.isfinite(run.loss).all()
    np.testing.assert_allclose(run.rate, np.float32([0.5] * 2 + [0.1] * 2))
    assert len(run.layers) == 12 and run.rho.shape == (len(run.gate_step), 12, 1)
    np.testing.assert_allclose(run.rho[0], 0.5)
    np.testing.assert_allclose(run.gate[0], 1 / (1 + np.exp(-0.5)), rtol=1e-6)
    assert list(run.test["name"]) == list(images.name[testing])
    assert list(run.test["index"]) == list(np.flatnonzero(testing))
    assert not set(run.test["subject"]) & set(images.subject[~testing])  # no subject in both training and test
    np.testing.assert_array_equal(run.test["truth_pixels"], images.masks[testing].sum(axis=(1, 2)))
    np.testing.assert_array_equal(run.test["predicted_pixels"], run.masks.sum(axis=(1, 2)))
    np.testing.assert_array_equal(run.test["common_pixels"], (run.masks & images.masks[testing]).sum(axis=(1, 2)))
    np.testing.assert_array_equal(run.example_truth, images.masks[testing][run.examples])
    compiled_for = kernels.native.instruction_set() if kernels.in_use() == "native" else "none"
    assert run.provenance["instruction_set"] == compiled_for and "onednn" in run.provenance
    assert len(run.weights) == 12 * 5 + 2 and run.configuration.dataset_checksum == images.checksum


def test_scores_at_the_data_set_s_own_resolution_and_no_truth_of_restricted_data(data, tmp_path):
    images = dataset.read(data)
    images.optional["spacing"] = np.full([len(images), 2], 1.5)
    images.restricted = True
    dataset.write(tmp_path / "d.h5", images)
    assert dataset.read(tmp_path / "d.h5").restricted and not dataset.read(data).restricted
    done = tiny.run(tmp_path / "d.h5", tmp_path, "--method", "none", "--fold", 1, "--rate", 0.1, "--shrink", 2)
    assert done.returncode == 0, done.stderr
    path, = tmp_path.glob("runs/d/tiny/*/*.h5")
    run, truth = runfile.read(path), images.masks[images.fold == 1]
    assert run.masks.shape == (len(truth), 16, 16)
    whole = np.kron(run.masks, np.ones([1, 2, 2], int))
    for key, counted in (("truth", truth), ("predicted", whole), ("common", truth & whole)):
        np.testing.assert_array_equal(run.test[f"whole_{key}_pixels"], counted.sum(axis=(1, 2)))
    np.testing.assert_allclose(run.test["hd95_mm"], 1.5 * surface_distances(truth, whole)[0])
    assert len(run.examples) and len(run.example_truth) == 0
    assert tiny.command("ilnrepro", "inspect", path).returncode == 0 and not run.weights
    with h5py.File(path) as file:
        assert file["test/hd95_mm"].attrs["unit"] == "mm" and file["examples/truth"].size == 0


def test_no_source_image_is_in_the_run_file(finished, data):
    images = dataset.read(data).images
    with h5py.File(finished[1]) as file:
        sizes = []
        file.visititems(lambda name, item: sizes.append((name, item.shape)) if isinstance(item, h5py.Dataset) else None)
    assert not [name for name, shape in sizes if shape[1:] == images.shape[1:]]


def test_same_seed_same_file_bit_for_bit_and_another_seed_another(finished, data, tmp_path):
    for seed in (0, 1):
        done = tiny.run(data, tmp_path, "--method", "iln", "--fold", 1, "--rate", 0.5, "--keep-weights", "--seed", seed)
        assert done.returncode == 0, done.stderr
    first, second = sorted(tmp_path.glob("runs/*/*/*/*.h5"))
    assert tiny.content(first) == tiny.content(finished[1])
    assert tiny.content(second) != tiny.content(finished[1])
    with h5py.File(first) as a, h5py.File(finished[1]) as b:
        assert a["provenance"].attrs["date"] and set(a["provenance"].attrs) == set(b["provenance"].attrs)


def test_the_commit_is_this_project_s_and_says_where_it_was_changed(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True,
                       capture_output=True)

    def commit(folder):
        monkeypatch.setattr(provenance, "__file__", str(folder / "ilnrepro" / "training" / "provenance.py"))
        return provenance._commit()

    for folder in (tmp_path, tmp_path / "vendored"):
        (folder / "ilnrepro" / "training").mkdir(parents=True)
        (folder / "ilnrepro" / "training" / "provenance.py").write_text("", encoding="utf-8")
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "a")
    assert commit(tmp_path) == "unknown"  # of a package that the commit does not hold
    git("add", ".")
    git("commit", "--quiet", "--message", "a")
    assert re.fullmatch("[0-9a-f]{40}", commit(tmp_path))
    (tmp_path / "elsewhere").write_text("a", encoding="utf-8")
    assert " " not in commit(tmp_path)
    (tmp_path / "ilnrepro" / "new.py").write_text("a", encoding="utf-8")
    assert re.fullmatch("[0-9a-f]{40} modified", commit(tmp_path))
    assert commit(tmp_path / "vendored") == "unknown"  # of a repository that holds more than this project
    monkeypatch.setenv("PATH", "")
    assert commit(tmp_path) == "unknown"


@pytest.mark.slow
def test_the_run_file_says_what_rounds_its_last_bits(data, tmp_path, monkeypatch):
    """oneDNN rounds sums in its own way, so that a provenance that is wrong about it shows."""
    runs = {}
    for wanted in (True, False):  # the commands' own choice is on
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
        if not wanted:
            monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        done = tiny.run(data, tmp_path / str(wanted), "--method", "none", "--fold", 1, "--rate", 0.5,
                        "--kernels", "tensorflow", by=tiny.process)
        assert done.returncode == 0, done.stderr
        runs[wanted] = runfile.read(next((tmp_path / str(wanted)).rglob("*.h5")))
        assert runs[wanted].provenance["onednn"] == wanted
    assert not np.array_equal(runs[False].loss, runs[True].loss)


def test_a_finished_run_is_not_repeated(finished, data):
    results, path = finished
    before = path.stat().st_mtime_ns
    done = tiny.run(data, results, "--method", "iln", "--fold", 1, "--rate", 0.5)
    assert done.returncode == 0 and "done before" in done.stdout and path.stat().st_mtime_ns == before


def test_a_finished_run_is_repeated_for_its_weights(finished, data, tmp_path):
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    path = next(tmp_path.rglob("*.h5"))
    run = runfile.read(path)
    run.weights = {}
    runfile.write(path, run)
    words = ["--method", "iln", "--fold", 1, "--rate", 0.5]
    assert "done before" in tiny.run(data, tmp_path, *words).stdout
    assert "done before" not in tiny.run(data, tmp_path, *words, "--keep-weights").stdout
    assert "done before" in tiny.run(data, tmp_path, *words, "--keep-weights").stdout
    assert runfile.read(path).weights


def test_a_run_of_another_configuration_is_not_reused(finished, data, tmp_path):
    other = tiny.phantom(tmp_path, subjects=7)
    done = tiny.run(other, finished[0], "--method", "iln", "--fold", 1, "--rate", 0.5)
    assert done.returncode == 2 and "another configuration (dataset_checksum" in done.stderr
    assert "Traceback" not in done.stderr


def test_inspect(finished, data, tmp_path):
    done = tiny.command("ilnrepro", "inspect", finished[1])
    assert done.returncode == 0 and "largest change of rho" in done.stdout
    for words in ("ILN on SYNTHETIC data", "Dice 0.", "worst of", "█", "; LV-1, rate"):
        assert words in done.stdout, words
    assert "configuration_hash" not in done.stdout
    assert "configuration_hash" in tiny.command("ilnrepro", "inspect", finished[1], "--all").stdout
    content = json.loads(tiny.command("ilnrepro", "inspect", finished[1], "--json").stdout)
    assert content["configuration"]["method"] == "iln" and len(content["gates"]) == 12 and content["dice"]["n"] > 0
    assert json.loads(tiny.command("ilnrepro", "inspect", data, "--json").stdout)["images"] == len(dataset.read(data))
    picture = tmp_path / "case.png"
    done = tiny.command("ilnrepro", "inspect", finished[1], "--case", 1, "--data", data, "--output", picture)
    assert done.returncode == 0 and picture.stat().st_size > 5000
    nowhere = picture / "b.png"  # a file where a folder must be
    done = tiny.command("ilnrepro", "inspect", finished[1], "--case", 1, "--data", data, "--output", nowhere)
    assert done.returncode == 2 and "b.png: cannot be written" in done.stderr
    done = tiny.command("ilnrepro", "inspect", finished[1], "--case", 9999, "--data", data)
    assert done.returncode == 2 and "--case: 9999" in done.stderr


def test_a_curve_in_blocks_falls_from_its_label_to_the_other():
    curve = list(np.exp(-np.linspace(0, 3, 32)))
    lines = inspection._blocks(curve)
    assert len(lines) == 4 and lines[0].split()[0] == "1" and lines[-1].split()[0] == "0.0498"
    heights = [sum(" ▁▂▃▄▅▆▇█".index(line[9 + k]) for line in lines) for k in range(32)]
    assert heights == sorted(heights, reverse=True) and (heights[0], heights[-1]) == (32, 1)
    assert inspection._curve(np.array([np.nan])) == [] and inspection._curve(np.array([2.0, 1.0, np.nan])) == [2, 1]


def test_a_diverging_run_is_recorded_as_diverged(data, tmp_path):
    done = tiny.run(data, tmp_path, "--method", "none", "--fold", 1, "--rate", 1e30)
    assert done.returncode == 0 and "diverged" in done.stdout, done.stderr
    (path,) = tmp_path.glob("runs/*/*/*/*.h5")
    run = runfile.read(path)
    assert run.status == "diverged" and not run.test and len(run.loss) < 4
    assert np.isfinite(run.loss[:-1]).all() and not np.isfinite(run.loss[-1])
    assert tiny.command("ilnrepro", "inspect", path).returncode == 0


@pytest.mark.slow
def test_ctrl_c_leaves_no_file_and_says_how_to_go_on(data, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "ilnrepro", "run", "--data", str(data), "--results", str(tmp_path), "--method", "in",
         "--fold", "1", "--rate", "0.1", "--protocol", "paper", "--progress", "lines"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(tiny.ROOT)})
    assert process.stdout.readline().startswith("steps ")
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "same command again" in said and "Traceback" not in said
    assert time.monotonic() - began < 30
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".h5", ".part")]


@pytest.mark.parametrize("words, message", [
    (["--method", "foo", "--fold", 1, "--rate", 0.1], "method: 'foo' is unknown"),
    (["--method", "gn7", "--fold", 1, "--rate", 0.1], "7 groups do not divide 16 channels"),
    (["--method", "in", "--fold", 9, "--rate", 0.1], "fold: 9 is not in the data set"),
    (["--method", "in", "--fold", 1, "--rate", -1], "rate: -1.0 must be a positive number"),
    (["--method", "in", "--fold", 1, "--rate", 0.1, "--protocol", "fast"], "protocol: 'fast' is unknown"),
    (["--method", "in", "--fold", 1, "--rate", 0.1, "--form", "x"], "form: 'x' is unknown"),
    (["--method", "iln", "--fold", 1, "--rate", 0.1, "--frozen-gate", 2], "frozen_gate: 2.0 cannot be used"),
    (["--method", "in", "--fold", 1, "--rate", 0.1, "--momentum", -3], "momentum: -3.0 cannot be used; give a number "
     "from 0 to below 1"),
    (["--method", "in", "--fold", 1, "--rate", 0.1, "--rho", "nan"], "rho: nan cannot be used; give a number finite"),
    (["--method", "in", "--fold", 1, "--rate", 0.1, "--epsilon", "inf"], "epsilon: inf cannot be used; give a number "
     "above 0"),
    (["--method", "in", "--fold", 1, "--rate", 0.1, "--epochs", 0], "epochs: 0 cannot be used; give a number above 0"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_bad_requests_get_one_line_and_status_2(data, tmp_path, words, message):
    done = tiny.run(data, tmp_path / "r", *words)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "r").exists()


def test_unwritable_results_folder(data, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = tiny.run(data, tmp_path / "file", "--method", "in", "--fold", 1, "--rate", 0.1)
    assert done.returncode == 2 and "choose another folder" in done.stderr


def test_sides_that_do_not_suit_the_network(tmp_path):
    from test_dataset import made_up

    dataset.write(tmp_path / "d.h5", made_up(images=np.zeros((6, 26, 26), np.uint8) + np.arange(26, dtype=np.uint8),
                                             masks=np.zeros((6, 26, 26), np.uint8)))
    done = tiny.run(tmp_path / "d.h5", tmp_path / "r", "--method", "in", "--fold", 1, "--rate", 0.1)
    assert done.returncode == 2 and "sides must be divisible by 4" in done.stderr


def test_verify_names_what_is_wrong(finished, tmp_path):
    import shutil

    results = tmp_path / "results"
    shutil.copytree(finished[0], results)
    (path,) = results.glob("runs/*/*/*/*.h5")
    done = tiny.command("ilnrepro", "verify", results)
    assert done.returncode == 0 and "0 problem(s)" in done.stdout
    shutil.copy(path, path.with_name("fold2-lr0.5-seed0.h5"))
    (path.parent / f".{path.name}.step00000010.checkpoint").write_text("", encoding="utf-8")
    damaged = path.with_name("fold3-lr0.5-seed0.h5")
    damaged.write_bytes(path.read_bytes()[:-500])
    done = tiny.command("ilnrepro", "verify", results)
    assert done.returncode == 1
    for kind in ("damaged", "stale", "duplicate", "incomplete"):
        assert f"{kind}: {results}" in done.stdout, kind
    assert tiny.command("ilnrepro", "verify", tmp_path / "none").returncode == 2


def test_a_run_that_another_process_is_at_is_left_alone(data, tmp_path):
    from ilnrepro.storage.locking import locked

    folder = tmp_path / "runs" / "tiny-lv" / "tiny" / "in+eps0.0001"
    with locked(folder / ".fold1-lr0.1-seed0.h5.lock", "testing"):
        done = tiny.run(data, tmp_path, "--method", "in", "--fold", 1, "--rate", 0.1)
    assert done.returncode == 2 and "another process is at work on fold1" in done.stderr
    assert not list(tmp_path.rglob("*.h5"))


def test_a_path_tells_the_configuration_back():
    from ilnrepro.protocols import Configuration, protocol

    changes = dict(batch=4, epsilon=1e-12, group_divisor="variance", rho=-0.5, frozen_gate=0.25, xla="on", threads=2,
                   batch_statistics="batch", initializer="printed", form="reference", kernels="tensorflow", epochs=3,
                   steps_per_epoch=7, momentum=0.5)
    for some in ({}, {"rho": 1e6}, {"rho": -1e-05}, {"epsilon": 1.23456789e-5}, changes):
        for rate in (1.5, 0.1234567):
            configuration = Configuration("a+b", "", "", "gn4", 2, rate, 3, protocol("lite", **some))
            assert Configuration.from_path(Path("results") / configuration.path) == configuration


@pytest.mark.parametrize("rate, shown", [(0.1, "0.1"), (1.0, "1"), (5e-5, "5e-05"), (0.1234567, "0.1234567")])
def test_numbers_in_paths_are_short_and_tell_all(rate, shown):
    """What six digits hold is written as ever, so that runs keep their places."""
    from ilnrepro.cli import parser
    from ilnrepro.comparison.planning import command_arguments
    from ilnrepro.protocols import Configuration, protocol

    configuration = Configuration("a", "", "", "iln", 1, rate, 0, protocol("lite", rho=-1e-5, epsilon=1.23456789e-5))
    assert configuration.path.name == f"fold1-lr{shown}-seed0.h5"
    read = parser().parse_args([*command_arguments(configuration, "a.h5"), "--results", "there"])
    assert (read.rate, read.rho, read.epsilon) == (rate, -1e-5, 1.23456789e-5)


def test_a_closed_pipe_is_no_error(finished):
    for words in (["inspect", str(finished[1])], ["inspect", str(finished[1]), "--json"]):
        process = subprocess.Popen([sys.executable, "-m", "ilnrepro", *words], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(tiny.ROOT)})
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 0
        process.stderr.close()


def test_what_a_killed_run_left_is_cleared_away_when_it_is_done(finished, data):
    results, path = finished
    for name in (f".{path.name}.step00000010.checkpoint", f"..{path.name}.step00000020.checkpoint.x.part",
                 f".{path.name}.x.part"):
        (path.parent / name).write_text("", encoding="utf-8")
    done = tiny.run(data, results, "--method", "iln", "--fold", 1, "--rate", 0.5)
    assert done.returncode == 0 and "done before" in done.stdout
    assert [file.name for file in path.parent.iterdir()] == [path.name]
