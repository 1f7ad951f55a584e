"""Choosing rates and building tables, on made-up scores."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from experiments.analysis import captions, cost, coverage, tables
from experiments.analysis.paper import FAMILY
from experiments.measure.coverage import cell_of, grid, measure
from experiments.papers import PAPERS, iln, kolarik, paper_of
from experiments.papers.iln.tables import TABLES
from ilnrepro.comparison import choice, intervals, scores, sheet
from ilnrepro.errors import InputError
from ilnrepro.protocols import PROTOCOLS, Configuration, protocol
from ilnrepro.storage import files


def record(method="in", fold=1, rate=0.1, seed=0, dice=(0.5, 0.7), status="complete", synthetic=False,
           title="Sunnybrook Cardiac Data, LV endocardium", structure="LV"):
    configuration = Configuration("made-up", "0", structure, method, fold, rate, seed, protocol("lite"))
    dice = np.array([] if status == "diverged" else dice)
    return scores.Record(Path("x.h5"), configuration, status, title, synthetic, dice, np.array(["s"] * len(dice)), 0, 1)


def three_folds(method, means, rate=0.1, **changes):
    return [record(method, k, rate, dice=(mean - 0.1, mean + 0.1), **changes) for k, mean in enumerate(means, 1)]


def test_the_two_rules_choose_as_they_say():
    grid = three_folds("in", (0.9, 0.5, 0.5), rate=1.0) + three_folds("in", (0.6, 0.7, 0.7), rate=0.1)
    by_test = choice.cells(grid, "test")
    assert [by_test["in", "LV", k].rate for k in (1, 2, 3)] == [1.0, 0.1, 0.1]
    by_others = choice.cells(grid, "cross-fold")  # fold 1: (0.5, 0.5) < (0.7, 0.7); folds 2, 3: 0.7 > 0.65
    assert [by_others["in", "LV", k].rate for k in (1, 2, 3)] == [0.1, 1.0, 1.0]


def test_cross_fold_never_looks_at_the_fold_itself():
    grid = three_folds("in", (0.1, 0.6, 0.6), rate=1.0) + three_folds("in", (0.9, 0.5, 0.5), rate=0.1)
    before = choice.cells(grid, "cross-fold")["in", "LV", 1].rate
    changed = [r if r.configuration.fold != 1 else record("in", 1, r.configuration.rate, dice=(0, 0.01)) for r in grid]
    assert choice.cells(changed, "cross-fold")["in", "LV", 1].rate == before == 1.0


def test_cross_fold_waits_until_the_other_folds_have_every_rate():
    grid = three_folds("in", (0.9, 0.5, 0.5), rate=1.0) + three_folds("in", (0.6, 0.7, 0.7), rate=0.1)
    partial = [r for r in grid if r.configuration.fold == 1 or (r.configuration.fold, r.configuration.rate) == (2, 1.0)]
    assert ("in", "LV", 1) not in choice.cells(partial, "cross-fold")
    assert choice.cells(partial, "test")["in", "LV", 1].rate == 1.0


def test_cross_fold_waits_until_the_other_folds_are_there():
    grid = three_folds("in", (0.9, 0.5, 0.5), rate=1.0) + three_folds("in", (0.6, 0.7, 0.7), rate=0.1)
    partial = [r for r in grid if r.configuration.fold != 3]
    assert choice.cells(partial, "cross-fold")["in", "LV", 1].rate == 0.1
    others = three_folds("iln", (0.5, 0.5, 0.5))  # a third fold, which no IN run was tested on
    assert not [key for key in choice.cells(partial + others, "cross-fold") if key[0] == "in"]


def test_the_rule_test_waits_until_the_fold_has_every_rate():
    grid = three_folds("in", (0.9, 0.5, 0.5), rate=1.0) + [record("in", 1, 0.1, dice=(0.6, 0.6))]
    assert [key[2] for key in choice.cells(grid, "test")] == [1]


def test_what_rounds_the_last_bits_is_said_where_it_differs():
    grid = [replace(r, computed_by="native kernels for AVX2") for r in three_folds("in", (0.5, 0.6, 0.7))]
    assert scores.about_rounding(grid) == "" and "last bits" not in tables.caption(TABLES[3], grid, "test")
    grid[1] = replace(grid[1], computed_by="native kernels for AVX-512")
    for text in (tables.caption(TABLES[3], grid, "test"), captions.about_data(grid)):
        assert "differ in what rounds their last bits: native kernels for AVX-512 (1 run); native kernels for" in text


@pytest.mark.parametrize("provenance, text", [
    ({}, "native kernels, instruction set and oneDNN not recorded"),
    ({"instruction_set": "AVX-512", "convolutions": "native", "onednn": True},
     "native kernels for AVX-512, native convolutions, oneDNN on"),
    ({"instruction_set": "AVX-512", "onednn": True}, "native kernels for AVX-512, oneDNN on"),
    ({"kernels": "tensorflow", "instruction_set": "none", "onednn": False, "xla": True},
     "tensorflow kernels, XLA, oneDNN off"),
])
def test_what_computed_a_run_in_words(provenance, text):
    assert scores._computed_by({"kernels": "native"} | provenance) == text


def test_seeds_of_single_rates_do_not_count_by_the_rule_test():
    grid = three_folds("in", (0.9, 0.9, 0.9), rate=1.0) + three_folds("in", (0.6, 0.6, 0.6), rate=0.1)
    further = three_folds("in", (0.2, 0.2, 0.2), rate=1.0, seed=1)
    seeds = {rule: {tuple(r.configuration.seed for r in cell.records)
                    for cell in choice.cells(grid + further, rule).values()} for rule in choice.rules_of(grid)}
    assert seeds == {"test": {(0,)}, "cross-fold": {(0, 1)}}
    by_rule = {rule: tables.caption(TABLES[3], grid + further, rule) for rule in choice.RULES}
    assert "Seeds 0. " in by_rule["test"] and "Seeds 0, 1. " in by_rule["cross-fold"]
    rows = tables.build(TABLES[3], grid + further, "cross-fold")
    notes = tables.sheet(TABLES[3], rows, "", False).notes
    assert notes.body[0][notes.headings.index("SD over seeds")].startswith("LV-1 0.495 (2 seeds)")


def test_a_diverged_seed_counts_as_nothing_in_the_mean():
    grid = [record(dice=(0.5, 0.7)), record(seed=1, status="diverged")]
    cell = choice.cells(grid, "test")["in", "LV", 1]
    assert abs(cell.mean - 0.3) < 1e-12 and cell.seed_means == (0.6, 0.0) and cell.n == 2
    assert tables.build(TABLES[3], grid, "test")[0]["seeds"] == 2


def test_a_star_is_of_the_score_that_it_stands_at():
    def score(*records):
        rows = tables.build(TABLES[3], records, "test")
        return tables.sheet(TABLES[3], rows, "", False).markdown()

    elsewhere = [record(rate=1.0, status="collapsed", dice=(0.0, 0.0)), record(rate=0.1)]
    assert "*" not in score(*elsewhere).splitlines()[2].replace("**", "")
    assert "1 of 2 collapsed" in score(*elsewhere)
    here = [record(dice=(0.5, 0.7)), record(seed=1, status="collapsed", dice=(0.0, 0.0))]
    assert "0.300±0.308*" in score(*here)


def test_a_diverged_run_counts_as_nothing_in_the_choice_and_is_counted():
    grid = [record(rate=1.0, status="diverged"), record(rate=0.1)]
    cell = choice.cells(grid, "test")["in", "LV", 1]
    assert (cell.rate, cell.diverged, cell.runs) == (0.1, 1, 2)
    cell = choice.cells(grid[:1], "test")["in", "LV", 1]
    assert math.isnan(cell.mean) and cell.diverged == 1
    rows = tables.build(TABLES[3], grid[:1], "test")
    assert "diverged" in tables.sheet(TABLES[3], rows, "", False).markdown()


def test_rate_is_chosen_on_the_mean_of_the_seeds_and_their_spread_is_told():
    grid = [record(rate=r, seed=s, dice=(d, d)) for r, s, d in
            ((1.0, 0, 0.9), (1.0, 1, 0.1), (0.1, 0, 0.6), (0.1, 1, 0.7))]
    cell = choice.cells(grid, "test")["in", "LV", 1]
    assert cell.rate == 0.1 and cell.n == 2 and abs(cell.mean - 0.65) < 1e-12
    assert abs(cell.seed_sd - np.std([0.6, 0.7], ddof=1)) < 1e-12
    row = tables.build(TABLES[3], grid, "test")[0]
    assert row["seeds"] == 2 and abs(row["seed_sd"] - cell.seed_sd) < 1e-12


def test_other_structures_have_columns_of_their_own():
    """Alone without the paper's empty columns, and beside them."""
    own = three_folds("in", (0.8, 0.7, 0.9), structure="left atrium", title="Ours")
    for records, columns in ((own, 4), (own + three_folds("in", (0.5, 0.5, 0.5)), 12)):
        rows = tables.build(TABLES[3], records, "test")
        table = tables.sheet(TABLES[3], rows, tables.caption(TABLES[3], records, "test"), False)
        assert len(table.headings) == 1 + columns + ("LV published" in table.headings)
        assert table.body[0][table.headings.index("left atrium-mean")] == "0.800±0.100"
        assert "left atrium: Data: Ours" in table.caption
        assert ("RV: no data set given" in table.caption) == (columns == 12)


def test_a_mean_is_taken_over_all_folds_or_not_at_all():
    grid = three_folds("in", (0.8, 0.7, 0.9)) + three_folds("iln", (0.8, 0.7))
    rows = tables.build(TABLES[3], grid, "test")
    assert [(row["method"], row["fold"]) for row in rows] == [
        ("in", "LV-1"), ("in", "LV-2"), ("in", "LV-3"), ("in", "LV-mean"), ("iln", "LV-1"), ("iln", "LV-2")]


def test_published_numbers_stand_beside_sunnybrook_three_fold_means_only():
    grid = three_folds("iln", (0.8, 0.7, 0.9))
    rows = tables.build(TABLES[3], grid, "test")
    assert [row["fold"] for row in rows] == ["LV-1", "LV-2", "LV-3", "LV-mean"]
    assert all(math.isnan(row["published_mean"]) for row in rows[:3])
    assert abs(rows[3]["published_mean"] - np.mean([0.919, 0.893, 0.827])) < 1e-12
    assert abs(rows[3]["mean"] - 0.8) < 1e-12
    for other in (three_folds("iln", (0.8, 0.7, 0.9), synthetic=True), three_folds("iln", (0.8, 0.7)),
                  three_folds("iln", (0.8, 0.7, 0.9), title="somebody's images")):
        assert all(math.isnan(row["published_mean"]) for row in tables.build(TABLES[3], other, "test"))


def test_published_tables_are_whole_and_agree_with_each_other():
    for paper in (*TABLES.values(), kolarik.TABLE):
        for method in paper.rows:
            for structure in paper.structures:
                means, stds = paper.published(method, structure)
                assert len(means) == (len(paper.folds) or 1) and len(stds) == len(paper.folds)
                assert 0.5 < min(means) <= max(means) < 1
    assert TABLES[1].published("sigmoid", "LV") == TABLES[2].published("sigmoid", "LV")
    assert TABLES[2].published("iln", "RV") == TABLES[3].published("iln", "RV")


def test_a_measurement_that_was_cut_short_is_named(tmp_path):
    assert files.read_json(tmp_path / "cost.json") is None
    (tmp_path / "cost.json").write_text('{"rows": [', encoding="utf-8")
    with pytest.raises(InputError, match="cost.json: cannot be read"):
        files.read_json(tmp_path / "cost.json")


def test_best_is_bold_and_methods_outside_the_paper_join_table_3():
    grid = three_folds("in", (0.8, 0.7, 0.9)) + three_folds("bn", (0.7, 0.75, 0.9))
    rows = tables.build(TABLES[3], grid, "test")
    text = tables.sheet(TABLES[3], rows, "caption", False).markdown()
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "**0.800±0.100**" in text and "**0.750±0.100**" in text
    assert text.count("**0.900±0.100**") == 2  # a tie is bold twice
    assert "BN" in lines
    assert "Added, not in the paper's table: BN." in tables.caption(TABLES[3], grid, "test")
    assert "Added" not in tables.caption(TABLES[1], grid, "test")
    assert not tables.build(TABLES[1], grid, "test") and len(tables.build(TABLES[3], grid, "test", methods=["in"])) == 4


def test_captions_name_data_protocol_rates_seeds_and_rule():
    grid = three_folds("in", (0.8, 0.7, 0.9)) + three_folds("in", (0.8, 0.7, 0.9), rate=1.0)
    text = tables.caption(TABLES[3], grid, "cross-fold")
    for words in ("Sunnybrook", "made-up", "Protocol lite", "1, 0.1", "Seeds 0", "cross-fold", "RV: no data set"):
        assert words in text, words
    assert "SYNTHETIC" in tables.caption(TABLES[3], three_folds("in", (0.8, 0.7, 0.9), synthetic=True), "test")


def test_sheets_escape_what_the_forms_would_misread():
    s = sheet.Sheet("t", "a_b & 5 % {x}", ["h|1", "h2"], [["a|b", "c_d"]], {(0, 1)})
    assert "h\\|1" in s.markdown() and "**c_d**" in s.markdown()
    assert r"a\_b \& 5 \% \{x\}" in s.latex() and r"\textbf{c\_d}" in s.latex()
    assert sheet.Sheet("ε", "ρ", ["·"], [["−"]]).latex().isascii()
    assert sheet.as_csv([{"a": 1, "b": float("nan")}, {"a": 0.25, "b": None}]) == "a,b\n1,\n0.25,\n"


def test_cost_table_compares_ratios_with_the_paper(tmp_path):
    rows = [{"method": m, "form": f, "seconds_per_200_iterations": s, "parameters": p}
            for m, f, s, p in (("in", "reference", 20.0, 100), ("iln", "reference", 30.0, 122),
                               ("in", "fused", 10.0, 100), ("iln", "fused", 11.0, 122))]
    cost.write({"rows": rows, "size": 256, "batch": 1, "threads": 2, "kernels": "native", "device": "CPU",
                "tensorflow": "2"}, iln.PAPER.cost, tmp_path)
    text = (tmp_path / "tables" / "cost.md").read_text(encoding="utf-8")
    assert "| ILN | reference | 30.0 | 1.500 | 122 | 22 |" in text
    assert "| ILN | fused | 11.0 | 1.100 | 122 | 22 |" in text and "| ILN | published | 36.5 | 1.049 |  | 22 |" in text


@pytest.mark.parametrize("paper", [*TABLES.values(), kolarik.TABLE, FAMILY], ids=lambda paper: paper.stem)
def test_every_method_of_the_paper_is_in_the_methods_table(paper):
    from ilnrepro.norms import method

    for name in paper.rows:
        assert method(name).title


def test_the_family_is_every_method_and_shows_the_columns_that_have_data():
    assert list(FAMILY.rows) == ["none", "bn", "in", "ln", "gn4", "brn", "sn", "bin", "bin-projected", "clip",
                                 "sigmoid", "softmax", "iln", "iln-clamped", "iln-unclamped"]
    grid = three_folds("brn", (0.8, 0.7, 0.9)) + three_folds("iln-clamped", (0.7, 0.75, 0.9))
    rows = tables.build(FAMILY, grid, "test")
    assert [row["fold"] for row in rows] == 2 * ["LV-1", "LV-2", "LV-3", "LV-mean"]
    assert all(math.isnan(row["published_mean"]) for row in rows)
    text = tables.sheet(FAMILY, rows, tables.caption(FAMILY, grid, "test"), False).markdown()
    assert text.startswith("Family: every method") and "RV" not in text
    assert "| Method | LV-1 | LV-2 | LV-3 | LV-mean |" in text and "ILN clamped" in text


def test_every_protocol_is_one_paper_s():
    assert sorted(name for paper in PAPERS for name in paper.rates) == sorted(PROTOCOLS)
    assert all(name in paper_of(name).rates for name in PROTOCOLS)
    with pytest.raises(InputError, match="'foo' is no paper's"):
        paper_of("foo")


def test_tables_are_the_paper_s_and_the_family():
    assert iln.PAPER.select_tables() == list(TABLES.values())
    assert iln.PAPER.select_tables([2, "family"]) == [TABLES[2], FAMILY]
    with pytest.raises(InputError, match="Kolarik et al. 2020 has no table 3; choose among family, kolarik"):
        kolarik.PAPER.select_tables([3])


def test_rules_and_columns_keep_the_names_that_files_have():
    """Captions and headings may be reworded; the names in CSV files are read by other programs and stay."""
    paths = [path for paper in PAPERS for table in (*paper.tables.values(), FAMILY)
             for path in (tiny.ROOT / "results").glob(f"*/tables/{table.stem}*.csv")]
    assert len(paths) > 5
    for path in paths:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        assert tuple(rows[0]) == tables.COLUMNS, path
        assert {row["rule"] for row in rows} <= set(choice.RULES) == set(choice.RULE_NAMES), path
    committed = coverage.committed_rows()
    assert list(committed[0]) == list(measure(grid()[:1], 2)[0])
    assert {row["rule"] for row in committed} == set(intervals.RULES) and intervals.USED in intervals.RULES
    assert {cell_of(row) for row in committed} == set(grid())
