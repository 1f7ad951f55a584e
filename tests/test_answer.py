"""What a comparison says: no winner where there is none, the loser where there is one; and plans within a budget."""

import dataclasses
import functools
import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from experiments.measure import winners
from experiments.measure.winners import Study, records
from ilnrepro.comparison import scores, uncertainty
from ilnrepro.comparison.differences import by_method
from ilnrepro.comparison.scores import collect
from ilnrepro.errors import InputError
from ilnrepro.studies import planning
from ilnrepro.studies.answer import LEVEL, answer
from ilnrepro.studies.planning import Timing
from ilnrepro.studies.words import Findings

COMMITTED = tiny.ROOT / "results" / "sunnybrook-lite"


@pytest.mark.parametrize("study", [
    pytest.param(Study(2, fold_sd=0.02), id="two methods"),
    pytest.param(Study(3, 12), id="three on few subjects", marks=pytest.mark.slow)])
def test_of_200_studies_without_any_difference_a_winner_is_named_in_five_per_cent_at_most(study):
    named, _ = winners.count_winners(study, 200)
    assert sum(named.values()) <= 0.05 * 200, named


def test_the_method_that_is_better_is_found():
    named, _ = winners.count_winners(Study(3, 99, 3, gain=0.1), 20)
    assert named["in"] >= 12 and sum(named.values()) == named["in"]


@functools.cache
def committed(method):
    return collect(COMMITTED, "lite", methods=[method], rates=[0.5, 0.1, 0.05])


def found(*methods):
    return answer([r for method in methods for r in committed(method)])


@pytest.mark.parametrize("further", [pytest.param((), id="alone"),
                                     pytest.param(("iln",), id="beside ILN", marks=pytest.mark.slow)])
def test_bn_with_moving_averages_is_found_to_be_worse_on_45_subjects(further):
    said = found("bn", "in", *further)
    pair = said.pair("bn", "in")
    assert said.subjects == 45 and pair.better == "in" and "bn" not in said.best
    assert pair.difference == pytest.approx(-0.192, abs=0.002) and pair.low < pair.difference < pair.high < 0


@pytest.mark.slow
def test_methods_that_cannot_be_told_apart_are_said_to_be_so():
    said = found("in", "sigmoid")
    assert set(said.best) == {"in", "sigmoid"} and said.winner is None
    assert all(pair.better is None and pair.needed.power < 0.8 for pair in said.pairs)


def test_any_method_may_be_the_reference():
    said = answer(records(Study(4, 30), np.random.default_rng(0)))
    names = [s.method for s in said.standings]
    for reference in names:
        assert [p.first for p in said.against(reference)] == [m for m in names if m != reference]
    for a, b in itertools.permutations(names, 2):
        there, back = said.pair(a, b), said.pair(b, a)
        assert (there.difference, there.low, there.high) == (-back.difference, -back.high, -back.low)
        assert there.better == back.better


def test_intervals_hold_for_all_pairs_at_once():
    three = records(Study(3, 45), np.random.default_rng(0))
    table = by_method(three, "cross-fold", structure := three[0].configuration.structure)
    pool = uncertainty.pool(table, three, "cross-fold", structure, "dice")
    for pair in answer(three).pairs:
        names = pair.first, pair.second
        wanted = uncertainty.estimate(*(table[m] for m in names), pool, names).of_level(1 - (1 - LEVEL) / 3)
        assert (pair.low, pair.high) == pytest.approx(wanted, rel=1e-12)
    assert 0.95 < LEVEL < 1


def test_a_method_whose_runs_are_missing_is_named():
    every = records(Study(2, 12), np.random.default_rng(0))
    some = [r for r in every if (r.configuration.method, r.configuration.fold) != ("iln", 2)]
    with pytest.raises(InputError, match="iln: runs are missing"):
        answer(some)


def test_the_rate_for_all_subjects_is_the_best_on_the_mean_of_all_folds():
    every = records(Study(2, 45, seed_sd=0.0, fold_sd=0.0, difference_sd=0.0), np.random.default_rng(0))
    assert {s.rate for s in answer(every).standings} == {winners.RATES[0]}


TIMING = {m: Timing(0.02, 5.0, 15.0, 10**9) for m in ("in", "iln", "gn8")}


def within(hours, **further):
    return planning.fit_budget(hours, TIMING, 3, 8000, 2, 2, (0.1, 0.5, 0.05), **further)


@pytest.mark.parametrize("hours", [0.15, 0.3, 0.5, 1, 2, 4, 10])
def test_a_plan_keeps_to_its_budget_and_uses_it(hours):
    rates, seeds, steps, planned = within(hours)
    assert planned <= hours and steps % 2 == 0 and seeds >= 2 and planning.MINIMUM <= steps <= 8000
    assert steps == 8000 or planned > 0.8 * hours
    seconds = 3 * 3 * (rates + seeds - 1) * (15 + steps * 0.02 + 5) / 2
    assert planned * 3600 == pytest.approx(seconds, rel=0.1)


def test_more_hours_are_more_steps_then_seeds_then_rates():
    plans = [within(hours)[:3] for hours in (0.15, 0.5, 1, 2, 4, 10)]
    assert plans[-1] == (3, 5, 8000)
    worth = [(rates + seeds - 1) * steps for rates, seeds, steps in plans]
    assert worth == sorted(worth)


def test_a_budget_that_allows_no_run_says_what_would():
    with pytest.raises(InputError, match="takes 0.0") as refused:
        within(0.01)
    least = float(str(refused.value).partition("takes ")[2].split()[0])
    assert within(least)[2] >= planning.MINIMUM
    with pytest.raises(InputError):
        within(least - 0.02)


def test_so_many_seeds_as_are_asked_for_are_planned():
    assert within(2, given_seeds=4)[1] == 4


def test_methods_none_of_whose_runs_learned_anything_are_not_told_apart():
    every = [dataclasses.replace(r, status="collapsed", dice=0 * r.dice, measures={"dice": 0 * r.dice})
             for r in records(Study(2, 12), np.random.default_rng(0))]
    said = answer(every)
    assert said.winner is None and math.isnan(said.pairs[0].low) and said.pairs[0].needed is None
    assert [s.collapsed for s in said.standings] == [s.runs for s in said.standings]
    plan = SimpleNamespace(methods=[s.method for s in said.standings], steps=8, full=9, dataset="mine", training={})
    costs = dict.fromkeys(plan.methods, (0.1, 0))
    found = Findings(said, plan, costs, "mine.h5", Path("r"))
    assert found.verdict.startswith("No answer") and "ilnrepro train" not in "\n".join(found.lines)
    one_learned = answer([*every[1:], dataclasses.replace(every[0], status="complete")])
    found = dataclasses.replace(found, answer=one_learned)
    assert found.verdict.startswith("No winner")


def test_a_pair_without_an_interval_is_not_told_apart():
    every = [r for r in records(Study(2, 12), np.random.default_rng(0)) if r.configuration.seed == 0
             and r.configuration.rate == 0.1]
    pair = answer(every).pairs[0]
    assert math.isnan(pair.low) and pair.better is None and pair.needed is None


def test_records_are_read_from_the_files_asked_for_alone(monkeypatch):
    """A damaged run of another method, or hundreds of them, is no concern of this one's answer."""
    read = []
    records_of = scores._records
    monkeypatch.setattr(scores, "_records", lambda paths, results: read.extend(paths) or records_of(paths, results))
    record, = collect(COMMITTED, "lite", methods=["iln"], folds=[1], rates=[0.5], seeds=[0])
    assert [path.name for path in read] == ["fold1-lr0.5-seed0.h5"] and read[0].parent.name == "iln"
    assert record.configuration.method == "iln"
