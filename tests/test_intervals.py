"""Intervals against answers known otherwise: ANOVA, t tests, and simulated data whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from experiments.analysis.captions import format_difference
from experiments.analysis.coverage import committed_rows
from experiments.measure import coverage
from ilnrepro.comparison import intervals
from ilnrepro.comparison.intervals import RULES, USED, Estimate, Folds


def folds(difference, subjects=0.0, seeds=0.0, seeds_df=2, **further):
    """Three equal folds of 15 subjects."""
    return Folds(np.array(difference), np.full(3, 1 / 3), np.full(3, subjects), np.full(3, 14),
                 np.full((2, 3), seeds), np.full((2, 3), seeds_df), **further)


def test_t_over_folds_is_the_t_test():
    low, high = intervals.over_folds(folds([0.1, 0.3, 0.2])).interval
    np.testing.assert_allclose([low, high], stats.t.interval(0.95, 2, 0.2, stats.sem([0.1, 0.3, 0.2])), rtol=1e-9)


def test_variances_of_subjects_and_seeds_add_up_over_folds():
    estimate = intervals.within_splits(folds([0.1, 0.3, 0.2], 0.03, 0.06))
    assert abs(estimate.standard_error ** 2 - (0.03 + 2 * 0.06) / 3) < 1e-12
    # Satterthwaite by hand: the subjects' part has 42 degrees of freedom, each method's seeds 6.
    assert abs(estimate.df - 0.05 ** 2 / (0.01 ** 2 / 42 + 2 * 0.02 ** 2 / 6)) < 1e-9
    drawn = intervals.bootstrap(folds([0.1, 0.3, 0.2], 0.03, 0.06))
    assert abs(drawn.standard_error ** 2 - (0.03 * 14 / 15 + 2 * 0.06 * 2 / 3) / 3) < 1e-12


def test_what_folds_add_widens_and_never_narrows():
    plain = intervals.within_splits(folds([0.1, 0.3, 0.2], 0.03, 0.06))
    for square, wider in ((0.01, False), (0.5, True)):
        more = intervals.pooled(folds([0.1, 0.3, 0.2], 0.03, 0.06, interaction=square, expected=0.1,
                                      interaction_df=8))
        assert (more.standard_error > plain.standard_error) == wider
        if wider:
            assert abs(more.standard_error ** 2 - plain.standard_error ** 2 - 2 / 3 * 0.4) < 1e-12
            assert more.df < plain.df
    with_choice = intervals.pooled_and_choice(folds([0.1, 0.3, 0.2], 0.03, 0.06, choice=0.02))
    assert abs(with_choice.standard_error ** 2 - plain.standard_error ** 2 - 0.02) < 1e-12


def test_the_interaction_is_that_of_a_two_way_anova():
    """A worked example: rows and columns explain all but ±1 in the corners of a 2 × 2."""
    square, expected, df = intervals.interaction(np.array([[1.0, 2.0], [3.0, 8.0]]), [np.zeros((2, 5))] * 2,
                                                 np.full((2, 2), 0.25))
    assert df == 1 and abs(square - 4 * 1.0 ** 2) < 1e-12 and abs(expected - 0.25) < 1e-12


def test_components_are_recovered_from_many_folds():
    rng = np.random.default_rng(0)
    methods, count, n, sd = 6, 400, 10, {"subject": 0.3, "fold": 0.2}
    scores = sd["fold"] * rng.standard_normal((methods, count, 1)) + sd["subject"] * rng.standard_normal(
        (methods, count, n)) + rng.standard_normal((count, n))  # the last: what all methods share
    square, expected, _ = intervals.interaction(scores.mean(-1), [scores[:, k] for k in range(count)],
                                                np.zeros((methods, count)))
    assert abs(square - expected - 0.2 ** 2) < 0.1 * 0.2 ** 2
    assert abs(expected - 0.3 ** 2 / n) < 0.1 * 0.3 ** 2 / n


def test_power_is_that_of_the_t_test():
    """Simulated: how often a t interval of three values lies above 0."""
    rng = np.random.default_rng(0)
    drawn = 1.5 + rng.standard_normal((20_000, 3))
    low = drawn.mean(1) - stats.t.ppf(0.975, 2) * drawn.std(1, ddof=1) / np.sqrt(3)
    assert abs(float(intervals.power(1.5, 1 / np.sqrt(3), 2.0)) - (low > 0).mean()) < 0.015
    assert abs(intervals.power(0.0, 1.0, 7.0) - 0.025) < 1e-9
    assert abs(Estimate(0.0, 1.0, 1e6).power(Estimate(0.0, 1.0, 1e6).detectable()) - 0.8) < 1e-3


def test_each_fold_s_rate_is_chosen_on_the_others():
    scores = np.array([[0.9, 0.6], [0.5, 0.7], [0.5, 0.7]])  # as in the tables' own choice
    assert list(intervals.best_on_others(scores)) == [1, 0, 0]


def test_choosing_adds_nothing_where_one_rate_is_far_the_best_and_something_where_two_are_about_as_good():
    def added(curve, sd):
        return intervals.choice_variance(np.tile(np.array(curve), (3, 1)), sd ** 2, np.full(3, 1 / 3),
                                         np.random.default_rng(0), 2000)

    assert added([0.5, 0.9], 0.01) < 1e-12 and added([0.89, 0.9], 0.0) < 1e-12
    # Rates one point apart and as much noise: each fold takes the worse one with a chance p, Φ(−1).
    p = stats.norm.cdf(-1)
    assert p * (1 - p) / 3 < added([0.89, 0.90], 0.01) / 0.01 ** 2 < p * (1 - p)


def test_written_without_an_interval_is_the_mean_alone():
    assert format_difference(0.0105, np.nan, np.nan) == "+1.05"
    assert format_difference(0.0105, -0.002, 0.02) == "+1.05 [-0.20, +2.00]"


CELL = coverage.Cell("flat", 5, 45, 3, 0.03, 0.02, 0.01)


def test_the_interval_in_use_holds_the_truth_and_the_drawn_one_does_not():
    rows = {r["rule"]: r for r in coverage.measure([CELL], 1000)}
    assert 0.93 < rows[USED]["coverage"] < 0.99
    assert rows["resampled"]["coverage"] < 0.85 < rows["t over folds"]["coverage"]
    assert rows["resampled"]["width"] < rows[USED]["width"] < rows["t over folds"]["width"]


def test_a_simulated_grid_is_made_as_it_says():
    cell, rng = CELL._replace(subject_sd=0.06, seed_sd=0.03, fold_sd=0.02), np.random.default_rng(0)
    parts = [coverage.simulate(cell, 1000, rng) for _ in range(4)]  # less memory than all at once
    assert max(abs(truth) for _, truth in parts) < 1e-12  # flat curves
    difference, seeds, subjects, interaction, expected = (
        np.concatenate([getattr(folds, field) for folds, _ in parts])
        for field in ("difference", "seeds", "subjects", "interaction", "expected"))
    # Of two methods: folds, runs over three seeds, subjects by method and by run.
    variance = 2 * (0.02 ** 2 + (0.03 ** 2 + 0.03 ** 2 / 15) / 3 + 0.03 ** 2 / 15)
    assert abs(difference.var() / variance - 1) < 0.08
    assert abs(seeds.mean() / ((0.03 ** 2 + 0.03 ** 2 / 15) / 3) - 1) < 0.05
    assert abs(subjects.mean() / (2 * (0.03 ** 2 + 0.03 ** 2 / 3) / 15) - 1) < 0.05
    # The other three methods are half, one and a half times and half as noisy.
    loud = np.mean([1, 1, 0.5 ** 2, 1.5 ** 2, 0.5 ** 2])
    assert abs((interaction - expected).mean() - 0.02 ** 2) < 0.2 * loud * 0.02 ** 2


def test_the_committed_table_is_of_every_cell_and_of_this_code():
    """A cell's draws are its own, so one cell measured again repeats its rows."""
    rows = committed_rows()
    assert len(rows) == len(coverage.grid()) * len(RULES)
    again = coverage.measure([CELL])
    known = {r["rule"]: r for r in rows if coverage.cell_of(r) == CELL}
    assert max(abs(float(known[r["rule"]]["coverage"]) - r["coverage"]) for r in again) <= 0.002
    several = [r for r in rows if int(r["seeds"]) > 1]
    assert coverage.narrowest_rule(several) == USED
    assert coverage.narrowest_rule([r for r in rows if int(r["seeds"]) == 1]) is None


@pytest.mark.parametrize("rows, name", [
    ([("a", 0.94, 2), ("a", 0.95, 2), ("b", 0.99, 3), ("b", 0.95, 3)], "a"),
    ([("a", 0.90, 2), ("a", 0.95, 2), ("b", 0.99, 3), ("b", 0.95, 3)], "b"), ([("a", 0.5, 2)], None)])
def test_the_narrowest_that_holds_everywhere_is_used(rows, name):
    assert coverage.narrowest_rule([{"rule": r, "coverage": c, "width": w} for r, c, w in rows]) == name
