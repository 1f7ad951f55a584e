"""Agreement of ρ, what the best of several rates gives by chance, secondary differences, plans: on known answers."""

import math

import numpy as np
import pytest
from scipy import stats
from test_evidence import compared, grid, record

from experiments.analysis import agreement, headline, needs, secondary, selection
from experiments.papers.iln import PAPER
from ilnrepro.comparison import sample_size
from ilnrepro.comparison.differences import FoldScores
from ilnrepro.comparison.uncertainty import Pool
from ilnrepro.errors import InputError


def test_kendall_s_w_is_one_for_alike_ranks_and_follows_the_textbook():
    alike = np.array([[0.1, 0.2, 0.3, 0.4]] * 3) + np.array([[0.0], [0.1], [-0.5]])
    w, p = agreement.kendall(alike)
    assert w == 1 and p < 0.01
    mixed = np.array([[1, 2, 3, 4], [2, 1, 4, 3], [4, 1, 2, 3.0]])
    # Rank sums 7, 4, 9, 10 about 7.5: S = 21; 12 S / (m² (n³ − n)).
    assert abs(agreement.kendall(mixed)[0] - 12 * 21 / (9 * 60)) < 1e-12
    assert agreement.kendall(np.ones((3, 4))) == (0.0, 1.0)
    many = np.random.default_rng(1).standard_normal((4, 12))
    w, p = agreement.kendall(many)
    assert abs(p - stats.chi2.sf(4 * 11 * w, 11)) < 0.05


def test_shuffled_layers_agree_by_chance_as_often_as_p_says():
    rng = np.random.default_rng(0)
    found = [agreement.kendall(rng.standard_normal((3, 6)), rng)[1] for _ in range(60)]
    assert 0.3 < np.mean(found) < 0.7 and np.mean(np.array(found) < 0.05) < 0.2


def test_the_intraclass_correlation_is_the_share_that_runs_repeat():
    rng = np.random.default_rng(0)
    layers = rng.normal(0, 0.3, 4000)
    assert abs(agreement.intraclass(layers + rng.normal(0, 0.3, (5, 4000))) - 0.5) < 0.03
    assert agreement.intraclass(np.tile(layers, (3, 1))) == 1.0
    assert math.isnan(agreement.intraclass(layers[None]))


def test_layers_that_differ_alike_in_every_fold_are_told_from_noise():
    """The layer of 16 channels, whose gate stays, is left out."""
    rng = np.random.default_rng(0)

    def gates(spread):
        return agreement.by_method([record("iln", k, seed=s, rho=[0.9, *np.array([0.4, 0.6]) * spread + rng.normal(
            0, 0.1, 2)]) for k in (1, 2, 3) for s in (0, 1, 2)], "test", "LV")["iln"]

    real, noise = gates(10), gates(0)
    assert real.w == 1 and real.icc > 0.95 and real.layers == 2 and (real.folds, real.runs) == (3, 9)
    assert noise.icc < 0.5


def test_one_rate_gains_nothing_and_flat_rates_what_the_best_of_draws_does():
    rng = np.random.default_rng(0)
    assert selection.expected_gain(np.array([0.9]), 0.02, rng) == 0
    assert abs(selection.expected_gain(np.array([0.9, 0.2, 0.1]), 0.02, rng)) < 1e-12
    # The expected maximum of five standard normals.
    flat = selection.expected_gain(np.full(5, 0.9), 0.02, np.random.default_rng(1), 200_000)
    assert abs(flat / 0.02 - 1.16296) < 0.01


def test_gains_hold_the_truth():
    """Runs of a known curve and noise: the intervals of the gain hold the true one."""
    curve, noise, held = np.array([0.84, 0.85, 0.86, 0.83]), 0.02, 0
    truth = selection.expected_gain(curve, noise, np.random.default_rng(0), 100_000)
    rng = np.random.default_rng(1)
    for _ in range(60):
        scores = curve + noise * rng.standard_normal((3, 4))
        seen = noise * np.sqrt(rng.chisquare(6) / 6)
        low, high = selection.gain_of(scores, seen, 6, np.random.default_rng(2)).interval
        held += low <= truth <= high
    assert held >= 51


def test_a_flat_method_gains_more_than_a_steep_one():
    records = [record(m, k, rate, seed=s, gain=g, noise=0.1) for m, gains in (("iln", (0, 0)), ("in", (0, -0.5)))
               for rate, g in zip((1.0, 0.1), gains, strict=True) for k in (1, 2, 3) for s in (0, 1)]
    found = selection.gains(records, "LV")
    assert found["iln"].gain > 5 * max(found["in"].gain, 0)
    rows = {r["of"]: r for r in selection.build(PAPER, records)[1]}
    assert abs(rows["ILN − IN"]["gain"] - (found["iln"].gain - found["in"].gain)) < 1e-12
    assert abs(rows["ILN − IN"]["paper"] - 0.0073333) < 1e-6
    assert selection.build(PAPER, grid(iln=0.0)) is None


def test_an_average_over_rates_leaves_out_rates_at_which_a_run_was_lost():
    records = [record(m, k, rate, gain=0.02 * (m == "iln") - (rate == 0.5) * (m == "in") * 0.3, noise=0.005,
                      status="collapsed" if (rate, m, k) == (0.5, "in", 2) else "complete")
               for m in ("iln", "in") for rate in (1.5, 1.0, 0.5, 0.1) for k in (1, 2, 3)]
    estimate, rates = secondary.over_rates(records, "iln", "in", "LV", 1.0)
    assert rates == [0.1, 1.0]
    low, high = estimate.interval
    assert low < 0.02 < high and abs(estimate.mean - 0.02) < 0.005


def test_all_claims_together_are_wider_than_one():
    rows = secondary.build(PAPER, grid(**{"in": 0.0}, iln=0.02, none=-0.1))[1]
    assert [r["claim"] for r in rows] == ["ILN is better than None (LV)", "ILN is better than IN (LV)"]
    alone = compared(grid(**{"in": 0.0}, iln=0.02, none=-0.1))
    assert rows[1]["low"] < alone.low and rows[1]["high"] > alone.high
    assert rows[1]["median"] == alone.median


V = sample_size.Variances(0.02 ** 2, 0.04 ** 2, 2 * 0.015 ** 2, 0.0, 0.0)


def test_a_plan_s_power_is_what_simulation_gives():
    rng, times, n, seeds = np.random.default_rng(0), 20_000, 45, 3
    error = np.sqrt((V.subjects + V.within / seeds) / n + V.seeds / (3 * seeds))
    shown = (0.02 + error * rng.standard_normal(times) - 2.0 * error > 0).mean()
    assert abs(sample_size.power(V, 0.02, n, seeds, 3) - shown) < 0.05


def test_the_least_number_is_that_from_which_all_show():
    assert sample_size.minimum(lambda k: k >= 7, 100) == 7 and sample_size.minimum(lambda k: k >= 2, 100) == 2
    assert sample_size.minimum(lambda k: k > 100, 100) is None


def test_variances_are_recovered_from_runs():
    rng, n, seeds = np.random.default_rng(0), 200, 30
    subjects = rng.normal(0, 0.1, (3, n))  # shared by both

    def method(subject_sd, within, run):
        return [FoldScores(tuple(range(seeds)), tuple(map(str, range(n))), s + subject_sd * rng.standard_normal(n)
                           + within * rng.standard_normal((seeds, n)) + run * rng.standard_normal((seeds, 1)), None)
                for s in subjects]

    found = sample_size.variances(method(0.02, 0.04, 0.02), method(0.02, 0.03, 0.01), Pool(), ("a", "b"))
    np.testing.assert_allclose(np.sqrt([found.subjects, found.within, found.seeds]),
                               np.sqrt([2 * 0.02 ** 2, 0.04 ** 2 + 0.03 ** 2, 0.02 ** 2 + 0.01 ** 2]), rtol=0.15)


def test_a_plan_says_where_no_number_of_seeds_helps(tmp_path):
    records = [record(m, k, seed=s, gain=0.02 * (m == "iln")) for m in ("iln", "in") for k in (1, 2, 3)
               for s in (0, 1, 2)]
    sheet, rows = needs.build(PAPER, records, 0.0001)
    assert rows[0]["seeds_needed"] == "no number of seeds" and 0.02 < rows[0]["power"] < 0.05
    easy = needs.build(PAPER, records, 0.2)[1][0]
    assert easy["seeds_needed"] == "2" and easy["power"] > 0.99
    with pytest.raises(InputError, match="no two methods have several seeds"):
        needs.build(PAPER, [r for r in records if r.configuration.seed == 0], 0.005)


def test_the_answer_is_one_sentence_of_the_verdicts():
    given = {("ILN is better than None", "LV"): "supported", ("ILN is better than IN", "LV"): "undecided",
             ("ILN is better than LN", "LV"): "supported", ("Sigmoid is better than Clip", "LV"): "contradicted",
             ("GN16 after the mix helps", "LV"): "no gain of half a point"}
    rows = [{"claim": f"{c.text} ({c.structure})", "structure": c.structure, "paper": f"p {c.second}", "ours": "",
             "power": "", "verdict": given.get((c.text, c.structure), "no data")} for c in PAPER.claims]
    table, tidy = headline.build(PAPER, rows)
    assert table.caption.split(". ")[0] == (
        "On LV these runs support that ILN is better than None and LN, and contradict that Sigmoid is better than "
        "Clip, and show no gain of half a point behind the claim that GN16 after the mix helps, and leave undecided "
        "whether ILN is better than IN; on RV there are no data yet")
    assert len(table.body) == len(tidy) == 7
    row = next(row for row in table.body if row[0] == "ILN is better than IN")
    assert row == ["ILN is better than IN", "p in", "", "undecided", "", "p in", "", "no data", ""]
    assert headline.build(PAPER, []) is None
