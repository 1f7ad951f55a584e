"""Kolarik's system by the real commands on a tiny phantom: runs, tables, figures, inspection, and clear errors."""

import csv
import json
import re

import numpy as np
import pytest
import tiny

import ilnrepro
from experiments.measure import epoch_time
from experiments.papers.kolarik import commands
from ilnrepro.errors import InputError
from ilnrepro.networks import NETWORKS
from ilnrepro.protocols import protocol
from ilnrepro.storage import dataset, runfile
from ilnrepro.use import prediction
from ilnrepro.use.segmenter import load

VARIANT = ("--protocol", "kolarik-quick", "--epochs", 2, "--steps-per-epoch", 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "tiny-spine.h5"
    done = tiny.command("data_prep", "spine-phantom", "--size", 32, "--slices", 24, "--subjects", 6, "--crop", 0.6,
                        "--output", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def grid(data, tmp_path_factory):
    """Two methods on one fold: (results folder, the finished process)."""
    results = tmp_path_factory.mktemp("results")
    done = tiny.command("experiments", "run", *VARIANT, "--data", data, "--results", results, "--methods", "none",
                        "in", "--folds", 1)
    assert done.returncode == 0, done.stderr
    return results, done


def files(results):
    return sorted(results.glob("runs/tiny-spine/kolarik-quick/*/*.h5"))


@pytest.mark.slow
def test_run_files_hold_volumes(grid, data):
    volumes = dataset.read(data)
    testing = volumes.fold == 1
    assert len(files(grid[0])) == 2
    for path in files(grid[0]):
        run = runfile.read(path)
        assert run.status in ("complete", "collapsed") and len(run.loss) == 6 and np.isfinite(run.loss).all()
        np.testing.assert_allclose(run.rate, np.float32(1e-3))
        assert run.masks.shape == volumes.masks[testing].shape == (2, 24, 32, 32)
        truth = volumes.masks[testing]
        np.testing.assert_array_equal(run.test["truth_pixels"], truth.sum((1, 2, 3)))
        np.testing.assert_array_equal(run.test["common_pixels"], (run.masks & truth).sum((1, 2, 3)))
        np.testing.assert_array_equal(run.example_truth, volumes.masks[testing][run.examples])


@pytest.mark.slow
def test_the_second_table_says_what_it_shows(grid):
    assert "warning" not in grid[1].stderr
    text = (grid[0] / "tables" / "kolarik-table2.md").read_text(encoding="utf-8")
    for words in ("Table 2 of Kolarik", "SYNTHETIC", "under-trained", "slabs of 16", "published", "0.598", "0.960",
                  "Protocol kolarik-quick+epochs2+steps3", "over volumes", "rates 0.001"):
        assert words in text, words
    assert "RV" not in text and not (grid[0] / "tables" / "table3.md").exists()
    with open(grid[0] / "tables" / "kolarik-table2.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["method"], r["fold"], r["published_mean"]) for r in rows] == [
        ("none", "spine-1", "0.598"), ("in", "spine-1", "0.96")]
    for row in rows:
        (path,) = grid[0].glob(f"runs/*/*/{row['method']}+*/*.h5")
        assert abs(float(row["mean"]) - runfile.read(path).dice.mean()) < 1e-5


@pytest.mark.slow
def test_tables_and_figures_come_again_and_files_are_whole(grid, data):
    results, _ = grid
    before = (results / "tables" / "kolarik-table2.csv").read_bytes()
    done = tiny.command("experiments", "tables", "--results", results, *VARIANT)
    assert done.returncode == 0, done.stderr
    assert (results / "tables" / "kolarik-table2.csv").read_bytes() == before
    done = tiny.command("figures", "--results", results, *VARIANT, "--data", data)
    assert done.returncode == 0, done.stderr
    for name in ("figure2-examples", "learning-curves", "kolarik-figure3"):
        assert (results / "figures" / f"{name}.png").stat().st_size > 5000
    done = tiny.command("ilnrepro", "verify", results)
    assert done.returncode == 0 and "0 problem(s)" in done.stdout


@pytest.mark.slow
def test_inspection_of_volumes(grid, data, tmp_path):
    path = files(grid[0])[0]
    content = json.loads(tiny.command("ilnrepro", "inspect", path, "--json").stdout)
    assert content["configuration"]["protocol.network"] == "res-unet-3d" and content["dice"]["n"] == 2
    assert json.loads(tiny.command("ilnrepro", "inspect", data, "--json").stdout)["shape"] == [24, 32, 32]
    done = tiny.command("ilnrepro", "inspect", path, "--case", 0, "--data", data, "--output", tmp_path / "case.png")
    assert done.returncode == 0 and (tmp_path / "case.png").stat().st_size > 5000, done.stderr


@pytest.mark.slow
def test_volumes_and_images_are_not_mixed(data, grid, tmp_path):
    words = ["--results", tmp_path / "r", "--method", "in", "--fold", 1, "--rate", 0.1]
    done = tiny.command("ilnrepro", "run", "--data", data, "--protocol", "quick", *words)
    assert done.returncode == 2 and "holds volumes [n, D, H, W], and protocol quick takes images" in done.stderr
    images = tiny.phantom(tmp_path)
    done = tiny.command("ilnrepro", "run", "--data", images, "--protocol", "kolarik-quick", *words)
    assert done.returncode == 2 and "holds images [n, H, W], and protocol kolarik-quick takes volumes" in done.stderr
    done = tiny.command("ilnrepro", "run", "--data", data, "--protocol", "kolarik", "--initializer", "root", *words)
    assert done.returncode == 2 and "initializer: 'root' is unknown; choose one of glorot" in done.stderr
    assert not list(tmp_path.rglob("fold1*.h5"))


@pytest.mark.slow
def test_a_network_of_volumes_gives_the_run_s_own_masks(data, tmp_path):
    done = tiny.command("ilnrepro", "run", "--data", data, *VARIANT, "--results", tmp_path, "--method", "in", "--fold",
                        1, "--rate", 1e-3, "--keep-weights")
    assert done.returncode == 0, done.stderr
    path, volumes = next(tmp_path.glob("runs/*/*/*/*.h5")), dataset.read(data)
    run, segment = runfile.read(path), ilnrepro.Segmenter(path)
    for index, mask in zip(run.test["index"], run.masks, strict=True):
        found = segment(volumes.images[index])
        sure = np.abs(found.probability - 128 / 255) > 1e-4
        assert sure.mean() > 0.9 and 0 < mask.mean() < 1
        np.testing.assert_array_equal(found.mask[sure], mask[sure])
    odd = segment(volumes.images[0][:19, :27, :30])
    assert odd.mask.shape == odd.probability.shape == (19, 27, 30)
    exported = tiny.command("ilnrepro", "export", path, "--output", tmp_path / "model")
    assert exported.returncode == 2 and "a network of volumes" in exported.stderr and not (tmp_path / "model").exists()
    done = tiny.command("ilnrepro", "predict", path, data, "--output", tmp_path / "out")
    assert done.returncode == 0 and "DSC" in done.stderr, done.stderr
    assert len(list((tmp_path / "out" / "tiny-spine-overlay").glob("*.png"))) == len(volumes)
    thin = volumes.images[0][:12]
    filled = np.concatenate([thin, np.full_like(volumes.images[0][:4], thin.min())])
    np.testing.assert_allclose(segment(thin).probability, segment(filled).probability[:12], atol=1e-6)
    with pytest.raises(InputError, match=re.escape("holds images [n, H, W]; this network takes volumes")):
        prediction.predict(load(path), tiny.phantom(tmp_path), tmp_path / "o-mask.h5")


@pytest.mark.slow
def test_thin_volumes_are_filled_up_behind(data, tmp_path):
    thin = dataset.read(data)
    thin.images, thin.masks = thin.images[:, :12], thin.masks[:, :12]
    dataset.write(tmp_path / "thin.h5", thin)
    missing = ((0, 0), (0, 4), (0, 0), (0, 0))
    behind = [np.full_like(volume[:4], volume.min()) for volume in thin.images]
    thin.images = np.concatenate([thin.images, behind], axis=1)
    thin.masks = np.pad(thin.masks, missing)
    dataset.write(tmp_path / "filled.h5", thin)
    runs = []
    for name in ("thin", "filled"):
        done = tiny.command("ilnrepro", "run", "--data", tmp_path / f"{name}.h5", *VARIANT, "--method", "in",
                            "--fold", 1, "--rate", 1e-3, "--results", tmp_path / name)
        assert done.returncode == 0, done.stderr
        runs.append(runfile.read(next((tmp_path / name).glob("runs/*/*/*/*.h5"))))
    np.testing.assert_array_equal(runs[0].loss, runs[1].loss)
    np.testing.assert_array_equal(runs[0].masks, runs[1].masks[:, :12])
    assert runs[0].masks.any()


def test_the_first_table_compares_ratios_with_the_paper(tmp_path):
    rows = [{"method": m, "parameters": 10, "step_seconds": s, "step_ratio": s / 0.5, "prediction_seconds": p,
             "prediction_ratio": p / 0.25} for m, s, p in (("none", 0.5, 0.25), ("in", 0.55, 0.3), ("ln", 0.6, 0.3))]
    commands.write({"rows": rows, "protocol": "kolarik-quick", "dataset": "d", "synthetic": True, "slab": 16,
                    "size": 32, "batch": 1, "rounds": 3, "epoch_slabs": 32, "volume_slabs": 4, "threads": 2,
                    "kernels": "native", "device": "CPU", "tensorflow": "2"}, tmp_path)
    text = (tmp_path / "tables" / "kolarik-table1.md").read_text(encoding="utf-8")
    assert "| IN | 17.6 | 1.10 | 163 | 1.24 | 1.20 | 1.20 | 8 | 1.00 | 10 |" in text
    assert "| LN | 19.2 | 1.20 |  |  | 1.20 | 1.20 |  |  | 10 |" in text and "SYNTHETIC" in text


def test_images_have_no_time_by_the_slab(tmp_path):
    with pytest.raises(InputError, match="protocol kolarik-quick takes volumes"):
        epoch_time.measure("kolarik-quick", tiny.phantom(tmp_path), ["none"])


@pytest.mark.slow
def test_times_are_measured(data, monkeypatch):
    class Small(NETWORKS["res-unet-3d"]):
        def __init__(self, *arguments, **_):
            super().__init__(*arguments, start_channels=2, pools=1)

    monkeypatch.setitem(NETWORKS, "res-unet-3d", Small)
    measured = epoch_time.measure("kolarik-quick", data, methods=["none", "in"], rounds=2, progress=False)
    assert [row["method"] for row in measured["rows"]] == ["none", "in"] and measured["rows"][0]["step_ratio"] == 1
    assert all(row["step_seconds"] > 0 and row["prediction_seconds"] > 0 for row in measured["rows"])
    assert (measured["epoch_slabs"], measured["volume_slabs"], measured["size"]) == (8, 2, 32)


def test_the_paper_s_protocol():
    paper = protocol("kolarik")
    assert (paper.epochs, paper.batch, paper.slab, paper.loss, paper.optimizer) == (30, 1, 16, "bce-dice", "adam")
    assert abs(255 * paper.threshold - 128) < 1e-12 and paper.shrink == 1 and paper.rate_divisor == 1
