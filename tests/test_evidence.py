"""Comparisons, verdicts and stages, on made-up scores whose answers are known."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments.analysis import captions, former, questions, supplement, tables, verdicts
from experiments.papers.iln import PAPER
from experiments.papers.iln.claims import QUESTIONS
from experiments.papers.iln.tables import TABLES
from experiments.runs import stages
from ilnrepro.comparison import differences, sheet, uncertainty
from ilnrepro.comparison.choice import cells, rules_of
from ilnrepro.comparison.differences import compare, fold_scores, interval
from ilnrepro.comparison.intervals import Estimate
from ilnrepro.comparison.scores import Record
from ilnrepro.errors import InputError
from ilnrepro.protocols import Configuration, protocol

SUBJECTS, IMAGES = 15, 6


def record(method="in", fold=1, rate=0.1, seed=0, gain=0.0, status="complete", synthetic=False, noise=0.05, rho=None,
           structure="LV"):
    """A made-up run: subjects differ, images of a subject less; `gain` is added to all."""
    subject = np.repeat([f"S{fold}-{i:02d}" for i in range(SUBJECTS)], IMAGES)
    common = np.random.default_rng(fold)  # the same images for every method
    dice = 0.7 + np.repeat(common.normal(0, 0.1, SUBJECTS), IMAGES) + common.normal(0, 0.05, SUBJECTS * IMAGES)
    # A stable seed for the run's own noise.
    own = np.random.default_rng([fold, seed, *map(ord, method), round(1000 * rate)])
    dice = np.clip(dice + gain + np.repeat(own.normal(0, noise, SUBJECTS), IMAGES), 0, 1)
    measures = {"dice": dice, "iou": dice / (2 - dice),
                "truth_pixels": np.tile(np.arange(1, IMAGES + 1) * 100, SUBJECTS),
                "predicted_pixels": np.full(len(dice), 50), "hd95": 10 * (1 - dice), "assd": 4 * (1 - dice)}
    configuration = Configuration("made-up", "0", structure, method, fold, rate, seed, protocol("lite"))
    gates = {} if rho is None else {"rho": np.array(rho)[:, None], "channels": (16, 32, 64)}
    parameters = 122 if method == "iln" else 100
    if status == "diverged":
        return Record(Path("x.h5"), configuration, status, "made-up", synthetic, np.zeros(0), np.zeros(0, str), 0,
                      parameters, **gates)
    return Record(Path("x.h5"), configuration, status, "made-up", synthetic, dice, subject, 0, parameters, measures,
                  **gates)


def grid(**gains):
    """Three folds, three seeds of each method."""
    return [record(m, k, seed=s, gain=g) for m, g in gains.items() for k in (1, 2, 3) for s in (0, 1, 2)]


def compared(records, first="iln", second="in", **options):
    table, measure = differences.by_method(records, "test", **options), options.get("measure", "dice")
    return compare(table[first], table[second], (first, second), measure,
                   uncertainty.pool(table, records, "test", "LV", measure))


def test_a_difference_is_the_mean_over_subjects_however_many_images_each_has():
    records = grid(**{"in": 0.0}, iln=0.02)
    found = compared(records)
    by_hand = []
    for k in (1, 2, 3):
        of = {m: [r for r in records if (r.configuration.method, r.configuration.fold) == (m, k)]
              for m in ("in", "iln")}
        for subject in np.unique(of["in"][0].subject):
            scores = {m: np.mean([r.dice[r.subject == subject].mean() for r in of[m]]) for m in of}
            by_hand.append(scores["iln"] - scores["in"])
            assert abs(found.per_subject[subject] - by_hand[-1]) < 1e-12
    assert found.subjects == 45 and found.seeds == (3, 3) and abs(found.difference - np.mean(by_hand)) < 1e-12
    assert abs(found.median - np.median(by_hand)) < 1e-12
    kept = np.arange(len(records[0].dice)) != 1  # one image fewer of the first subject
    uneven = [Record(r.path, r.configuration, r.status, r.title, r.synthetic, r.dice[kept], r.subject[kept], 0, 1,
                     {key: v[kept] for key, v in r.measures.items()}) for r in records]
    again = compared(uneven)
    first = records[0].subject[0]
    changed = [s for s in found.per_subject if abs(again.per_subject[s] - found.per_subject[s]) > 1e-12]
    assert set(changed) <= {first, "S2-00", "S3-00"} and again.subjects == 45
    assert abs(again.difference - np.mean(list(again.per_subject.values()))) < 1e-12


def test_the_former_interval_is_that_of_a_bootstrap():
    """Its ends are those of a normal whose variance is what the drawing leaves of subjects and seeds."""
    rng = np.random.default_rng(0)
    subjects = tuple(map(str, range(40)))
    a, b = ([differences.FoldScores((0, 1, 2), subjects, rng.normal(0, 0.05, 40) + rng.normal(0, 0.02, [3, 1]), None)
             for _ in range(3)] for _ in range(2))
    apart = [x.by_subject - y.by_subject for x, y in zip(a, b, strict=True)]
    by_hand = sum(d.mean(0).var() / 40 + d.mean(1).var() / 3 for d in apart) / 9
    low, high = former.interval(a, b)
    assert abs((high - low) / (2 * 1.96 * np.sqrt(by_hand)) - 1) < 0.05
    assert [former.verdict(*ends) for ends in ((0.001, 0.01), (-0.02, 0.0049), (-0.01, 0.0051))] == [
        "reproduced", "not reproduced", "cannot tell"]


def test_seeds_widen_the_interval():
    alike = compared([record(m, k, seed=s, noise=0) for m in ("in", "iln") for k in (1, 2, 3) for s in (0, 1, 2)])
    assert alike.difference == 0 and max(abs(alike.low), abs(alike.high)) < 1e-12
    subjects = tuple(map(str, range(15)))
    flat = np.zeros([3, 15])
    seeds = flat + np.array([[-0.05], [0.0], [0.05]])
    a = [differences.FoldScores((0, 1, 2), subjects, seeds, seeds)]
    b = [differences.FoldScores((0, 1, 2), subjects, flat, flat)]
    found = compare(a, b, ("iln", "in"))
    # Of one fold: t of three seeds about their mean.
    low, high = stats.t.interval(0.95, 2, 0, 0.05 / np.sqrt(3))
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-6)
    assert abs(found.seed_sd - 0.05) < 1e-12


def test_one_seed_has_no_interval_over_folds_and_one_of_the_networks_trained_on_one_fold():
    one = compared([record(m, k, noise=0.05) for m in ("in", "iln") for k in (1, 2, 3)])
    assert math.isnan(one.low) and math.isnan(one.detectable) and verdicts.accuracy_verdict(one.estimate) == "undecided"
    alone = compared([record(m, 1) for m in ("in", "iln")])
    differences = list(alone.per_subject.values())
    np.testing.assert_allclose([alone.low, alone.high], stats.t.interval(0.95, 14, np.mean(differences),
                                                                         stats.sem(differences)), rtol=1e-6)


def test_rates_are_chosen_by_dice_whatever_the_measure():
    """HD95 is made up as 10 (1 − Dice), so that choosing again varies it a hundred times as much."""
    records = [record("iln", k, rate, seed=s, gain=0.01 * (rate == 1.0), noise=0.1) for rate in (1.0, 0.1)
               for k in (1, 2, 3) for s in ((0, 1, 2) if rate == 1.0 else (0,))]
    added = {}
    for measure in ("dice", "hd95"):
        table = differences.by_method(records, "cross-fold", measure=measure)
        added[measure] = uncertainty.pool(table, records, "cross-fold", "LV", measure).choice["iln"]
    assert added["dice"] > 0 and abs(added["hd95"] / (100 * added["dice"]) - 1) < 1e-9
    table = differences.by_method(records, "test")
    assert uncertainty.pool(table, records, "test", "LV", "dice").choice is None


def test_the_probability_of_improvement_counts_pairs_of_seeds_and_halves_ties():
    subjects = ("a", "b")
    a = [differences.FoldScores((0, 1), subjects, np.array([[1.0, 0.5], [0.0, 0.5]]), np.zeros([2, 2]))]
    b = [differences.FoldScores((0, 1), subjects, np.array([[0.5, 0.5], [0.5, 0.4]]), np.zeros([2, 2]))]
    # a: better in 1 of 2 values against both seeds: 0.5; b: ties (half) and betters: (0.5 + 1) / 2 = 0.75.
    assert compare(a, b, ("x", "y")).improvement == (0.5 + 0.75) / 2
    assert compare(a, b, ("x", "y"), "hd95").improvement == 1 - (0.5 + 0.75) / 2


def test_a_diverged_run_segments_nothing():
    runs = [record("iln", k, seed=s, status="diverged" if (k, s) == (1, 1) else "complete")
            for k in (1, 2, 3) for s in (0, 1)]
    cell = cells(runs, "test")["iln", "LV", 1]
    subject = differences.subjects_of(runs)["LV", 1]
    scores = fold_scores(cell, subject)
    assert scores.seeds == (0, 1) and not scores.by_subject[1].any() and scores.by_subject[0].all()
    assert fold_scores(cell, subject, "hd95").seeds == (0,)
    lost = cells([record(status="diverged")], "test")["in", "LV", 1]
    assert not fold_scores(lost, subject).by_subject.any() and fold_scores(lost, subject, "hd95") is None


def test_interval_of_one_method_holds_its_mean():
    scores = differences.by_method(grid(**{"in": 0.0}), "test")["in"]
    mean, low, high = interval(scores)
    assert low < mean < high and high - low < 0.12
    few = np.array([[0.3, 0.9]])
    mean, low, high = interval([differences.FoldScores((0,), ("a", "b"), few, few)])
    assert mean == pytest.approx(0.6) and (low, high) == (0, 1)


@pytest.mark.parametrize("mean, error, verdict", [
    (0.01, 0.004, "supported"), (-0.01, 0.004, "contradicted"), (-0.003, 0.004, "no gain of half a point"),
    (-0.001, 0.004, "undecided"), (0.01, 0.006, "undecided"), (0.002, 0.0005, "supported"),
    (0.002, math.nan, "undecided")])
def test_a_claim_is_judged_by_its_interval(mean, error, verdict):
    assert verdicts.accuracy_verdict(Estimate(mean, error, 1e6)) == verdict


def test_cost_is_judged_against_the_paper_s_ratio_in_two_digits():
    assert verdicts.cost_verdict(1.0, 1.05, 36.5 / 34.8) == "reproduced"
    assert verdicts.cost_verdict(1.04, 1.06, 36.5 / 34.8) == "cannot tell"
    assert verdicts.cost_verdict(1.06, 1.10, 36.5 / 34.8) == "not reproduced"


def verdict_rows(records, folder, stem="verdicts"):
    made = {"verdicts": lambda: verdicts.build(PAPER, records),
            "further-claims": lambda: verdicts.build_further(PAPER, records, folder)}
    return {row["claim"]: row for row in csv.DictReader(sheet.as_csv(made[stem]()[1]).splitlines())}


def test_verdicts_come_from_the_runs(tmp_path):
    gains = dict(none=-0.1, ln=0.0, gn4=0.002, iln=0.03, clip=0.0, sigmoid=0.0, softmax=0.1, **{"in": 0.0})
    rows = verdict_rows(grid(**gains), tmp_path)
    assert rows["ILN is better than None (LV)"]["verdict"] == "supported"
    assert rows["ILN is better than None (LV)"]["before"] == "reproduced"
    assert rows["ILN is better than None (LV)"]["paper"] == "+2.80 ± 3.2"
    assert rows["ILN is better than None (LV)"]["inside"] == "no"
    assert float(rows["ILN is better than None (LV)"]["power"]) > 0.05
    assert rows["Sigmoid is better than Softmax (LV)"]["verdict"] == "contradicted"
    assert rows["ILN is better than None (RV)"]["verdict"] == "no data"
    assert len(rows) == 14 and not any("cost" in claim for claim in rows)
    others = verdict_rows(grid(**gains), tmp_path, "further-claims")
    assert others["ILN has 22 parameters more than IN"]["verdict"] == "reproduced"
    assert others["ILN costs 1.05 times IN, composed literally"]["verdict"] == "cannot tell"
    cost = {"device": "CPU", "rows": [{"form": f, "method": m, "rounds": [t, t + 0.01, t]} for f, m, t in (
        ("fused", "in", 1.0), ("fused", "iln", 1.01), ("reference", "in", 1.0), ("reference", "iln", 2.0))]}
    (tmp_path / "cost.json").write_text(json.dumps(cost), encoding="utf-8")
    others = verdict_rows(grid(**gains), tmp_path, "further-claims")
    assert others["ILN costs 1.05 times IN, composed literally"]["verdict"] == "not reproduced"
    assert others["ILN costs 1.05 times IN, as this library computes it"]["verdict"] == "reproduced"
    caption = verdicts.build(PAPER, grid(**gains))[0].caption
    given = [row["verdict"] for row in rows.values() if row["structure"] == "LV"]
    assert all(f"{given.count(verdict)} {verdict}" in caption for verdict in set(given))
    assert "RV: 7 no data" in caption


def test_a_small_gain_that_is_sure_is_called_small(tmp_path):
    """Every subject of ILN's is better by 0.2 points, but for a little noise."""
    records = grid(**{"in": 0.0}, iln=0.002)
    sure = [record(c.method, c.fold, seed=c.seed, gain=0.002 * (c.method == "iln"), noise=0.0005)
            for c in (r.configuration for r in records)]
    row = verdict_rows(sure, tmp_path)["ILN is better than IN (LV)"]
    assert (row["verdict"], row["remark"]) == ("supported", "by less than half a point")


def test_captions_say_what_one_seed_leaves_out():
    for seeds in ((0,), (0, 1)):
        records = [record(m, k, seed=s) for m in ("in", "iln") for k in (1, 2, 3) for s in seeds]
        texts = (verdicts.build(PAPER, records)[0].caption, supplement.build(records)["differences"][0].caption)
        assert all(("With one seed there is no interval" in text) == (len(seeds) == 1) for text in texts)


def test_captions_name_the_methods_that_have_one_seed():
    first = [record(m, k, rate, gain=rate / 10) for m in ("in", "iln", "bn") for k in (1, 2, 3) for rate in (1.0, 0.1)]
    second = [record(m, k, 1.0, seed=1) for m in ("in", "iln") for k in (1, 2, 3)]
    text = captions.about_one_seed(first + second)
    assert "BN by the rule 'cross-fold'; all methods by the rule 'best on the test fold'" in text
    about = captions.about_data(first + second)
    assert "Seeds 0; at some rates 1, which the rule 'best on the test fold' leaves out." in about
    rows = supplement.build(first + second)["differences"][1]
    of_in = {r["rule"]: r for r in rows if (r["other"], r["measure"]) == ("in", "dice")}
    assert [(of_in[rule]["seeds"], of_in[rule]["other_seeds"]) for rule in ("cross-fold", "test")] == [(2, 2), (1, 1)]


def test_a_mean_over_folds_weighs_each_image_the_same_however_many_seeds_its_fold_has():
    records = [*(record("in", k) for k in (1, 2, 3)), *(record("in", 3, seed=s, gain=-0.5) for s in (1, 2))]
    whole = next(r for r in supplement.build(records)["scores"][1] if r["fold"] == "LV-all")
    dice = [np.mean([r.dice for r in records if r.configuration.fold == k], axis=0) for k in (1, 2, 3)]
    assert abs(whole["dice_mean"] - np.concatenate(dice).mean()) < 1e-12 and whole["seeds"] == 1
    partial = [*(record("in", k) for k in (1, 2, 3)), *(record("none", k) for k in (1, 2))]
    folds = [(r["method"], r["fold"]) for r in supplement.build(partial)["scores"][1]]
    assert ("in", "LV-all") in folds and ("none", "LV-all") not in folds


def test_a_grid_on_which_no_rate_can_be_chosen_says_so():
    records = [record("in", k, rate, gain=-0.3 * (k == 1 and rate < 1))
               for k, rate in ((1, 1.0), (1, 0.5), (2, 0.5), (2, 0.1))]
    with pytest.raises(InputError, match="no method has all of its learning rates on any fold yet"):
        captions.about_runs(records)
    assert captions.primary_rule([*records, record("in", 1, 0.1, gain=-0.3)]) == "test"


def test_one_rate_a_fold_is_taken_as_given(tmp_path):
    """As where rates were chosen by a cheaper protocol: nothing is chosen, and no cell stays empty."""
    rates = {"in": (0.5, 0.5, 0.1), "iln": (0.5, 1.5, 0.5)}
    records = [record(m, k, rates[m][k - 1], seed=s, gain=0.03 * (m == "iln"))
               for m in rates for k in (1, 2, 3) for s in (0, 1)]
    assert rules_of(records) == ("given",)
    assert [cells(records, "given")[m, "LV", k].rate for m in rates for k in (1, 2, 3)] == [*rates["in"], *rates["iln"]]
    row = verdict_rows(records, tmp_path)["ILN is better than IN (LV)"]
    assert row["ours"] and row["power"] and not row["test_rule"]
    (stem, table, tidy), = tables.sheets(TABLES[3], records)
    assert stem == "table3" and "rate by rule 'taken as given'" in table.title and len(tidy) == 8
    assert "1.5, 0.5; LV IN 0.5, 0.1 (chosen by the rule 'taken as given'" in table.caption
    assert "rates" not in supplement.build(records) and rules_of([record("in", 1)]) == ("test",)


def test_the_paper_s_rule_chooses_among_the_paper_s_rates():
    records = PAPER.mark([record(m, k, rate, gain=g) for m, gains in (
        ("in", {1.0: 0.0, 0.1: 0.02}), ("ln", {1.0: 0.0, 0.1: 0.02, 0.02: 0.04})) for k in (1, 2, 3)
        for rate, g in gains.items()])
    chosen = {rule: {cell.rate for (m, _, _), cell in cells(records, rule).items() if m == "ln"}
              for rule in ("test", "cross-fold")}
    assert chosen == {"test": {0.1}, "cross-fold": {0.02}}
    texts = {stem: table.caption for stem, table, _ in tables.sheets(TABLES[3], records)}
    assert "Learning rates 1, 0.1 (chosen" in texts["table3"]
    assert "Learning rates 1, 0.1; LV LN 1, 0.1, 0.02 (chosen" in texts["table3-cross-fold"]


def test_a_rate_beyond_the_paper_s_takes_part_once_all_folds_have_it():
    paper_s = [record("ln", k, rate, gain=g) for k in (1, 2, 3) for rate, g in ((1.0, 0.0), (0.1, 0.02))]
    further = PAPER.mark([record("ln", k, 0.02, gain=0.2) for k in (1, 2, 3)])

    def rates(records):
        return [cells(records, "cross-fold")["ln", "LV", k].rate for k in (1, 2, 3)]

    def of_choice(records):
        table = differences.by_method(records, "cross-fold")
        return uncertainty.pool(table, records, "cross-fold", "LV", "dice").choice["ln"]

    assert rates(paper_s + further[:2]) == rates(paper_s) and rates(paper_s + further) == [0.02] * 3
    assert of_choice(paper_s + further[:2]) == of_choice(paper_s) != of_choice(paper_s + further)


def test_a_pair_is_compared_at_rates_that_both_have():
    """ILN's best rate is one that Sigmoid has not; what IN has beyond the paper's rates stays."""
    records = PAPER.mark([record(m, k, rate, gain=g) for m, gains in (
        ("iln", {1.0: 0.0, 0.1: 0.2}), ("sigmoid", {1.0: 0.1}), ("in", {1.0: 0.0, 0.1: 0.1, 0.02: 0.2}))
        for k in (1, 2, 3) for rate, g in gains.items()])
    found = {c.second: c.difference for c in differences.comparisons(
        records, [("iln", m) for m in ("sigmoid", "in", "bn")], "cross-fold")}
    assert list(found) == ["sigmoid", "in"]
    assert found["sigmoid"] < -0.05 and abs(found["in"]) < 0.05


def test_synthetic_data_judge_no_claim(tmp_path):
    records = [record(synthetic=True)]
    assert verdicts.build(PAPER, records) is None and verdicts.build_further(PAPER, records, tmp_path) is None


def test_missing_methods_leave_a_claim_open(tmp_path):
    records = [*grid(**{"in": 0.0}, iln=0.03), *(record("none", k, gain=-0.2) for k in (1, 2))]
    rows = verdict_rows(records, tmp_path)
    for claim in ("ILN is better than LN (LV)", "ILN is better than None (LV)"):
        assert rows[claim]["remark"] == "runs missing" and rows[claim]["verdict"] == "no data"


def test_seeds_added_at_the_chosen_rate_do_not_unmake_the_choice():
    first = [record("in", k, rate, gain=g) for k in (1, 2, 3) for rate, g in ((1.0, 0.05), (0.1, 0.0))]
    assert cells(first, "cross-fold")["in", "LV", 1].rate == 1.0
    bad = [record("in", k, 1.0, seed=1, gain=-0.5) for k in (1, 2, 3)]
    cell = cells(first + bad, "cross-fold")["in", "LV", 1]
    assert cell.rate == 1.0 and len(cell.seed_means) == 2


def test_statistics_are_written_in_every_form(tmp_path):
    lost = ("none", 1.0, 2)
    records = [record(m, k, rate, gain=g, status="diverged" if (m, rate, k) == lost else "complete")
               for rate in (1.0, 0.1) for m, g in (("in", 0.0), ("iln", 0.02), ("none", -0.1)) for k in (1, 2, 3)]
    supplement.write(records, tmp_path)
    for name in ("scores", "differences", "terciles", "rates"):
        for suffix in ("md", "csv", "tex"):
            assert (tmp_path / f"{name}.{suffix}").stat().st_size > 100
    text = (tmp_path / "rates.md").read_text(encoding="utf-8")
    assert " 1D |" in text and "Rates 1, 0.1" in text and "made-up" in text
    differences = (tmp_path / "differences.md").read_text(encoding="utf-8")
    assert "| LV | HD95 | IN | cross-fold |" in differences and "Holm" not in differences


def test_every_question_is_one_setting_or_another_number_of_groups():
    for question in QUESTIONS:
        changed = protocol("lite", **question.changes)
        variant = Configuration("d", "0", "LV", question.method, 1, 0.1, 0, changed).variant
        assert (variant != "") != (question.method != question.base), question.text


@pytest.fixture
def planner(tmp_path, monkeypatch):
    """Of a phantom of each structure, with a set of seeds whose runs count as done, and made-up scores of theirs."""
    import tiny

    done, methods = set(), PAPER.evidence.stages[1].parts[0].methods
    made = [record(m, k, rate, structure=s) for s in ("LV", "RV") for m in (*methods, "gn16") for k in (1, 2, 3)
            for rate in PAPER.rates["lite"]]
    monkeypatch.setattr(stages, "collect", lambda *_, **__: made)
    monkeypatch.setattr(stages.planning, "remaining",
                        lambda jobs, _: [job for job in jobs if job.configuration.seed not in done])
    files = [tiny.phantom(tmp_path, structure) for structure in ("LV", "RV")]
    for path in files:
        (tmp_path / "runs" / path.stem / "lite" / "in").mkdir(parents=True)
        (tmp_path / "runs" / path.stem / "lite" / "in" / "fold1-lr1-seed0.h5").touch()
    return stages.Planner(PAPER, files, "lite", tmp_path), done


def planned(planner, number):
    return [None if jobs is None else [job.configuration for job in jobs] for jobs in planner.parts(number)]


def test_later_stages_need_the_earlier(planner):
    planner, done = planner
    assert [len(jobs) for jobs in planned(planner, 1)] == [9 * 3 * 5]
    for number, missing in ((2, "135 runs of stage 1"), (3, "135 runs of stage 1"), (6, "135 runs of stage 1")):
        with pytest.raises(InputError, match=f"{missing} are missing, whose answers stage {number} needs"):
            planned(planner, number)
    done.add(0)
    assert [len(jobs) for jobs in planned(planner, 2)] == [8 * 3 * 2]
    with pytest.raises(InputError, match="48 runs of stage 2 are missing"):
        planned(planner, 3)
    done |= {1, 2}
    assert [len(jobs) for jobs in planned(planner, 3)] == [3] * len(QUESTIONS)


def test_a_stage_goes_method_by_method_and_part_by_part(planner):
    planner, done = planner
    first, *_, last = planned(planner, 5)
    assert {c.structure for c in first} == {"RV"} and last is None  # its rates are still to be chosen
    assert list(dict.fromkeys(c.method for c in first)) == ["in", "iln", "none", "ln", "gn4"]
    assert [(c.fold, c.rate) for c in first[:6]] == [(1, 1.5), (1, 1.0), (1, 0.5), (1, 0.1), (1, 0.05), (2, 1.5)]
    assert len(planner.at_any_rate(5, PAPER.evidence.stages[5].parts[-1])) == 8 * 3 * 2
    done |= {0, 1, 2}
    assert [len(jobs) for jobs in planned(planner, 5)] == [75, 18, 27, 48]
    gn16, repeated, further, accident = planned(planner, 4)
    assert len(gn16) == 15 and len(repeated) == 6 and {c.rate for c in further} == {0.02} and len(further) == 27
    assert [(c.method, c.fold, c.rate, c.seed) for c in accident] == [("iln", 2, 0.5, 1), ("iln", 2, 0.5, 2)]
    for number, shrink in ((6, 2), (7, 1)):
        whole = [c for jobs in planned(planner, number) for c in jobs]
        assert len(whole) == 8 * 3 and {(c.protocol.name, c.protocol.shrink) for c in whole} == {("paper", shrink)}


def test_a_stage_wants_a_data_set_of_its_structure(planner, tmp_path):
    planner, _ = planner
    del planner.sets["RV"]
    with pytest.raises(InputError, match="stage 5 takes a data set of RV; give one"):
        planned(planner, 5)


def test_answers_are_compared_with_their_base_and_say_what_was_lost(monkeypatch):
    base = [record(m, k, rate, seed=s, gain=rate / 100, structure=structure) for m in ("iln", "sigmoid")
            for k in (1, 2, 3) for rate in (1.0, 0.1) for s in (0, 1) for structure in ("LV", "RV")]
    answers = {"4 groups after the mix": dict(gain=-0.1), "ε 1e-12": dict(status="diverged")}
    monkeypatch.setattr(questions, "collect", lambda *_, **__: base)
    monkeypatch.setattr(questions, "_variant_records", lambda _, question, *__: [
        record(question.method, 1, 1.0, seed=s, **answers[question.text]) for s in (0, 1)
    ] if question.text in answers else [])
    table, tidy = questions.build(PAPER.evidence, Path("."), "lite", ["made-up"])
    assert [r["question"] for r in tidy] == list(answers) and {r["structure"] for r in tidy} == {"LV"}
    assert -0.2 < tidy[0]["difference"] < -0.05 and tidy[1]["dice"] == 0
    assert [row[3].partition(" ")[2] for row in table.body] == ["", "2D"]
    assert "90 test images in 1 fold." in table.caption and "Rates 1. Seeds 0, 1." in table.caption


def test_an_answer_s_damaged_file_is_named(tmp_path):
    import tiny

    data, changed = tiny.phantom(tmp_path), protocol("lite", epsilon=1e-12).variant
    question = next(q for q in QUESTIONS if q.changes == {"epsilon": 1e-12})
    assert questions._variant_records(tmp_path, question, "lite", [data.stem]) == []
    path = tmp_path / "runs" / data.stem / "lite" / f"iln{changed}" / "fold1-lr1-seed0.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InputError, match="1 run file.s. cannot be used"):
        questions._variant_records(tmp_path, question, "lite", [data.stem])


def test_what_was_run_for_a_question_alone_is_in_no_other_table():
    base = [record("iln", k) for k in (1, 2, 3)]
    def methods(records):
        return {r.configuration.method for r in questions.without_answers(records, QUESTIONS)}

    assert methods([*base, record("iln4", 1), *(record("bn", k) for k in (1, 2))]) == {"iln", "bn"}
    assert methods([*base, *(record("iln4", k) for k in (1, 2, 3))]) == {"iln", "iln4"}
    assert methods([record("iln4", 1)]) == {"iln4"}


def test_smallest_difference_shown_has_the_power_it_says():
    rng = np.random.default_rng(1)
    shown, trials = 0, 300
    effect = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * 0.05 / math.sqrt(45)
    for _ in range(trials):
        d = rng.normal(effect, 0.05, 45)
        shown += d.mean() - 1.96 * d.std(ddof=1) / math.sqrt(45) > 0
    assert 0.72 < shown / trials < 0.88
