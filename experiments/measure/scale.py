"""The command `python -m experiments scale`: the time of checkpoints, the grid's driver, Ray, and a full `paper` grid.

Nothing else should run on the machine. It takes about half an hour on two cores; --steps and --size make it shorter.
"""

import heapq
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.measure.clock import machine
from ilnrepro.comparison import executors, grid, planning
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.errors import InputError
from ilnrepro.protocols import protocol
from ilnrepro.storage import checkpoint, dataset, files
from ilnrepro.training import loop, process
from ilnrepro.training.step import Training

MACHINES = (1, 8, 64)
_IDLE = 1.1  # where a grid takes more than so many times its lower bound, workers wait without a run left to do


def add(commands, methods, rates):
    """Adds the command to the subparsers `commands`.

    Args:
      methods, rates: of the full grid.
    """
    parser = commands.add_parser("scale", help="measure what checkpoints, the grid and Ray cost (half an hour)")
    parser.add_argument("--output", type=Path, default=Path("build/scale.json"))
    parser.add_argument("--size", type=int, default=256, help="pixels a side of the phantoms")
    parser.add_argument("--steps", type=int, default=1500, help="of an epoch of the runs that compare executors")
    parser.add_argument("--rounds", type=int, default=5, help="number of measurements of which a median is taken")
    parser.set_defaults(act=lambda arguments: scale(arguments, methods, rates))


def scale(arguments, methods, rates):
    """Measures all parts, and writes the numbers and the tables; returns the exit status."""
    console = Console(stderr=True)
    cores = os.cpu_count()
    with tempfile.TemporaryDirectory() as folder, console.status("scale: phantoms") as status:
        from data_prep.phantom import phantom

        data = {}
        for structure in ("LV", "RV"):
            data[structure] = Path(folder) / f"phantom-{structure.lower()}.h5"
            dataset.write(data[structure], phantom(structure, arguments.size))

        def timed(text, measure):
            status.update(f"scale: {text}")
            began = time.monotonic()
            value = measure()
            console.log(f"{text}: {time.monotonic() - began:.0f} s")
            return value

        results = {"machine": machine(), "size": arguments.size, "workers": cores}
        results["start"] = timed("start of a process", lambda: _start(arguments.rounds))
        results["methods"] = timed("steps of all methods", lambda: {
            name: _run_of(name, data["LV"], results["start"], cores) for name in methods})
        results["driver"] = timed("the driver", lambda: _driver(data["LV"], 40 * arguments.rounds))
        results["executors"] = timed("local and Ray", lambda: _executors(arguments.size, arguments.steps, cores))
        results["checkpoint"] = timed("checkpoints", lambda: _checkpoint(data["LV"], arguments.rounds))
        results["grid"] = _grid(results, list(data.values()), methods, rates)
    files.write_json(arguments.output, results)
    files.write(arguments.output.with_suffix(".md"), "\n".join(sheet.markdown() for sheet in sheets(results)))
    out = Console(width=max(160, Console().width))
    for sheet in sheets(results):
        out.print(sheet.rich())
    print(f"scale: {arguments.output} (tables: {arguments.output.with_suffix('.md')})")
    return 0


def _start(rounds):
    """The time that Python takes to start and to import TensorFlow and this package, seconds."""
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import tensorflow, ilnrepro.training.loop"], check=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])  # the first reads files that are not yet in memory


def _run_of(method, data, start, workers):
    """Seconds of the parts of a `paper` run, measured on as many runs side by side as there are workers.

    Returns:
      a dictionary of 'trace' (building and tracing the network), 'step', and 'end' (test, scores, run file).
    """
    with tempfile.TemporaryDirectory() as folder:
        (job, *_) = planning.plan([data], [method], protocol("paper", epochs=1, steps_per_epoch=150), [0.05], [0], [1])
        running = []
        for k in range(workers):
            command = [*job.command, "--results", f"{folder}/{k}", "--progress", "lines"]
            # The shell reads the clock as each line comes, because this process reads the lines of one run at a time.
            stamped = f"date +%s.%N; {{ {shlex.join(command)}; }} | while read -r line; do date +%s.%N; done"
            running.append(subprocess.Popen(["sh", "-c", stamped], stdout=subprocess.PIPE, encoding="utf-8"))
        parts = [_parts([float(stamp) for stamp in process.communicate()[0].split()], start, job.configuration.protocol)
                 for process in running]
    return {key: statistics.mean(part[key] for part in parts) for key in parts[0]}


def _parts(stamps, start, settings):
    began, *blocks, ended = stamps
    step = statistics.median(np.diff(blocks)) / settings.block
    return {"trace": blocks[0] - began - start - step * settings.block, "step": step, "end": ended - blocks[-1]}


def _driver(data, count):
    """Seconds that the grid's driver takes for one run, measured with processes that do nothing in place of runs."""

    class EmptyJob(planning.Job):
        command = ("true",)

    jobs = [EmptyJob(job.configuration, job.data, 0) for job in
            planning.plan([data], ["in"], protocol("paper"), [0.1], list(range(count)), [1])]
    began = time.perf_counter()
    for _ in executors.local(jobs, Path("."), 1, [], lambda steps: None):
        pass
    return (time.perf_counter() - began) / count


def _executors(size, steps, workers):
    """The time of the same runs with one worker ('one'), with all ('all'), and with Ray ('ray'), seconds.

    'ray' is None where Ray is not installed.
    """
    from data_prep.phantom import phantom

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "phantom-lv.h5"
        dataset.write(data, phantom("LV", min(size, 64), 9, crop=0.67))
        jobs = planning.plan([data], ["iln"], protocol("quick", steps_per_epoch=steps), [0.3], range(2 * workers), [1])
        seconds = {"runs": len(jobs), "steps": jobs[0].steps}
        for key, executor, at_once in (("one", "local", 1), ("all", "local", workers), ("ray", "ray", workers)):
            try:
                if executor == "ray":
                    began = time.perf_counter()
                    import ray

                    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
                    seconds["ray_start"] = time.perf_counter() - began
            except ImportError:
                seconds[key] = None
                continue
            began = time.perf_counter()
            failed = grid.run(jobs, Path(folder) / key, executor, at_once)
            if failed:
                raise InputError(f"{executor}: {failed[0][1]}")
            seconds[key] = time.perf_counter() - began
    return seconds


def _checkpoint(data, rounds):
    """The time of saving a checkpoint, seconds, and its share of a run's time at the usual interval between two."""
    (job, *_) = planning.plan([data], ["iln"], protocol("paper"), [0.05], [0], [1])
    process.set_up(job.configuration)
    training = Training(job.configuration)
    curve = np.zeros(job.steps, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for step in range(rounds):
            began = time.perf_counter()
            checkpoint.save(Path(folder) / "run.h5", job.configuration, step, {"loss": curve} | training.state(), 0.0)
            seconds.append(time.perf_counter() - began)
    return {"seconds": statistics.median(seconds), "every": loop.CHECKPOINT_SECONDS,
            "share": statistics.median(seconds) / loop.CHECKPOINT_SECONDS}


def _grid(measured, data, methods, rates):
    """The hours of the whole `paper` grid on MACHINES machines like this one, computed from the parts of a run."""
    jobs = planning.plan(data, methods, protocol("paper"), rates, [0])

    def seconds(job):
        parts = measured["methods"][job.configuration.method]
        return (measured["start"] + parts["trace"] + parts["end"]
                + job.steps * parts["step"] * (1 + measured["checkpoint"]["share"]))

    durations = [seconds(job) for job in jobs]
    rows = []
    for machines in MACHINES:
        workers = machines * measured["workers"]
        bounds = {"arithmetic": sum(durations) / workers, "the longest run": max(durations),
                  "the driver": len(jobs) * measured["driver"]}
        total = schedule(durations, workers)
        limit = max(bounds, key=bounds.get)
        if total > _IDLE * bounds[limit]:
            limit = f"{limit}, and workers that wait for the last runs"
        rows.append({"machines": machines, "workers": workers, "hours": total / 3600, "bottleneck": limit,
                     "busy": sum(durations) / workers / total,
                     **{f"bound: {key}": value / 3600 for key, value in bounds.items()}})
    return {"runs": len(jobs), "hours_of_one_worker": sum(durations) / 3600, "rows": rows}


def schedule(durations, workers):
    """The time at which the last run ends if each run in turn goes to the first worker that is free.

    Args:
      durations: of the runs, seconds.
      workers: their number.
    """
    free = [0.0] * workers
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def sheets(results):
    """The tables of a measurement."""
    machine_text = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    yield _costs(results, machine_text)
    body = [[str(row["machines"]), str(row["workers"]), f"{row['hours']:.1f}", f"{row['busy']:.0%}", row["bottleneck"]]
            for row in results["grid"]["rows"]]
    yield Sheet("A full grid", f"The `paper` grid, {results['grid']['runs']} runs on phantoms of {results['size']}² "
                f"(SYNTHETIC), on machines like this one: computed from the measured seconds of a process start, of "
                f"tracing, of each method's step and of the test, {results['workers']} runs side by side a machine. "
                f"One worker alone would take {results['grid']['hours_of_one_worker']:.0f} hours. {machine_text}.",
                ["machines", "workers", "hours", "workers busy", "bottleneck"], body)


def _costs(results, machine_text):
    methods, runs, saved = results["methods"], results["executors"], results["checkpoint"]
    whole = results["grid"]["hours_of_one_worker"] * 3600 / results["grid"]["runs"]
    trace, end = (statistics.mean(parts[key] for parts in methods.values()) for key in ("trace", "end"))
    body = [["a checkpoint", f"{saved['seconds']:.2f} s", f"{saved['share']:.2%} at one every {saved['every']} s"],
            ["start of a process", f"{results['start']:.1f} s", f"{results['start'] / whole:.2%} of a mean run"],
            ["building and tracing", f"{trace:.1f} s", f"{trace / whole:.2%} of a mean run"],
            ["test, scores, run file", f"{end:.1f} s", f"{end / whole:.2%} of a mean run"],
            ["the driver, a run", f"{1000 * results['driver']:.0f} ms",
             f"{results['driver'] / whole:.2%} of a mean run"],
            [f"{runs['runs']} runs of {runs['steps']} steps, one worker", f"{runs['one']:.0f} s", ""],
            [f"the same, {results['workers']} workers", f"{runs['all']:.0f} s",
             f"{runs['one'] / runs['all']:.2f} times as fast"]]
    if runs["ray"] is not None:
        body.append([f"the same, Ray with {results['workers']} workers", f"{runs['ray']:.0f} s",
                     f"{runs['ray'] / runs['all'] - 1:+.1%}; starting Ray took {runs['ray_start']:.1f} s more"])
    for name, parts in methods.items():
        body.append([f"a step of {name}, {results['size']}²", f"{1000 * parts['step']:.1f} ms", ""])
    return Sheet("What runs cost beside their arithmetic", "What runs cost beside their arithmetic: medians, the parts "
                 f"of a run with {results['workers']} side by side and one thread each. {machine_text}.",
                 ["what", "measured", "which is"], body)
