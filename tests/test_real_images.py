"""Checks on real images, which the project does not hold: skipped where they are not at hand.

$ILNREPRO_TEST_DATA names a folder with `sunnybrook_lv_805.npz`, all labelled images, and `acdc`, the release.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import tiny

from data_prep.sunnybrook import GROUP
from ilnrepro.ops.metrics import dice, overlap
from ilnrepro.storage import dataset, runfile
from ilnrepro.use import images as readers
from ilnrepro.use.prediction import masks_of
from ilnrepro.use.segmenter import in_batches, load

pytestmark = pytest.mark.slow
COMMITTED = sorted((tiny.ROOT / "results" / "sunnybrook-lite" / "runs").glob("*/*/*/*.h5"))


def source(name):
    path = Path(os.environ.get("ILNREPRO_TEST_DATA", "nowhere")).absolute() / name
    if not path.exists():
        pytest.skip(f"real images are not at hand: $ILNREPRO_TEST_DATA names no folder with {name}")
    return path


def test_the_805_images_made_again_are_the_data_of_the_committed_runs(tmp_path):
    path = tmp_path / "sunnybrook-lv.h5"
    done = tiny.command("data_prep", "sunnybrook", "--source", source("sunnybrook_lv_805.npz"), "--output", path)
    assert done.returncode == 0, done.stderr
    data = dataset.read(path)
    data.audit, data.title, data.source = "{}", "described otherwise", "from elsewhere"
    dataset.write(tmp_path / "other.h5", data)
    assert len(COMMITTED) >= 213
    for file in (path, tmp_path / "other.h5"):
        again = dataset.read(file)
        assert again.checksum == runfile.read(COMMITTED[0]).configuration.dataset_checksum
        assert again.fold.tolist() == [GROUP[name] for name in again.subject.tolist()]
    for file in COMMITTED[::20]:
        run = runfile.read(file)
        tested = np.flatnonzero(again.fold == run.configuration.fold)
        if run.test:
            assert run.test["index"].tolist() == tested.tolist()
            assert run.test["name"].tolist() == again.name[tested].tolist()
    again.masks[0, 0, 0] ^= 1
    dataset.write(tmp_path / "changed.h5", again)
    assert dataset.read(tmp_path / "changed.h5").checksum != again.checksum


@pytest.mark.parametrize("further", [[], ["--spacing", 1.6]], ids=["cropped", "resampled"])
def test_acdc_volumes_are_segmented_as_the_run_s_own_slices(tmp_path, further, capsys):
    """In the run's own grid; then, mapped back, against the truth of the volumes' own grids."""
    release = source("acdc")
    (tmp_path / "acdc").mkdir()
    for patient in sorted(release.glob("patient*"))[::8]:
        (tmp_path / "acdc" / patient.name).symlink_to(patient)
    data, results = tmp_path / "acdc-rv.h5", tmp_path / "results"
    for words in (["data_prep", "acdc", "--source", tmp_path / "acdc", "--structure", "rv", *further, "--output", data],
                  ["ilnrepro", "run", "--data", data, "--results", results, "--protocol", "lite", "--method", "iln",
                   "--fold", 1, "--rate", 0.1, "--steps-per-epoch", 500, "--keep-weights"]):
        done = tiny.command(*words)
        assert done.returncode == 0, done.stderr
    agreement, grid, enlarged, own = compare(next(results.glob("runs/*/*/*/*.h5")), release)
    with capsys.disabled():
        print(f"\nACDC {' '.join(map(str, further))}: agreement {agreement.min():.5f} at least; mean Dice in the run's "
              f"grid {grid[0].mean():.4f} (the run's own test {grid[1].mean():.4f}), in the volumes' own grid "
              f"{own.mean():.4f} (the run's own masks enlarged {enlarged.mean():.4f})")
    assert agreement.min() >= 0.999
    assert abs(grid[0].mean() - grid[1].mean()) < 0.001 and abs(own.mean() - enlarged.mean()) < 0.001


def compare(path, release):
    """Of each test slice: the pixels that agree in the run's grid; Dice there, of `predict` and of the run; Dice in the
    volume's own grid, of the run's masks enlarged and of `predict`."""
    run, model = runfile.read(path), load(path)
    shrink, preparation = run.configuration.protocol.shrink, model.preparation
    frames = {}
    for i, name in enumerate(run.test["name"]):
        frame, _, number = name.rpartition("_slice")
        frames.setdefault(frame, []).append((int(number) - 1, i))
    agreement, grid, enlarged, own = [], [], [], []
    for frame, slices in frames.items():
        file = next(release.rglob(f"{frame}.nii.gz"))
        picture, truth = readers.read(file), readers.read(file.with_name(f"{frame}_gt.nii.gz")).values
        values = readers.grey(picture.values, file)
        inside = in_batches(model, [preparation.image(one, picture.spacing) for one in values])[:, ::shrink, ::shrink]
        back = masks_of(model, values, [picture.spacing] * len(values), file)
        for k, i in slices:
            agreement.append((inside[k] == run.masks[i]).mean())
            whole = truth[k] == 1
            small = preparation.mask(whole.astype(np.uint8), picture.spacing)
            small = small.reshape(small.shape[0] // shrink, shrink, -1, shrink).mean((1, 3)) >= 0.5
            large = preparation.back(run.masks[i].repeat(shrink, 0).repeat(shrink, 1), whole.shape, picture.spacing)
            pairs = ((small, inside[k]), (small, run.masks[i]), (whole, large), (whole, back[k]))
            scores = [float(dice(*overlap(a[None], b[None]))[0]) for a, b in pairs]
            grid.append(scores[:2])
            enlarged.append(scores[2])
            own.append(scores[3])
    return np.array(agreement), np.array(grid).T, np.array(enlarged), np.array(own)
