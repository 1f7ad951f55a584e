"""The real path on tiny phantoms: data, two methods by three folds by two structures, tables, figures, inspection."""

import csv
import shutil

import pytest
import tiny
from PIL import Image

from ilnrepro.storage import runfile

VARIANT = tuple(tiny.SHORT)
PICTURES = ("figure1-gates", "figure2-examples", "figure3-rho", "learning-curves", "forest")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A finished grid: (results folder, data set file, the finished process)."""
    folder = tmp_path_factory.mktemp("grid")
    data = tiny.phantom(folder)
    done = experiments(data, folder / "results")
    assert done.returncode == 0, done.stderr
    return folder / "results", data, done


def experiments(data, results, *words):
    return tiny.command("experiments", "run", "--data", data, "--results", results, *tiny.SHORT, "--methods", "in",
                        "iln", "--rates", "0.5", *words)


def tidy(results):
    with open(results / "tables" / "table3.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_grid_makes_every_run_once(grid):
    results, data, done = grid
    assert len(list(results.glob("runs/tiny-lv/tiny/*/*.h5"))) == 6
    assert "6 runs, 0 done before, 6 to do" in done.stderr
    shown = [line for line in done.stderr.splitlines() if " left " in line]
    assert [line.split()[1] for line in shown] == [f"{finished}/6" for finished in range(1, 7)]  # a log's progress
    again = experiments(data, results)
    assert again.returncode == 0 and "6 done before, 0 to do" in again.stderr


def test_tables_say_what_they_show(grid):
    results, _, done = grid
    assert "SYNTHETIC" in done.stdout and str(results / "runs") in done.stdout
    text = (results / "tables" / "table3.md").read_text(encoding="utf-8")
    for words in ("SYNTHETIC", "Protocol tiny+eps0.0001", "rates 0.5", "Seeds 0", "RV: no data set given", "LV-mean"):
        assert words in text, words
    rows = tidy(results)
    assert [(r["method"], r["fold"]) for r in rows] == [
        (m, f"LV-{k}") for m in ("in", "iln") for k in (1, 2, 3, "mean")]
    assert all(not r["published_mean"] for r in rows)  # never beside phantoms
    assert "\\begin{tabular}" in (results / "tables" / "table3.tex").read_text(encoding="utf-8")


def test_a_cell_is_the_mean_of_the_run_file_s_scores(grid):
    results, _, _ = grid
    rows = {(r["method"], r["fold"]): r for r in tidy(results)}
    for path in results.glob("runs/tiny-lv/tiny/*/*.h5"):
        run = runfile.read(path)
        row = rows[run.configuration.method, f"LV-{run.configuration.fold}"]
        assert abs(float(row["mean"]) - run.dice.mean()) < 1e-5 and abs(float(row["std"]) - run.dice.std()) < 1e-5
        assert int(row["n"]) == len(run.dice) and int(row["collapsed"]) == (run.status == "collapsed")


def test_tables_and_figures_come_again_from_run_files_alone(grid, tmp_path):
    results, _, _ = grid
    shutil.copytree(results / "runs", tmp_path / "runs")
    done = tiny.command("experiments", "tables", "--results", tmp_path, *VARIANT)
    assert done.returncode == 0, done.stderr
    for name in ("table2", "table3"):
        for suffix in ("md", "csv", "tex"):
            again = (tmp_path / "tables" / f"{name}.{suffix}").read_bytes()
            assert again == (results / "tables" / f"{name}.{suffix}").read_bytes()
    done = tiny.command("figures", "--results", tmp_path, *VARIANT)
    assert done.returncode == 0, done.stderr
    for name in PICTURES:
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 10_000
        assert (tmp_path / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        caption = Image.open(tmp_path / "figures" / f"{name}.png").text["Description"]
        assert name == "figure1-gates" or ("SYNTHETIC" in caption and "Protocol tiny+eps0.0001. Rates 0.5. Seeds 0." in
                                           caption), caption


def test_tables_name_all_damaged_and_stale_files_and_how_to_do_them_again(grid, tmp_path):
    results, data, _ = grid
    shutil.copytree(results / "runs", tmp_path / "runs")
    damaged, moved, *whole = sorted(tmp_path.glob("runs/*/*/*/*.h5"))
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    shutil.copy(whole[0], moved)
    done = tiny.command("experiments", "tables", "--results", tmp_path, *VARIANT)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "2 run file(s) cannot be used" in done.stderr
    assert f"{damaged}: damaged" in done.stderr and f"{moved}: stale" in done.stderr
    again = "--data tiny-lv.h5 --method iln --fold 1 --rate 0.5 --seed 0 --protocol tiny --epsilon=0.0001 --results"
    assert again in done.stderr and again.replace("--fold 1", "--fold 2") in done.stderr
    moved.unlink()
    kept = {path: path.stat().st_mtime_ns for path in whole}
    done = experiments(data, tmp_path)  # the grid does both again, and them alone
    assert done.returncode == 0 and "4 done before, 2 to do" in done.stderr, done.stderr
    for path in tmp_path.glob("runs/*/*/*/*.h5"):
        assert tiny.content(path) == tiny.content(results / path.relative_to(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in whole} == kept


def test_a_failed_run_does_not_stop_the_others(grid, tmp_path):
    _, data, _ = grid
    results = tmp_path / "results"
    blocked = results / "runs" / "tiny-lv" / "tiny" / "gn4+eps0.0001"
    blocked.parent.mkdir(parents=True)
    blocked.touch()  # where the run's folder would be
    done = experiments(data, results, "--methods", "gn4", "in", "--folds", "1")
    assert done.returncode == 1 and blocked.is_file()
    assert "failed: runs/tiny-lv/tiny/gn4+eps0.0001/fold1-lr0.5-seed0.h5" in done.stderr
    assert len(list(results.glob("runs/*/*/*/*.h5"))) == 1


@pytest.mark.parametrize("words, message", [
    (["--methods", "foo"], "method: 'foo' is unknown"),
    (["--folds", "7"], "folds: it has [1, 2, 3]"),
    (["--rates", "0"], "rate: 0.0 must be a positive number"),
    (["--protocol", "fast"], "protocol: 'fast' is unknown"),
    (["--protocol", "dualnorm-quick"], "DualNorm-UNet has no such tables; use one of `python -m experiments dualnorm`"),
    (["--jobs", "-1"], "argument --jobs: '-1' cannot be used; give a whole number from 1"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_bad_requests(grid, tmp_path, words, message):
    done = experiments(grid[1], tmp_path, *words)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_no_runs_and_ambiguous_runs(grid, tmp_path):
    done = tiny.command("experiments", "tables", "--results", tmp_path)
    assert done.returncode == 2 and "no run files fit" in done.stderr
    done = tiny.command("experiments", "tables", "--results", grid[0])
    assert done.returncode == 2 and "there are tiny-lv/tiny/iln+eps0.0001, tiny-lv/tiny/in+eps0.0001" in done.stderr
    done = tiny.command("experiments", "tables", "--results", grid[0], *VARIANT, "--methods", "bn")
    assert done.returncode == 2 and "no run files of these methods" in done.stderr and "Trace" not in done.stderr
    shutil.copytree(grid[0] / "runs" / "tiny-lv" / "tiny" / "in+eps0.0001", tmp_path / "runs" / "a" / "quick" / "in")
    shutil.copytree(grid[0] / "runs" / "tiny-lv" / "tiny" / "in+eps0.0001", tmp_path / "runs" / "a" / "lite" / "in")
    done = tiny.command("experiments", "tables", "--results", tmp_path)
    assert done.returncode == 2 and "several protocols (lite, quick)" in done.stderr
