"""Scores at the data set's own resolution: of older runs, and in tables beside what papers print."""

import math
from dataclasses import replace

import made_up
import numpy as np
import tiny
from test_evidence import grid, verdict_rows

from experiments.analysis import supplement, tables, verdicts
from experiments.papers.iln import PAPER
from experiments.papers.iln.tables import TABLES
from ilnrepro.comparison.scores import collect
from ilnrepro.ops.augmentation import prepare
from ilnrepro.ops.metrics import COUNTS, dice, overlap
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.storage import dataset, runfile


def test_older_runs_are_rescored_once_and_a_run_made_again_is_not_taken_for_its_older_self(tmp_path):
    path = made_up.data(tmp_path / "d.h5")
    source = dataset.read(path)
    configuration = Configuration("d", source.checksum, "LV", "in", 1, 0.1, 0, protocol("quick", shrink=2))
    run, tested = made_up._run(source, configuration, "complete"), source.fold == 1
    truth = prepare(source.images, source.masks, 2)[1][tested]

    def whole_dice(masks):
        run.masks, run.example_truth = masks, truth[run.examples]
        run.test |= dict(zip(COUNTS, overlap(truth, masks), strict=True))
        runfile.write(tmp_path / configuration.path, run)
        record, = collect(tmp_path, variant=configuration.variant)
        return record.measures.get("whole_dice")

    def rescored():
        done = tiny.command("experiments", "rescore", "--data", path, "--results", tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    moved = np.roll(truth, 1, 2)
    assert whole_dice(moved) is None
    assert "1 runs, 1 of them new" in rescored() and "1 runs, 0 of them new" in rescored()
    found, enlarged = whole_dice(moved), np.kron(moved, np.ones([1, 2, 2], int))
    np.testing.assert_allclose(found, dice(*overlap(source.masks[tested], enlarged)))
    assert whole_dice(moved * (np.arange(16) < 8)) is None
    assert "1 of them new" in rescored() and whole_dice(moved * (np.arange(16) < 8)).mean() < found.mean()


def test_tables_show_it_beside_what_the_paper_prints(tmp_path):
    """Made-up records at half the resolution, whose masks are a tenth worse when they are enlarged."""
    records = [replace(r, shape=(128, 128), title="Sunnybrook", measures=r.measures | {
        "whole_dice": r.dice - 0.1 * (r.configuration.method == "iln")}) for r in grid(**{"in": 0.0}, iln=0.03)]
    (_, table, tidy), = tables.sheets(TABLES[3], records)
    mean = {r["method"]: r for r in tidy if r["fold"] == "LV-mean"}
    assert abs(mean["iln"]["whole_mean"] - mean["iln"]["mean"] + 0.1) < 1e-9
    assert table.headings[-2:] == ["LV own resolution", "LV published"] and "at 128×128 pixels" in table.caption
    row = verdict_rows(records, tmp_path)["ILN is better than IN (LV)"]
    assert row["ours"].startswith("+") and row["per_image"].startswith("-")
    assert "enlarged to the data set's own resolution" in verdicts.build(PAPER, records)[0].caption
    built = supplement.build(records)
    assert "Dice, own resolution" in built["scores"][0].headings
    # A structure without it leaves its cells empty.
    other = [replace(r, configuration=replace(r.configuration, structure="RV"), shape=(64, 64)) for r in grid(iln=0.0)]
    rows = supplement.build([*records, *other])["scores"][1]
    assert {math.isnan(r["whole_dice_mean"]) for r in rows if r["fold"] == "RV-1"} == {True}
