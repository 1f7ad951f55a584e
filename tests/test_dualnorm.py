"""DualNorm-UNet by the real commands on tiny phantoms of several sites: runs, tables, figures, export, and errors."""

import csv
import json
import shutil

import h5py
import numpy as np
import pytest
import tiny

from experiments.papers.dualnorm import modes
from ilnrepro.errors import InputError
from ilnrepro.storage import dataset, runfile
from ilnrepro.use.segmenter import in_batches, load

SHORT = ("--protocol", "dualnorm-quick", "--epochs", 1, "--steps-per-epoch", 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "sites.h5"
    done = tiny.command("data_prep", "phantom", "--sites", 3, "--size", 32, "--subjects", 18, "--crop", 0.5, "--output",
                        path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def grid(data, tmp_path_factory):
    """Every mode, trained on all sites and on the first: (results folder, the finished process)."""
    results = tmp_path_factory.mktemp("results")
    done = tiny.process("experiments", "dualnorm", *SHORT, "--data", data, "--results", results, timeout=1200)
    assert done.returncode == 0, done.stderr
    return results, done


def files(results):
    return sorted(results.glob("runs/sites/dualnorm-quick/*/*.h5"))


@pytest.mark.slow
def test_runs_of_every_mode_and_what_they_trained_on(grid, data):
    names = {path.parent.name for path in files(grid[0])}
    assert names == {f"bn+epochs1+steps2{mode}{site}" for mode in ("", "+mask-none", "+mask-oracle")
                     for site in ("", "+site-1")}
    images = dataset.read(data)
    for path in files(grid[0]):
        run = runfile.read(path)
        assert len(run.loss) == 2 and np.isfinite(run.loss).all()
        np.testing.assert_array_equal(run.test["site"], images.optional["site"][images.fold == 1].astype(str))


def test_only_the_chosen_site_trains(data):
    images = dataset.read(data)
    chosen = images.trained_on(2, "3")
    np.testing.assert_array_equal(chosen, (images.fold != 2) & (images.optional["site"] == 3))
    np.testing.assert_array_equal(images.trained_on(2), images.fold != 2)
    with pytest.raises(InputError, match="site: no image of .* outside fold 2 is of '4' .sites: 1, 2, 3."):
        images.trained_on(2, "4")
    jobs = modes.plan(data, "dualnorm-quick", [1e-3], train_sites=["all", "2"], steps_per_epoch=10**6, epochs=1)
    assert {(job.configuration.protocol.site, job.steps) for job in jobs} == {
        (site, int(np.ceil(images.trained_on(1, site).sum() * 61 / 4))) for site in ("", "2")}


@pytest.mark.slow
def test_the_table_says_what_it_shows_and_its_numbers_are_the_run_files(grid):
    text = (grid[0] / "tables" / "dualnorm.md").read_text(encoding="utf-8")
    for words in ("DualNorm-UNet (Xiao et al. 2021)", "SYNTHETIC", "Under-trained", "two optimizer steps",
                  "upper bound", "Rates 0.001", "Seeds 0", "site 3", "all sites"):
        assert words in text, words
    with open(grid[0] / "tables" / "dualnorm.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 4
    for row in rows:
        site = "" if row["trained_on"] == "all" else f"+site-{row['trained_on']}"
        mode = "" if row["mode"] == "predicted" else f"+mask-{row['mode']}"
        run, = (runfile.read(p) for p in files(grid[0]) if p.parent.name == f"bn+epochs1+steps2{mode}{site}")
        here = np.full(len(run.dice), True) if row["site"] == "all" else run.test["site"] == row["site"]
        assert int(row["images"]) == here.sum() and int(row["parameters"]) == run.parameters
        assert abs(float(row["dice"]) - run.dice[here].mean()) < 1e-6  # six digits in the file
        assert (row["difference"] == "") == (row["mode"] == "none")
        if row["mode"] == "oracle":
            base, = (runfile.read(p) for p in files(grid[0]) if p.parent.name == f"bn+epochs1+steps2+mask-none{site}")
            subjects = sorted(set(run.test["subject"][here]))
            wanted = np.mean([(run.dice - base.dice)[run.test["subject"] == s].mean() for s in subjects])
            assert abs(float(row["difference"]) - wanted) < 1e-6


@pytest.mark.slow
def test_tables_and_figures_come_from_run_files_alone(grid, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(grid[0], results)
    before = (results / "tables" / "dualnorm.md").read_bytes()
    shutil.rmtree(results / "tables")
    for command in ("experiments", "tables"), ("figures",):
        done = tiny.command(*command, "--results", results, *SHORT)
        assert done.returncode == 0, done.stderr
    assert (results / "tables" / "dualnorm.md").read_bytes() == before
    assert (results / "tables" / "dualnorm-cost.md").exists()
    assert (results / "figures" / "dualnorm-sites.png").stat().st_size > 10_000
    assert not (results / "tables" / "verdicts.md").exists()


@pytest.mark.slow
def test_the_cost_of_the_modes(grid):
    measured = json.loads((grid[0] / "dualnorm-cost.json").read_text(encoding="utf-8"))
    assert [row["mode"] for row in measured["rows"]] == ["none", "predicted", "oracle"]
    assert measured["rows"][0]["batch_ratio"] == 1 and all(row["batch_seconds"] > 0 for row in measured["rows"])
    assert measured["rows"][1]["parameters"] == measured["rows"][2]["parameters"] > measured["rows"][0]["parameters"]


@pytest.mark.slow
def test_done_runs_are_not_repeated(grid, data):
    before = {path: path.stat().st_mtime_ns for path in files(grid[0])}
    done = tiny.command("experiments", "dualnorm", *SHORT, "--data", data, "--results", grid[0], "--dry-run")
    assert done.returncode == 0 and "0 of 6 runs to do" in done.stderr and not done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in files(grid[0])}


@pytest.mark.slow
def test_a_trained_network_predicts_and_is_exported(grid, data, tmp_path):
    done = tiny.process("ilnrepro", "run", "--data", data, "--method", "bn", "--fold", 1, "--rate", 1e-3, *SHORT,
                        "--keep-weights", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    predicted, = files(tmp_path)
    run, images = runfile.read(predicted), dataset.read(data)
    segment, tested = load(predicted), images.images[run.test["index"]].astype(np.float32)
    chances = np.concatenate([segment(tested[i:i + 4])["probability"] for i in range(0, len(tested), 4)])
    sure = np.abs(chances - 0.5) > 1e-4
    np.testing.assert_array_equal(in_batches(segment, tested, batch=4)[sure], run.masks[sure])
    done = tiny.command("ilnrepro", "export", predicted, "--output", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    served = load(tmp_path / "model")(images.images[:3].astype(np.float32))
    ours = load(predicted)(images.images[:3].astype(np.float32))
    assert np.abs(served["probability"] - ours["probability"]).max() < 1e-4
    of_oracle = next(path for path in files(grid[0]) if "mask-oracle" in path.parent.name)
    done = tiny.command("ilnrepro", "export", of_oracle, "--output", tmp_path / "no")
    assert done.returncode == 2 and "it was told the true masks" in done.stderr and not (tmp_path / "no").exists()


def test_clear_errors(data, tmp_path):
    plain = tiny.phantom(tmp_path)
    for words, message in ((("--data", plain), "site: not in the data set; prepare it with sites"),
                           (("--data", data, "--train-sites", 9), "is of '9' (sites: 1, 2, 3)"),
                           (("--data", data, "--class-mask", "none"), "--class-mask: this command does all modes"),
                           (("--data", data, "--protocol", "quick"), "class_mask: 'none': protocol quick has none")):
        done = tiny.command("experiments", "dualnorm", "--results", tmp_path / "r", *words)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert not (tmp_path / "r").exists()
    done = tiny.command("experiments", "tables", "--results", tmp_path / "r", "--protocol", "dualnorm-quick")
    assert done.returncode == 2 and "no run files fit" in done.stderr


def test_pathologies_become_sites(tmp_path):
    rng = np.random.default_rng(0)
    subjects = ["SC-HF-I-01", "SC-HF-NI-03", "SC-HYP-01", "SC-N-02", "SC-HF-I-05", "SC-N-05"]
    np.savez(tmp_path / "s.npz", image=rng.integers(0, 255, (6, 32, 32), np.uint8), subject=subjects,
             mask=np.pad(np.ones((6, 8, 8), np.uint8), ((0, 0), (12, 12), (12, 12))), name=[f"{s}-1" for s in subjects])
    words = ("data_prep", "sunnybrook", "--source", tmp_path / "s.npz", "--allow-partial")
    done = tiny.command(*words, "--sites", "pathology", "--output", tmp_path / "with.h5")
    assert done.returncode == 0, done.stderr
    data = dataset.read(tmp_path / "with.h5")
    assert dict(zip(data.subject, data.optional["site"], strict=True)) == dict(
        zip(subjects, ["HF-I", "HF-NI", "HYP", "N", "HF-I", "N"], strict=True))
    done = tiny.command(*words, "--output", tmp_path / "without.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "without.h5") as file:
        assert "site" not in file
