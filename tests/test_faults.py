"""The fault harness in short, what it would say of a fault, and disks that are full or read-only."""

import contextlib
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tiny
from faults import damage, kills, trial

from ilnrepro.errors import DamagedError, InputError
from ilnrepro.storage import hdf5


@pytest.mark.slow
def test_the_harness_in_short(tmp_path):
    output = tmp_path / "faults.json"
    done = tiny.process("tests.faults", "--kills", 1, "--corruptions", 60, "--seeds", 1, "--no-disks", "--output",
                        output, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["counts"] == dict.fromkeys(trial.FAULTS, 0)
    assert report["kills_by_place"] == dict.fromkeys([*kills.PLACES, kills.DRIVER, kills.WORKER], 1)
    assert report["corruptions"] == 60


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "file.h5"
    with hdf5.writing(path) as file:
        file.attrs["kind"] = "run"
        file["values"] = np.random.default_rng(0).random((50, 50))
        file.create_group("timing").attrs["training"] = 12.5
    return path


def refused(path, _):
    with contextlib.suppress(InputError), hdf5.reading(path, "run"):
        return False
    return True


@pytest.mark.parametrize("how", [name for name, does in damage.DAMAGES.items() if does])
def test_damage_is_noticed_or_changes_nothing_that_is_read(written, how):
    rng, whole, before = np.random.default_rng(1), written.read_bytes(), damage.everything(written)
    for _ in range(100):
        raw = bytearray(whole)
        damage.DAMAGES[how](raw, rng)
        written.write_bytes(raw)
        assert damage.look(refused, written, before, None) in ("noticed", "harmless")


def test_the_harness_tells_damage_that_nobody_notices(written, monkeypatch):
    before = damage.everything(written)
    with h5py.File(written, "r+") as file:
        file["values"][3, 4] += 1
    assert damage.look(refused, written, before, None) == "noticed"
    monkeypatch.setattr(hdf5, "check_bytes", lambda *_: None)
    monkeypatch.setattr(hdf5, "_check", lambda *_: None)
    assert damage.look(refused, written, before, None) == "nobody noticed"


def test_damage_that_hdf5_s_library_never_returns_from_is_noticed_before_it(written):
    raw = bytearray(written.read_bytes())
    heap = raw.index(b"GCOL")  # texts lie here, without a checksum of HDF5's own
    raw[heap:heap + 4096] = bytes(4096)
    written.write_bytes(raw)
    with pytest.raises(DamagedError, match="its bytes do not match"), hdf5.reading(written, "run"):
        pass


def test_timings_are_covered_though_the_content_s_checksum_leaves_them_out(written):
    with h5py.File(written, "r+") as file:
        file["timing"].attrs["training"] = 13.5
        assert hdf5.checksum(file) == file.attrs["checksum"]
    with pytest.raises(DamagedError, match="its bytes do not match"), hdf5.reading(written, "run"):
        pass


def test_a_file_of_before_there_was_a_seal_is_read(written):
    written.write_bytes(written.read_bytes()[512:])  # HDF5 counts from where its own part begins
    with hdf5.reading(written, "run") as file:
        assert file["values"].shape == (50, 50)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB, and a function that remounts it with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    with contextlib.suppress(OSError):
        if not subprocess.run([*mount, "size=1m", "tmpfs", folder], capture_output=True).returncode:
            yield folder, lambda options: subprocess.run([*mount, f"remount,{options}", "tmpfs", folder], check=True)
            subprocess.run(["umount", "--lazy", folder], check=True)
            return
    pytest.skip("mounting a small file system needs root")


def test_a_full_or_read_only_disk_gets_one_line_and_nothing_is_left(small_disk):
    folder, remount = small_disk
    for options in ("size=1m", "ro"):
        remount(options)
        for shape in ((1, 1 << 18), (1 << 8, 1 << 10)):  # one array that is too large, and many that are in sum
            with pytest.raises(InputError, match=r"x.h5: cannot be written \((No space|Read-only).*; free space or"), \
                    hdf5.writing(folder / "x.h5") as file:
                for i, values in enumerate(np.random.default_rng(0).random(shape)):
                    file[str(i)] = values
            assert not list(folder.iterdir())


def test_a_full_disk_under_other_files_gets_one_line():
    script = "from ilnrepro.console import command; command(lambda: open('/dev/full', 'wb', buffering=0).write(b'x'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", cwd=tiny.ROOT)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr
