"""The benchmark's arithmetic, on made-up times; one real round, small."""

import json
import statistics
from types import SimpleNamespace

import pytest

from experiments.measure import clock
from experiments.measure.bench import convolutions, limits, parity, rounds
from experiments.measure.bench.sheets import sheets
from experiments.measure.bench.targets import share, targets


def row(implementation, method, ratio, size=256, batch=1, threads=2, **more):
    return {"implementation": implementation, "method": method, "size": size, "batch": batch, "threads": threads,
            "ms": 60 * ratio, "ms_low": 59 * ratio, "ms_high": 61 * ratio, "ratio_to_none": ratio, **more}


def made_up():
    steps = [row("reference", "none", 1.0), row("native", "in", 1.0), row("native", "iln", 1.02),
             row("native", "gn4", 1.2), row("reference", "in", 1.4), row("reference", "iln", 2.4),
             row("installed", "none", 2.04), row("product", "numpy", 1.2), row("product", "tensorflow", 1.02),
             row("torch-eager", "iln", 1.9, layout="channels_last"),
             row("torch-eager", "iln", 1.53, layout="contiguous"), row("torch-eager", "none", 1.0, layout="contiguous"),
             row("torch-compile", "none", 1.2, layout="contiguous"), row("keras", "iln", 3.0)]
    methods = [row("native", method, ratio, size, threads=threads)
               for size, threads in ((256, 1), (256, 2), (128, 1), (64, 2))
               for method, ratio in (("none", 1.3), ("in", 1.02), ("iln", 1.04 if size == 64 else 1.01))]
    memory = [{"network": "paper", "size": 256, "batch": 8, "implementation": i, "method": m, "mib": mib}
              for i, m, mib in (("reference", "none", 1000), ("native", "iln", 800))]
    use = [row(way, method, ratio) for way, method, ratio in (("exported", "none", 1.0), ("exported", "iln", 1.5),
                                                              ("predict", "none", 0.5), ("predict", "iln", 0.51))]
    return {"steps": steps, "methods": methods, "use": use, "skipped": {"keras-onednn": "absent"}, "memory": memory,
            "kernels_gb_per_s": {"copy": 10.0}, "machine": {"processor": "x86_64, AVX2", "cores": 2}}


def test_targets_are_held_against_the_right_ratios():
    target_of = {t.description: t for t in targets(made_up())}
    installed = target_of["plain tf.nn none as installed over our ILN, 256², batch 1"]
    assert installed.measured == pytest.approx(2) and installed.bound == 2.5 and not installed.reached
    assert target_of["best of PyTorch and Keras, none, over our ILN, 256², batch 1"].measured == pytest.approx(1 / 1.02)
    # Of two layouts the better counts, which makes it the harder to beat.
    assert target_of["best peer's ILN over ours, 256², batch 1"].measured == pytest.approx(1.5)
    of_methods = target_of["any method over our none, 256² and 128², 1 and 2 threads"]
    assert of_methods.measured == 1.02 and of_methods.reached
    assert target_of["any method over our none, 64², 1 and 2 threads"].measured == 1.04
    product = 2 * 2048**3 / 1.02
    assert target_of["the step's share of the product's rate (ILN, 256², batch 1)"].measured == pytest.approx(
        limits.step_flop(256) / 1.02 / product)
    assert target_of["peak memory of the step, ILN over plain none, 256², batch 8"].measured == 0.8
    minutes = target_of["200 iterations of IN and ILN, both forms, minutes"].measured
    assert minutes == pytest.approx(200 * 60 * (1 + 1.02 + 1.4 + 2.4) / 60000)
    assert not target_of["exported ILN over exported none, 256²"].reached
    assert target_of["predicting with ILN over with none, native, 256²"].measured == pytest.approx(1.02)
    assert not any("3-D" in words for words in target_of)
    wide = made_up() | {"machine": {"processor": "x86_64, AVX-512"}}
    assert targets(wide)[0].bound == 1.2 and targets(wide)[0].reached


def test_the_share_counts_each_image_of_a_batch_by_the_rate_of_its_own_rounds():
    batches = [row("native", "iln", 0.5, batch=8), row("product", "numpy", 0.1, batch=8)]
    results = made_up() | {"steps": made_up()["steps"] + batches}
    product = 2 * 2048**3 / 0.1
    assert share(results, batch=8) == pytest.approx(8 * limits.step_flop(256) / 0.5 / product)
    assert share(made_up(), batch=8) is None


def test_a_skipped_peer_is_named_and_leaves_no_column():
    found = sheets(made_up())
    assert "Skipped: keras-onednn (absent)" in found["steps-256-batch1"].caption
    assert found["steps-256-batch1"].headings == ["method", "installed", "reference", "native", "torch-eager",
                                                  "torch-compile", "keras"]
    assert [line[0] for line in found["steps-256-batch1"].body] == ["none", "in", "gn4", "iln"]
    assert found["methods"].headings[1:] == ["256², 1 thread(s)", "256², 2 thread(s)", "128², 1 thread(s)",
                                             "64², 2 thread(s)"]
    assert [line[-1] for line in found["use"].body] == ["1.00", "1.50", "1.00", "1.02"]
    assert set(found) == {"targets", "steps-256-batch1", "methods", "use", "limits"}


def test_convolutions_are_held_against_the_better_and_the_product():
    found = {"threads": 1, "rounds": 2, "instruction_set": "AVX2", "product_gflop_per_s": 40.0,
             "rows": [{"shape": "8×8, 1 to 1", "pass": "forward", "gflop": 10.0,
                       "seconds": {"TensorFlow": 1.0, "oneDNN": 2.0, "native": 0.5}}]}
    assert convolutions.sheet(found, "here").body == [
        ["8×8, 1 to 1", "forward", "10.0", "5.0", "20.0", "2.00", "0.50"]]


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


@pytest.mark.parametrize("flags, kind", [("fpu avx2 avx512f", "avx512"), ("fpu avx2", "avx2"), ("fpu avx", "x86_64")])
def test_results_lie_by_the_kind_of_processor(monkeypatch, flags, kind):
    monkeypatch.setattr(clock.Path, "exists", lambda _: True)
    monkeypatch.setattr(clock.Path, "read_text", lambda *_, **__: f"flags\t: {flags}\n")
    monkeypatch.setattr(clock.platform, "machine", lambda: "x86_64")
    assert clock.processor() == kind


def test_a_peer_that_is_another_network_is_not_timed(monkeypatch):
    def answered(difference):
        monkeypatch.setattr(parity.subprocess, "run", lambda *_, **__: SimpleNamespace(
            stdout=f'a warning\n{json.dumps({"none": 1e-12, "iln": difference})}\n'))
        return parity.refusal("keras_peer", ["none", "iln"])

    assert answered(1e-12) is None
    assert "its iln is another network" in answered(1e-3) and "its iln" in answered(float("nan"))


def test_tensorflow_is_measured_as_installed_whatever_this_process_was_set_to(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    assert "TF_ENABLE_ONEDNN_OPTS" not in rounds.environment(2, None)
    assert rounds.environment(2)["TF_ENABLE_ONEDNN_OPTS"] == "1" and rounds.environment(2)["OMP_NUM_THREADS"] == "2"


@pytest.mark.slow
def test_one_real_round():
    said = []
    rows, skipped = rounds.measure(32, 1, 1, {"ours": ["none", "iln"], "torch": ["none"]}, 2, said.append)
    keys = {(r["implementation"], r["method"]) for r in rows}
    assert {("reference", "none"), ("reference", "iln"), ("tensorflow", "iln")} <= keys
    assert all(r["ms"] > 0 and r["ratio_to_none"] > 0 for r in rows) and "round 2 of 2" in said[-1]
    assert ("torch" in skipped) != any(i.startswith("torch") for i, _ in keys)
    json.dumps(rows)
