"""A network for the package: its method by the runs at hand, trained on all subjects, its card from data."""

import re
from unittest import mock

import h5py
import numpy as np
import pytest
import tiny

from experiments.runs.card import with_interval
from ilnrepro import console
from ilnrepro.ops.metrics import dice, overlap
from ilnrepro.storage import dataset, ensemble, runfile
from ilnrepro.use import prediction, segmenter

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("uncompiled")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Discs, runs of two methods at two rates on each fold, ILN's scores made better, and what `packaged` wrote."""
    folder = tmp_path_factory.mktemp("packaged")
    data = tiny.discs(folder)
    for method in ("in", "iln"):
        for rate in (0.3, 0.1):
            for fold in (1, 2, 3):
                done = tiny.command("ilnrepro", "run", "--data", data, "--results", folder, "--protocol", "tiny",
                                    "--method", method, "--fold", fold, "--rate", rate)
                assert done.returncode == 0, done.stderr
    for path in sorted(folder.glob("runs/*/*/*/*.h5")):
        run = runfile.read(path)
        truth, at = run.test["truth_pixels"], 1 if run.configuration.rate == 0.1 else 0
        share = {("in", 0): .6, ("in", 1): .5, ("iln", 0): .7, ("iln", 1): .8}[run.configuration.method, at]
        share = np.where(np.arange(len(truth)) == 0, 0, share)  # of each fold one image is missed
        run.test |= {"predicted_pixels": np.where(share > 0, truth, 0), "common_pixels": (share * truth).astype(int)}
        runfile.write(path, run)
    done = make(folder, "--elsewhere", data)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


def make(folder, *further):
    def call(words):
        done = tiny.command(*words[2:])
        print(done.stderr)
        return done.returncode

    with mock.patch.object(console, "call", call):
        return tiny.command("experiments", "packaged", "--data", folder / "discs.h5", "--results", folder, "--work",
                            folder / "work", "--output", folder / "trained", *further)


def test_method_and_rate_are_the_evidence_s_and_three_networks_train_on_all_subjects(folder):
    runs = ensemble.read(folder / "trained" / "discs.h5")
    assert [(c.method, c.rate, c.fold, c.seed) for c in (run.configuration for run in runs)] == [
        ("iln", 0.1, 0, seed) for seed in range(3)]
    for run in runs:
        assert (run.configuration.protocol.zoom, run.configuration.protocol.gamma) == (1.4, 1.5)
        assert run.preparation.spacing == run.preparation.assumed == 1.3 and "cross-validation" in run.expected["text"]
    with h5py.File(folder / "trained" / "discs.h5") as file:
        stored = []
        file["networks/1/weights"].visititems(
            lambda _, item: stored.append(item.dtype) if isinstance(item, h5py.Dataset) else None)
        assert set(stored) == {np.dtype(np.float16)}
    weights = [run.weights for run in runs]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])


def test_the_card_s_numbers_are_those_of_the_runs(folder):
    card = (folder / "trained" / "discs.md").read_text(encoding="utf-8")
    flat = " ".join(card.split())
    data = dataset.read(folder / "discs.h5")
    scores = np.concatenate([runfile.read(path).dice for path in sorted(folder.glob("runs/*/*/iln/*-lr0.1-*.h5"))])
    assert len(scores) == 24 and f"{scores.mean():.3f}±{scores.std():.3f} over 24 images" in flat
    assert "iln, protocol tiny, learning rate 0.1" in flat and "(0.1 on fold 1, 0.1 on fold 2, 0.1 on fold 3)" in flat
    assert "On 12.5 % of the images Dice is below 0.5; on 12.5 % of those" in flat
    areas = np.concatenate([data.masks[data.fold == k].sum((1, 2)) for k in (1, 2, 3)])
    limits = np.quantile(areas, [1 / 3, 2 / 3])
    small = scores[areas <= limits[0]]
    assert f"| small, up to {limits[0]:.0f} pixels | {small.mean():.3f}±{small.std():.3f} |" in card
    masks = prediction.masks_of(segmenter.load(folder / "trained" / "discs.h5"), data.images, [None] * 24, "")
    found = dice(*overlap(data.masks, masks))
    assert f"{found.mean():.3f}±{found.std():.3f} over images" in flat and "1.3 mm is assumed" in flat
    assert re.search(r"\| iln \| 0\.\d{3} \| 0\.1 \| 6 \|", card) and "nan" not in card  # one subject a fold
    assert with_interval(0.5, 0.25, 0.75) == "0.500 [0.250, 0.750]"


def test_it_goes_on_where_it_was_and_nothing_is_trained_twice(folder):
    dates = {p.name: runfile.read(p).provenance["date"] for p in (folder / "work").glob("*.h5")}
    assert len(dates) == 3
    before = tiny.content(folder / "trained" / "discs.h5")
    assert make(folder).returncode == 0
    assert {p.name: runfile.read(p).provenance["date"] for p in (folder / "work").glob("*.h5")} == dates
    assert tiny.content(folder / "trained" / "discs.h5") == before
    assert "On other scanners" not in (folder / "trained" / "discs.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("case, message", [
    ("restricted", "does not let what was made of it be passed on"), ("no runs", "no run files fit"),
    ("other data", "on another content of the data set discs"), ("another structure", "holds RV"),
    ("too large", "may be packaged; choose a smaller network"),
])
def test_bad_input(folder, tmp_path, monkeypatch, case, message):
    data = dataset.read(folder / "discs.h5")
    changed = {"restricted": {"restricted": True}, "another structure": {"structure": "RV"}}.get(case, {})
    for key, value in changed.items():
        setattr(data, key, value)
    if case == "other data":
        data.masks[0] = 0
    name = "new" if case == "no runs" else "discs"
    dataset.write(tmp_path / f"{name}.h5", data)
    further = ["--elsewhere" if case == "another structure" else "--data", tmp_path / f"{name}.h5"]
    if case == "too large":
        from experiments.runs import packaged

        monkeypatch.setattr(packaged, "LARGEST", 1e3)
        further = []
    done = make(folder, *further, "--output", tmp_path / "trained")
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list((tmp_path / "trained").glob("*")) if (tmp_path / "trained").exists() else True
