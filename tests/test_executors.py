"""What a grid's driver does about runs that are killed, vanish or are many; and Ray, for real."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import stand_ins
import tiny
from stand_ins import WELL, jobs

from experiments.measure import scale
from ilnrepro.comparison import executors, grid, planning
from ilnrepro.errors import InputError
from ilnrepro.protocols import protocol
from ilnrepro.storage import dataset, locking


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
    failed = grid.run(jobs([WELL, WELL + '; rm -r "$5/runs"', WELL]), tmp_path, jobs_at_once=1)
    assert sorted(job.configuration.seed for job, _ in failed) == [0, 1] and "is gone" in failed[0][1]
    assert len(written(tmp_path)) == 1


@pytest.mark.slow
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
    script = ("import time; from ilnrepro import commands; commands.exit_when_stdout_closes(); print(flush=True); "
              "time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": str(tiny.ROOT)})
    process.stdout.readline()
    began = time.monotonic()
    process.stdout.close()
    assert process.wait(timeout=60) == 1 and time.monotonic() - began < 20


@pytest.mark.parametrize("how, called", [(signal.SIGTERM, ["called"]), (signal.SIGINT, []), (signal.SIGHUP, [])])
def test_a_stopped_driver_waits_until_its_runs_have_stopped(tmp_path, how, called):
    script = "trap 'sleep 1; echo saved >> \"$5/saved\"; exit 130' TERM; echo > \"$5/started\"; " \
        "while :; do sleep 0.1; done"
    process = subprocess.Popen([sys.executable, stand_ins.__file__, tmp_path, script, *called], stderr=subprocess.PIPE,
                               encoding="utf-8", env=tiny.environment())
    while not (tmp_path / "started").exists():
        time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(how)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "same command again" in said and "Traceback" not in said, said
    assert (tmp_path / "saved").read_text("utf-8") == "saved\n"  # by the run under way; no other was begun


def test_a_task_takes_the_python_of_its_machine(tmp_path):
    said = "import sys; print(sys.executable, file=sys.stderr); sys.exit(2)"
    command = executors._portable([sys.executable, "-c", said, "--data", "d.h5"])
    assert sys.executable not in command
    assert executors._task(command, [], "d.h5", b"", "r.h5") == (None, sys.executable)


@pytest.mark.parametrize("share", ["a", "nan", "-1"])
def test_a_share_of_a_gpu_that_is_none_is_named(monkeypatch, share):
    monkeypatch.setenv("GPUS", share)
    with pytest.raises(InputError, match="no share of a GPU"):
        executors._gpus()


@pytest.mark.parametrize("method, side, message", [("gn7", 32, "7 groups do not divide"), ("in", 26, "divisible by 4")])
def test_what_cannot_work_is_refused_before_the_first_run(tmp_path, method, side, message):
    rng, n = np.random.default_rng(0), 3
    path = tmp_path / "d.h5"
    dataset.write(path, dataset.DataSet(
        rng.integers(0, 255, (n, side, side)).astype(np.uint8), np.zeros((n, side, side), np.uint8),
        np.array(["a", "b", "c"]), np.array(["a", "b", "c"]), np.array([1, 2, 3]), "", "LV", "", "", "", True))
    with pytest.raises(InputError, match=message):
        planning.plan([path], ["in", method], protocol("tiny"), [0.1], [0])


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
def node_folder(tmp_path_factory):
    """Where a node's tasks make their folders."""
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def cluster(node_folder):
    """A Ray cluster of one node with two CPUs, this process connected to it."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tiny.ROOT))
        patch.setenv("RAY_worker_niceness", "0")  # else a machine that does other things as well starves them
        patch.setenv("RAY_TMPDIR", tempfile.gettempdir())  # of Ray's own files
        patch.setenv("TMPDIR", str(node_folder))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def carried(tmp_path):
    """A data set's file, in which Ray would not find what it holds but by carrying it."""
    path = tmp_path / "carried.h5"
    path.write_bytes(os.urandom(1000))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("script, reason", [("kill -9 $$", "killed (signal 9)"), ("kill -11 $$", "ended by signal 11"),
                                            ("echo error: disk full >&2; exit 2", "error: disk full"),
                                            ("exit 0", "No such file")])
def test_a_failed_run_on_ray_is_named_and_costs_no_other(cluster, carried, tmp_path, script, reason):
    failed = grid.run(jobs([WELL, script, WELL], carried), tmp_path, "ray")
    assert [(job.configuration.seed, reason in said) for job, said in failed] == [(1, True)], failed
    assert [path.read_bytes() for path in tmp_path.glob("runs/*/*/*/*.h5")] == 2 * [carried.read_bytes()]


@pytest.mark.slow
def test_a_lost_node_costs_no_run(cluster, carried, tmp_path, monkeypatch):
    import ray

    kept, write, started = [], executors.files.write, tmp_path / "started"
    monkeypatch.setattr(executors.files, "write", lambda path, *parts: kept.append(path) or write(path, *parts))
    planned = jobs([f'echo >> "{started}"; sleep 2; {WELL}'] * 4, carried)
    second = cluster.add_node(num_cpus=2)

    def lose():
        while not started.exists() or started.stat().st_size < 4:
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)

    losing = threading.Thread(target=lose)
    losing.start()
    assert not grid.run(planned, tmp_path, "ray")
    losing.join()
    deadline = time.monotonic() + 60
    assert started.stat().st_size == 6  # two of the four were lost, and started again
    while len([node for node in ray.nodes() if node["Alive"]]) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)  # a busy machine hears of the loss later than the runs do
    assert len([node for node in ray.nodes() if node["Alive"]]) == 1
    assert sorted(kept) == sorted(tmp_path / job.configuration.path for job in planned)  # each once
    assert all(path.read_bytes() == carried.read_bytes() for path in kept)


@pytest.mark.slow
def test_an_interrupted_grid_leaves_nothing_on_its_node(cluster, node_folder, carried, tmp_path):
    before, number = set(node_folder.iterdir()), tmp_path / "number"
    planned = jobs([f'echo $$ > "{number}"; exec sleep 600', WELL], carried)
    ended = executors.on_ray(planned, tmp_path, None, [], lambda steps: None)
    assert next(ended) == (planned[1], None)
    while not number.exists() or not number.read_text():
        time.sleep(0.05)
    assert set(node_folder.iterdir()) > before
    ended.close()  # what an interruption does
    assert set(node_folder.iterdir()) == before
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


def runs_in(folder):
    """The processes whose commands name a folder."""
    paths = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in path.read_bytes():
                paths.append(path)
    return paths


@pytest.mark.slow
def test_a_killed_driver_goes_on_where_it_was(cluster, node_folder, tmp_path):
    """Real runs: the driver is killed, then interrupted, then left alone, with a cluster of its own."""
    data, local = tiny.phantom(tmp_path), tmp_path / "local"
    words = ["--steps-per-epoch", "3", "--threads", "2"]
    planned = planning.plan([data], ["none"], protocol("quick", steps_per_epoch=3, threads=2), [0.5], [0, 1, 2], [1])
    assert not grid.run(planned, local)
    command = [sys.executable, "-m", "experiments", "run", "--data", str(data), "--results", str(tmp_path),
               "--protocol", "quick", *words, "--methods", "none", "--rates", "0.5", "--seeds", "0", "1", "2",
               "--folds", "1", "--executor", "ray", "--jobs", "1", "--quiet"]
    environment = tiny.environment()
    before = {}
    for how, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8",
                                   env=environment | {"ADDRESS": cluster.address})
        while process.poll() is None and len(written(tmp_path)) <= len(before):
            time.sleep(0.05)
        process.send_signal(how)
        said = process.communicate(timeout=600)[1]
        assert process.returncode == status and "Traceback" not in said, said
        while runs_in(node_folder):
            time.sleep(0.05)
        stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/*/*.h5")}
        assert len(before) < len(stamps) < len(planned) and stamps.items() >= before.items()
        before = stamps
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=600)
    assert done.returncode == 0 and f"{len(before)} done before" in done.stderr, done.stderr
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    for job in planned:
        assert tiny.content(tmp_path / job.configuration.path) == tiny.content(local / job.configuration.path)


def test_a_schedule_gives_each_run_to_the_first_free_worker():
    assert scale.schedule([3, 1, 1, 1], 2) == 3 and scale.schedule([1, 1, 1, 3], 2) == 4
    assert scale.schedule([2, 2], 64) == 2
