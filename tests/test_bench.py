"""The benchmark's arithmetic, on made-up times; one real round, small."""

import json
import statistics

import pytest

from experiments.measure.bench import command as bench
from experiments.measure.bench import limits, rounds
from experiments.measure.bench.targets import targets


def row(implementation, method, ratio, size=256, batch=1, threads=2, **more):
    return {"implementation": implementation, "method": method, "size": size, "batch": batch, "threads": threads,
            "ms": 60 * ratio, "ms_low": 59 * ratio, "ms_high": 61 * ratio, "ratio_to_none": ratio, **more}


def made_up():
    steps = [row("reference", "none", 1.0), row("native", "in", 1.0), row("native", "iln", 1.02),
             row("native", "gn4", 1.2), row("reference", "in", 1.4), row("reference", "iln", 2.4),
             row("torch-eager", "iln", 1.9, layout="channels_last"),
             row("torch-eager", "iln", 1.53, layout="contiguous"), row("torch-eager", "none", 1.0, layout="contiguous"),
             row("torch-compile", "none", 1.2, layout="contiguous")]
    return {"steps": steps, "skipped": {"keras": "absent"}, "machine": {"cores": 2}}


def test_targets_are_held_against_the_right_ratios():
    target_of = {t.words: t for t in targets(made_up())}
    assert not target_of["any method, native, 256², batch 1, over none"].reached  # gn4
    assert target_of["any method, native, 256², batch 1, over none"].measured == 1.2
    assert target_of["ILN over IN, native, 256², batch 1"].reached
    assert target_of["literal ILN over ours, 256²"].measured == pytest.approx(2.4 / 1.02)
    # Of two layouts the better counts, which makes it the harder to beat.
    assert target_of["PyTorch eager ILN over ours, 256², batch 1"].measured == pytest.approx(1.5)
    assert not target_of["PyTorch eager ILN over ours, 256², batch 1"].reached
    assert target_of["plain none over PyTorch's best none, 256²"].measured == 1
    assert not any("Keras" in words or "memory" in words for words in target_of)


def test_a_skipped_peer_is_named_and_leaves_no_column():
    sheets = bench.sheets(made_up())
    assert "Skipped: keras (absent)" in sheets["steps-256-batch1"].caption
    assert sheets["steps-256-batch1"].headings == ["method", "reference", "native", "torch-eager", "torch-compile"]
    assert set(sheets) == {"targets", "steps-256-batch1"}


def test_ratios_are_to_the_plain_network_before_and_after_and_medians_of_rounds():
    ours, peer = ("native", "in"), ("keras", "in")
    measured = []
    for speed in (1, 2, 1):  # a disturbance of the second round
        asked = []

        def ms(key, speed=speed, asked=asked):
            asked.append(key)
            plain = len(asked)  # the machine slows down all the time
            return speed * plain * {rounds.PLAIN: 1, ours: 1.1, peer: 1.3}[key]

        measured.append(rounds.one_round([ours, peer, rounds.PLAIN], ms))
        assert asked[::2] == [rounds.PLAIN] * 4 and sorted(asked[1::2]) == sorted([ours, peer, rounds.PLAIN])
    rows = {(r["implementation"], r["method"]): r for r in rounds.summary(measured, 64, 1, 1)}
    for key, ratio in ((ours, 1.1), (peer, 1.3), (rounds.PLAIN, 1)):
        assert rows[key]["ratio_to_none"] == pytest.approx(ratio)
        assert rows[key]["ms"] == pytest.approx(statistics.median(this[key][0] for this in measured))


def test_the_step_s_arithmetic_is_counted_from_the_shapes():
    # By hand, for the first two layers at 16²: 2·16²·9·(1·16)·2 and 2·16²·9·(16·16)·3.
    first, second = 2 * 256 * 9 * 16 * 2, 2 * 256 * 9 * 256 * 3
    assert limits.step_flop(16) > first + second
    assert limits.step_flop(256) == 256 * limits.step_flop(16) and abs(limits.step_flop(256) - 19.08e9) < 0.01e9


@pytest.mark.slow
def test_one_real_round():
    said = []
    rows, skipped = rounds.measure(32, 1, 1, {"ours": ["none", "iln"], "torch": ["none"]}, 2, said.append)
    keys = {(r["implementation"], r["method"]) for r in rows}
    assert {("reference", "none"), ("reference", "iln"), ("tensorflow", "iln")} <= keys
    assert all(r["ms"] > 0 and r["ratio_to_none"] > 0 for r in rows) and "round 2 of 2" in said[-1]
    assert ("torch" in skipped) != any(i.startswith("torch") for i, _ in keys)
    json.dumps(rows)
