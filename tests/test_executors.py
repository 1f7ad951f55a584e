"""What a grid's driver does about runs that are killed, vanish or are many; and Ray, for real."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny

from experiments import executors, grid, scale
from ilnrepro import locking
from ilnrepro.protocols import Configuration, protocol

WELL = 'mkdir -p "$3/$(dirname "$1")"; echo steps 5 10; echo steps 10 10; : > "$3/$1"'


@dataclass(frozen=True)
class StandIn(grid.Job):
    """A job that a shell script stands in for; $1 is the run file's path in the results folder $3."""

    script: str = WELL

    @property
    def command(self):
        return ["sh", "-c", self.script, "sh", str(self.configuration.path)]


def jobs(scripts):
    return [StandIn(Configuration("d", "0", "LV", "in", 1, 0.1, seed, protocol("quick")), Path("d.h5"), 10, script)
            for seed, script in enumerate(scripts)]


def written(results):
    return sorted(path.name for path in results.glob("runs/*/*/*/*.h5"))


@pytest.mark.parametrize("script, reason", [
    ("kill -9 $$", "killed (signal 9): by hand, or because memory ran out"),
    ("kill -11 $$", "ended by signal 11"),
    ("echo error: disk full >&2; exit 2", "error: disk full"),
    (r"printf '\377\n' >&2; exit 2", "\N{REPLACEMENT CHARACTER}"),
], ids=["out of memory", "crash", "message", "no text"])
def test_a_failed_run_is_named_and_costs_no_other(tmp_path, script, reason):
    failed = grid.run(jobs([WELL, script, WELL, WELL]), tmp_path, jobs_at_once=2)
    assert [(job.configuration.seed, reason in said) for job, said in failed] == [(1, True)], failed
    assert len(written(tmp_path)) == 3


def test_a_command_that_cannot_be_started_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(executors.subprocess, "Popen", refuse)
    failed = grid.run(jobs([WELL, WELL]), tmp_path, jobs_at_once=1)
    assert len(failed) == 2 and "Cannot allocate memory" in failed[0][1]


def test_runs_whose_files_vanish_are_named(tmp_path):
    failed = grid.run(jobs([WELL, WELL + '; rm -r "$3/runs"', WELL]), tmp_path, jobs_at_once=1)
    assert sorted(job.configuration.seed for job, _ in failed) == [0, 1] and "is gone" in failed[0][1]
    assert len(written(tmp_path)) == 1


def test_hundreds_of_runs_take_no_more_memory_and_no_more_open_files(tmp_path):
    said = "head -c 100000 /dev/zero | tr '\\0' x >&2; "
    opened = []

    def advance(_):
        opened.append(len(os.listdir("/proc/self/fd")))

    def do(count):
        for _, reason in executors.local(jobs([said + WELL] * count), tmp_path, 2, [], advance):
            assert reason is None
        return len(os.listdir("/proc/self/fd")), int(Path("/proc/self/statm").read_text().split()[1])

    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc here")
    files, pages = do(50)
    more_files, more_pages = do(400)
    assert more_files == files and max(opened) <= files + 2 * 8
    assert (more_pages - pages) * os.sysconf("SC_PAGE_SIZE") < 16 << 20  # what they said is 40 MB


def test_a_run_ends_when_its_reader_is_gone():
    script = "import time; from ilnrepro import cli; cli._end_with_the_reader(); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": str(tiny.ROOT)})
    process.stdout.readline()
    began = time.monotonic()
    process.stdout.close()
    assert process.wait(timeout=60) == 1 and time.monotonic() - began < 20


def test_a_lock_file_that_its_holder_removed_bars_nobody(tmp_path, monkeypatch):
    if locking.fcntl is None:
        pytest.skip("no flock here")
    path, tries, flock = tmp_path / "x.lock", [], locking.fcntl.flock

    def removed_meanwhile(file, how):
        tries.append(file)
        if len(tries) == 1:  # between our opening the file and our locking it
            path.unlink()
        flock(file, how)

    monkeypatch.setattr(locking.fcntl, "flock", removed_meanwhile)
    with locking.locked(path, "testing"):
        assert len(tries) == 2 and path.exists()
        with pytest.raises(locking.InputError, match="another process is testing"), locking.locked(path, "testing"):
            pass
    assert not path.exists()


# Ray.


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Three short real runs and their files' content, done by the local executor."""
    folder = tmp_path_factory.mktemp("local")
    data = tiny.phantom(folder)
    planned = grid.plan([data], ["none"], protocol("quick", steps_per_epoch=3), [0.5], [0, 1, 2], [1])
    assert not grid.run(planned, folder)
    return planned, {job: tiny.content(folder / job.configuration.path) for job in planned}


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of two nodes with one CPU each, this process connected to it: (cluster, second node)."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(tiny.ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def test_a_lost_node_costs_no_run(plan, cluster, tmp_path, monkeypatch):
    import ray

    planned, content = plan
    kept, keep = [], executors._keep
    monkeypatch.setattr(executors, "_keep", lambda path, content: kept.append(path) or keep(path, content))

    def lose():
        while ray.available_resources().get("CPU", 0) > 0:
            time.sleep(0.1)
        time.sleep(1)
        cluster[0].remove_node(cluster[1], allow_graceful=False)

    losing = threading.Thread(target=lose)
    losing.start()
    assert not grid.run(planned, tmp_path, "ray")
    losing.join()
    assert len([node for node in ray.nodes() if node["Alive"]]) == 1
    assert sorted(kept) == sorted(tmp_path / job.configuration.path for job in planned)  # each once
    assert {job: tiny.content(tmp_path / job.configuration.path) for job in planned} == content


@pytest.mark.parametrize("how, status", [(signal.SIGKILL, -9), (signal.SIGINT, 130)], ids=["SIGKILL", "SIGINT"])
def test_a_killed_driver_goes_on_where_it_was(plan, tmp_path, how, status):
    pytest.importorskip("ray")
    planned, content = plan
    words = [sys.executable, "-m", "experiments", "run", "--data", str(planned[0].data), "--results", str(tmp_path),
             "--protocol", "quick", "--steps-per-epoch", "3", "--methods", "none", "--rates", "0.5", "--seeds", "0",
             "1", "2", "--folds", "1", "--executor", "ray", "--jobs", "1", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(tiny.ROOT)}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, encoding="utf-8", env=environment)
    while process.poll() is None and not written(tmp_path):
        time.sleep(0.05)
    process.send_signal(how)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == status and "Traceback" not in said, said
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/*/*.h5")}
    assert 1 <= len(before) < len(planned)
    done = subprocess.run(words, capture_output=True, encoding="utf-8", env=environment, timeout=600)
    assert done.returncode == 0 and f"{len(before)} done before" in done.stderr, done.stderr
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert {job: tiny.content(tmp_path / job.configuration.path) for job in planned} == content


def test_a_schedule_gives_each_run_to_the_first_free_worker():
    assert scale.schedule([3, 1, 1, 1], 2) == 3 and scale.schedule([1, 1, 1, 3], 2) == 4
    assert scale.schedule([2, 2], 64) == 2
