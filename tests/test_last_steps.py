"""The last steps: what is measured of runs, on a tiny phantom, and what is made of it."""

import csv

import numpy as np
import pytest
import tiny

from experiments.measure import last_steps


@pytest.mark.slow
def test_runs_are_tested_over_their_last_steps_and_with_averaged_weights(tmp_path):
    data = tiny.phantom(tmp_path)
    done = tiny.command("experiments", "last-steps", "--data", data, "--protocol", "tiny", "--methods", "none",
                        "--rates", 0.1, "--last", 10, "--every", 10, "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "tables" / "last-steps.csv").read_text(encoding="utf-8").splitlines()))
    assert [(r["seed"], r["step"]) for r in rows] == [(s, step) for s in "01" for step in ("2", "4", "averaged")]
    assert "SYNTHETIC data" in done.stdout and "| None | 2 |" in done.stdout


def test_noise_of_the_last_steps_is_told_from_what_seeds_differ_by():
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(200):
        own, noise = rng.normal(0.7, 0.01), rng.normal(0, 0.01, 8)
        rows += [{"method": "in", "fold": 1, "rate": 0.5, "seed": seed, "step": 250 * i, "dice": own + e}
                 for i, e in enumerate(noise)]
        rows.append({"method": "in", "fold": 1, "rate": 0.5, "seed": seed, "step": "averaged", "dice": own})
    (title, runs, between, within, averaged, share, *_), = last_steps.sheet(rows, "").body
    assert (title, runs) == ("IN", "200")
    assert 1.2 < float(between) < 1.7 and 0.9 < float(within) < 1.1 and 0.85 < float(averaged) < 1.15
    assert 40 < int(share.rstrip(" %")) < 62
