"""Comparisons, verdicts and stages, on made-up scores whose answers are known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments.analysis import captions, questions, supplement, verdicts
from experiments.papers.iln import PAPER
from experiments.papers.iln.claims import CLAIMS, QUESTIONS
from experiments.runs import stages
from ilnrepro.comparison import intervals
from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.intervals import compare, fold_scores, holm, interval
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
    table = intervals.by_method(records, "test", **options)
    return compare(table[first], table[second], (first, second), options.get("measure", "dice"))


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
    assert abs(found.p - stats.wilcoxon(by_hand).pvalue) < 1e-12
    kept = np.arange(len(records[0].dice)) != 1  # one image fewer of the first subject
    uneven = [Record(r.path, r.configuration, r.status, r.title, r.synthetic, r.dice[kept], r.subject[kept], 0, 1,
                     {key: v[kept] for key, v in r.measures.items()}) for r in records]
    again = compared(uneven)
    first = records[0].subject[0]
    changed = [s for s in found.per_subject if abs(again.per_subject[s] - found.per_subject[s]) > 1e-12]
    assert set(changed) <= {first, "S2-00", "S3-00"} and again.subjects == 45
    assert abs(again.difference - np.mean(list(again.per_subject.values()))) < 1e-12


@pytest.mark.slow
def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        d = rng.normal(0.01, 0.05, [3, 15])
        a = [intervals.FoldScores((0,), tuple(map(str, range(15))), row[None], row[None]) for row in d]
        b = [intervals.FoldScores((0,), s.subjects, np.zeros([1, 15]), np.zeros([1, 15])) for s in a]
        low, high = np.percentile(intervals._bootstrap(a, b), [2.5, 97.5])
        covered += low <= 0.01 <= high
    assert 175 <= covered <= 199


def test_seeds_widen_the_interval():
    alike = compared([record(m, k, seed=s, noise=0) for m in ("in", "iln") for k in (1, 2, 3) for s in (0, 1, 2)])
    assert alike.difference == alike.low == alike.high == 0 and alike.p == 1
    subjects = tuple(map(str, range(15)))
    flat = np.zeros([3, 15])
    seeds = flat + np.array([[-0.05], [0.0], [0.05]])
    a = [intervals.FoldScores((0, 1, 2), subjects, seeds, seeds)]
    b = [intervals.FoldScores((0, 1, 2), subjects, flat, flat)]
    found = compare(a, b, ("iln", "in"))
    assert found.low < -0.03 and found.high > 0.03 and abs(found.seed_sd - 0.05) < 1e-12
    assert abs(found.smallest_shown - 2.8016 * found.standard_error) < 1e-3 * found.standard_error


def test_the_probability_of_improvement_counts_pairs_of_seeds_and_halves_ties():
    subjects = ("a", "b")
    a = [intervals.FoldScores((0, 1), subjects, np.array([[1.0, 0.5], [0.0, 0.5]]), np.zeros([2, 2]))]
    b = [intervals.FoldScores((0, 1), subjects, np.array([[0.5, 0.5], [0.5, 0.4]]), np.zeros([2, 2]))]
    # a: better in 1 of 2 values against both seeds: 0.5; b: ties (half) and betters: (0.5 + 1) / 2 = 0.75.
    assert compare(a, b, ("x", "y")).improvement == (0.5 + 0.75) / 2
    assert compare(a, b, ("x", "y"), "hd95").improvement == 1 - (0.5 + 0.75) / 2


def test_holm_corrects_as_in_a_worked_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])


def test_a_diverged_run_segments_nothing():
    runs = [record("iln", k, seed=s, status="diverged" if (k, s) == (1, 1) else "complete")
            for k in (1, 2, 3) for s in (0, 1)]
    cell = cells(runs, "test")["iln", "LV", 1]
    subject = intervals.subjects_of(runs)["LV", 1]
    scores = fold_scores(cell, subject)
    assert scores.seeds == (0, 1) and not scores.by_subject[1].any() and scores.by_subject[0].all()
    assert fold_scores(cell, subject, "hd95").seeds == (0,)
    lost = cells([record(status="diverged")], "test")["in", "LV", 1]
    assert not fold_scores(lost, subject).by_subject.any() and fold_scores(lost, subject, "hd95") is None


def test_interval_of_one_method_holds_its_mean():
    scores = intervals.by_method(grid(**{"in": 0.0}), "test")["in"]
    mean, low, high = interval(scores)
    assert low < mean < high and high - low < 0.12


@pytest.mark.parametrize("low, high, verdict", [
    (0.001, 0.01, "reproduced"), (-0.001, 0.0049, "not reproduced"), (-0.02, -0.01, "not reproduced"),
    (-0.001, 0.0051, "cannot tell"), (0.0, 0.02, "cannot tell")])
def test_a_claim_is_judged_by_its_interval(low, high, verdict):
    assert verdicts.better(low, high) == verdict


def test_cost_is_judged_against_the_paper_s_ratio_in_two_digits():
    assert verdicts.costs(1.0, 1.05, 36.5 / 34.8) == "reproduced"
    assert verdicts.costs(1.04, 1.06, 36.5 / 34.8) == "cannot tell"
    assert verdicts.costs(1.06, 1.10, 36.5 / 34.8) == "not reproduced"


def verdict_rows(records, folder):
    verdicts.write(PAPER, records, folder)
    import csv

    with open(folder / "tables" / "verdicts.csv", newline="", encoding="utf-8") as file:
        return {row["claim"]: row for row in csv.DictReader(file)}


def test_verdicts_come_from_the_runs(tmp_path):
    gains = dict(none=-0.1, ln=0.0, gn4=0.002, iln=0.03, clip=0.0, sigmoid=0.0, softmax=0.1, **{"in": 0.0})
    rows = verdict_rows(grid(**gains), tmp_path)
    assert rows["ILN is better than None (LV)"]["verdict"] == "reproduced"
    assert rows["ILN is better than None (LV)"]["paper"] == "+2.80"
    assert rows["Sigmoid is better than Softmax (LV)"]["verdict"] == "not reproduced"
    assert rows["ILN is better than None (RV)"]["verdict"] == "cannot tell"
    assert rows["ILN is better than None (RV)"]["ours"] == "private data"
    assert rows["ILN has 22 parameters more than IN"]["verdict"] == "reproduced"
    assert rows["ILN costs 1.05 times IN, composed literally"]["verdict"] == "cannot tell"
    cost = {"device": "CPU", "rows": [{"form": f, "method": m, "rounds": [t, t + 0.01, t]} for f, m, t in (
        ("fused", "in", 1.0), ("fused", "iln", 1.01), ("reference", "in", 1.0), ("reference", "iln", 2.0))]}
    (tmp_path / "cost.json").write_text(json.dumps(cost), encoding="utf-8")
    rows = verdict_rows(grid(**gains), tmp_path)
    assert rows["ILN costs 1.05 times IN, composed literally"]["verdict"] == "not reproduced"
    assert rows["ILN costs 1.05 times IN, as this library computes it"]["verdict"] == "reproduced"
    caption = verdicts.build(PAPER, grid(**gains), tmp_path)[0].caption
    given = [row["verdict"] for row in rows.values()]
    assert all(f"{given.count(verdict)} {verdict}" in caption for verdict in verdicts.VERDICTS)
    private = [row["ours"] == "private data" for row in rows.values()]
    assert private == sorted(private) and any(private)  # what these data cannot judge comes last


def test_captions_say_what_one_seed_leaves_out():
    for seeds in ((0,), (0, 1)):
        records = [record(m, k, seed=s) for m in ("in", "iln") for k in (1, 2, 3) for s in seeds]
        texts = (verdicts.build(PAPER, records, Path("."))[0].caption,
                 supplement.build(records)["differences"][0].caption)
        assert all(("no spread over seeds" in caption) == (len(seeds) == 1) for caption in texts)


def test_captions_name_the_methods_that_have_one_seed():
    first = [record(m, k, rate, gain=rate / 10) for m in ("in", "iln", "bn") for k in (1, 2, 3) for rate in (1.0, 0.1)]
    second = [record(m, k, 1.0, seed=1) for m in ("in", "iln") for k in (1, 2, 3)]
    text = captions.about_one_seed(first + second)
    assert "BN by the rule 'cross-fold'; all methods by the rule 'best on the test fold'" in text
    about = captions.about(first + second)
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
    records = [record("in", 1, 1.0), record("in", 2, 0.1)]
    with pytest.raises(InputError, match="no method has all of its learning rates on any fold yet"):
        captions.about_runs(records)
    assert captions.primary_rule([*records, record("in", 1, 0.1, gain=-0.3)]) == "test"


def test_synthetic_data_judge_no_claim(tmp_path):
    assert verdicts.write(PAPER, [record(synthetic=True)], tmp_path) is None


def test_missing_methods_leave_a_claim_open(tmp_path):
    records = [*grid(**{"in": 0.0}, iln=0.03), *(record("none", k, gain=-0.2) for k in (1, 2))]
    rows = verdict_rows(records, tmp_path)
    for claim in ("ILN is better than LN (LV)", "ILN is better than None (LV)"):
        assert rows[claim]["ours"] == "runs missing" and rows[claim]["verdict"] == "cannot tell"


def judged_layers(records):
    claim = next(claim for claim in CLAIMS if isinstance(claim, verdicts.Layers))
    return claim.judged(PAPER, records, None)


def test_layers_are_compared_on_folds_that_did_not_choose_them(tmp_path):
    rng = np.random.default_rng(0)
    noise = [record("iln", k, seed=s, rho=[0.5, *0.5 + rng.normal(0, 0.1, 2)]) for k in (1, 2, 3) for s in (0, 1, 2)]
    assert judged_layers(noise)["verdict"] == "cannot tell"
    real = [record("iln", k, seed=s, rho=[0.5, 0.4, 0.6 + 0.01 * s]) for k in (1, 2, 3) for s in (0, 1, 2)]
    assert judged_layers(real)["verdict"] == "reproduced"
    assert "9 runs (over means of 3 folds [" in judged_layers(real)["ours"]
    copies = [record("iln", k, seed=s, rho=[0.5, 0.4, 0.6 + 0.1 * k]) for k in (1, 2, 3) for s in (0, 1, 2)]
    one = judged_layers([r for r in copies if r.configuration.seed == 0])["ours"]
    assert one.split(" in ")[0].split("[")[1] in judged_layers(copies)["ours"].split("folds [")[1]
    still = [record("iln", k, seed=s, rho=[0.9, 0.5, 0.5]) for k in (1, 2, 3) for s in (0, 1, 2)]
    assert judged_layers(still)["verdict"] == "not reproduced"


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
    assert "| LV | HD95 | IN | cross-fold |" in differences and "Holm" in differences


def test_every_question_is_one_setting_or_another_number_of_groups():
    for question in QUESTIONS:
        changed = protocol("lite", **question.changes)
        variant = Configuration("d", "0", "LV", question.method, 1, 0.1, 0, changed).variant
        assert (variant != "") != (question.method != question.base), question.words


def test_later_stages_need_the_earlier(tmp_path, monkeypatch):
    import tiny

    data = tiny.phantom(tmp_path)
    assert len(stages.stage(PAPER, 1, [data], "lite", tmp_path)) == 9 * 3 * 5
    with pytest.raises(InputError, match="135 runs of stage 1 are missing"):
        stages.stage(PAPER, 2, [data], "lite", tmp_path)
    made = [record(m, k, rate) for m in PAPER.evidence.methods for k in (1, 2, 3) for rate in PAPER.rates["lite"]]
    monkeypatch.setattr(stages, "collect", lambda *_, **__: made)
    done = {0}
    monkeypatch.setattr(stages.planning, "remaining",
                        lambda jobs, _: [job for job in jobs if job.configuration.seed not in done])
    assert len(stages.stage(PAPER, 2, [data], "lite", tmp_path)) == 8 * 3 * 2
    with pytest.raises(InputError, match="48 runs of stage 2 are missing"):
        stages.stage(PAPER, 3, [data], "lite", tmp_path)
    done |= {1, 2}
    assert len(stages.stage(PAPER, 3, [data], "lite", tmp_path)) == len(QUESTIONS) * 3


def test_answers_are_compared_with_their_base_and_say_what_was_lost(monkeypatch):
    base = [record(m, k, rate, seed=s, gain=rate / 100, structure=structure) for m in ("iln", "sigmoid")
            for k in (1, 2, 3) for rate in (1.0, 0.1) for s in (0, 1) for structure in ("LV", "RV")]
    answers = {"4 groups after the mix": dict(gain=-0.1), "ε 1e-12": dict(status="diverged")}
    monkeypatch.setattr(questions, "collect", lambda *_, **__: base)
    monkeypatch.setattr(questions, "_variant_records", lambda _, question, *__: [
        record(question.method, 1, 1.0, seed=s, **answers[question.words]) for s in (0, 1)
    ] if question.words in answers else [])
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
