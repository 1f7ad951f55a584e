"""Results folders on disks that are full, read-only, or gone."""

import contextlib
import shutil
import signal
import subprocess
import time

from .trial import finish, identity, same, start_grid

SECONDS = 90  # that all of it takes, about


def fill_disks(bench):
    """Results folders that are full, read-only or gone. The commands must name them, lose nothing, and end with a
    status not 0."""
    _vanished(bench)
    folder = bench.folder / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=25m", "tmpfs", str(folder)], capture_output=True).returncode:
        bench.tally.skipped.append("full and read-only file systems: mounting one needs root")
        return
    try:
        _full(bench, folder)
        _read_only(bench, folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _named(bench, story, code, said, word):
    bench.tally.disk.append(story)
    if code in (0, -signal.SIGSEGV) or word not in said or "Traceback" in said:
        bench.tally.faults["unnoticed"].append(f"{story}: status {code}: {said.strip()[-300:]}")


def _full(bench, folder):
    """Fills the disk while checkpoints are written, then while run files are; the runs must go on when there is
    space again."""
    job, results = bench.jobs[0], folder / "results"
    done = finish(job, results)  # a checkpoint takes 17 MB, and two do not fit
    _named(bench, "disk full at a checkpoint", done.returncode, done.stderr, "free space")
    subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
    if finish(job, results).returncode:
        bench.tally.faults["lost"].append("disk full at a checkpoint: its command failed")
    bench.judge(job, results, "disk full at a checkpoint")
    kept = identity(results / job.configuration.path)
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    process = start_grid(bench, results)
    said = process.communicate()[1]
    jobs = len(bench.jobs)
    _named(bench, "disk full at run files of a grid", process.returncode, said, f"{jobs - 1} of {jobs} runs failed")
    (folder / "filler").unlink()
    process = start_grid(bench, results)
    process.communicate()
    if process.returncode:
        bench.tally.faults["lost"].append("disk full at run files of a grid: with space again it failed")
    same(bench, results / job.configuration.path, kept, "disk full")
    for each in bench.jobs:
        bench.judge(each, results, "disk full at run files of a grid")
    bench.leftovers(results, "disk full")


def _read_only(bench, folder):
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    shown = bench.folder / "another" / bench.data.name
    for story, process in (("read-only results folder, run", subprocess.Popen(
            [*bench.jobs[0].command, "--results", str(folder / "new")], stderr=subprocess.PIPE, encoding="utf-8")),
            ("read-only results folder, grid", start_grid(bench, folder / "new", shown if shown.exists() else None))):
        said = process.communicate()[1]
        _named(bench, story, process.returncode, said, "cannot be written")


def _vanished(bench):
    """Removes the results folder during a grid, and brings it back after it."""
    story, results = "vanished results folder", bench.folder / "vanishing"
    away = results.with_suffix(".away")
    process = start_grid(bench, results)
    while process.poll() is None and not list(results.glob("runs/*/*/*/*.h5")):
        time.sleep(0.1)
    finished = {path.relative_to(results): identity(path) for path in results.glob("runs/*/*/*/*.h5")}
    results.rename(away)
    said = process.communicate()[1]
    _named(bench, story, process.returncode, said, "its run file is gone")
    shutil.rmtree(results, ignore_errors=True)
    away.rename(results)
    process = start_grid(bench, results)
    process.communicate()
    if process.returncode:
        bench.tally.faults["lost"].append(f"{story}: back again, its grid failed")
    for relative, before in finished.items():
        same(bench, results / relative, before, story)
    for job in bench.jobs:
        bench.judge(job, results, story)
    bench.leftovers(results, story)
    shutil.rmtree(results)
