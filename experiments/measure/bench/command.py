"""`python -m experiments bench`: measures everything, writes bench.json, prints tables. About 45 minutes."""

import functools
import json
import time
from pathlib import Path

from rich.console import Console

from experiments.measure.bench import end_to_end, limits, ours, rounds
from experiments.measure.bench.targets import targets
from experiments.measure.clock import machine
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.storage import files

PEER_METHODS = ["none", "in", "gn4", "iln"]
SETTINGS = ((256, 1, 2), (256, 8, 2), (128, 1, 1))  # size, batch, threads
ORDER = ("reference", "tensorflow", "native", "torch-eager", "torch-compile", "keras")
GROWTH = [(size, 1) for size in (64, 128, 256, 512)] + [(256, batch) for batch in (2, 4, 8, 16)]


def add(commands):
    """Adds the command."""
    one = commands.add_parser("bench", help="measure what each method costs, here and in other frameworks (45 minutes)")
    one.add_argument("--output", type=Path, default=Path("build/bench/bench.json"))
    one.add_argument("--rounds", type=int, default=7)
    one.add_argument("--only", choices=PARTS, nargs="*", metavar="PART", help=f"measure some parts anew, of "
                     f"{', '.join(PARTS)}")
    one.set_defaults(act=bench)


def bench(arguments):
    """Runs the benchmark; returns the exit status."""
    parts = arguments.only or PARTS
    console = Console(stderr=True)
    keep = arguments.only and arguments.output.exists()
    found = json.loads(arguments.output.read_text(encoding="utf-8")) if keep else {}
    found["machine"] = machine()
    with console.status("benchmark: nothing else should run on this machine") as status:
        for part in parts:
            new = PARTS[part](arguments.rounds, lambda text: (status.update(text), console.log(text)))
            settings = {_setting(row) for row in new.get("steps", [])}
            kept_rows = [row for row in found.get("steps", []) if _setting(row) not in settings]
            found |= new | ({"steps": kept_rows + new["steps"]} if settings else {})
            files.write_json(arguments.output, found)
    out = Console(width=max(160, Console().width))
    tables = arguments.output.parent / "tables"
    for name, table in sheets(found).items():
        out.print(table.rich())
        files.write(tables / f"{name}.md", table.markdown())
    print(f"benchmark: {arguments.output} (tables: {tables})")
    return 0


def _setting(row):
    return row["size"], row["batch"], row["threads"]


def _steps(setting, count, say):
    # A round of batch 1 takes half as long, and its short steps scatter more.
    rows, skipped = rounds.measure(*setting, {"ours": ours.methods(), "torch": PEER_METHODS, "keras": PEER_METHODS},
                                   2 * count if setting[1] == 1 else count, say)
    return {"steps": rows, "skipped": skipped}


def _limits(count, say):
    say("limits: matrix product, kernels, memory")
    ours.set_threads(2)
    rate, kernels = limits.matrix_product_rate(), limits.kernel_rates()
    step = ours.steps(256, 1, ["iln"], ["native"])["native", "iln"]
    times = []
    for _ in range(count):
        started = time.perf_counter()
        step(5)
        times.append((time.perf_counter() - started) / 5)
    again = limits.matrix_product_rate()
    flop, best = limits.step_flop(256), max(rate, again)
    memory = {form: limits.peak_memory("iln", form) for form in ("fused", "reference")}
    return {"limits": {"step_gflop": flop / 1e9, "step_gflop_per_s": flop / sorted(times)[len(times) // 2] / 1e9,
                       "matrix_product_gflop_per_s": best / 1e9,
                       "share": flop / sorted(times)[len(times) // 2] / best, "kernels_gb_per_s": kernels},
            "memory": {"size": 256, "batch": 8, "mib": memory, "ratio": memory["fused"] / memory["reference"]}}


def _growth(count, say):
    rows = []
    for size, batch in GROWTH:
        new, _ = rounds.measure(size, batch, 2, {"ours": ["none", "in", "iln"]}, max(3, count // 2), say)
        rows += [row for row in new if (row["implementation"], row["method"]) in
                 (("reference", "none"), ("native", "none"), ("native", "in"), ("native", "iln"))]
    return {"growth": rows}


def _end_to_end(count, say):
    say("end to end: training from a file, against the bare step; two runs side by side")
    return {"end_to_end": [end_to_end.measure(size, rounds=count) for size in (128, 256)]}


PARTS = {**{f"steps-{size}-batch{batch}": functools.partial(_steps, (size, batch, threads))
            for size, batch, threads in SETTINGS}, "limits": _limits, "growth": _growth, "end_to_end": _end_to_end}


def sheets(found):
    """The tables of a benchmark, by name."""
    where = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    return {name: sheet for part in (_targets_sheets, _steps_sheets, _limits_sheets, _growth_sheets, _end_to_end_sheets)
            for name, sheet in part(found, where)}


def _targets_sheets(found, where):
    body = [[t.words, f"{t.kind} {t.bound:g}", f"{t.measured:.2f}", "yes" if t.reached else "no"]
            for t in targets(found)]
    if body:
        yield "targets", Sheet("Targets", f"What the benchmark should reach, ratios of times unless said. {where}.",
                               ["what", "target", "measured", "reached"], body)


def _steps_sheets(found, where):
    for size, batch, threads in SETTINGS:
        rows = [r for r in found.get("steps", []) if _setting(r) == (size, batch, threads)]
        if not rows:
            continue
        ms = next(r["ms"] for r in rows if (r["implementation"], r["method"]) == ("reference", "none"))
        columns = [name for name in ORDER if any(r["implementation"] == name for r in rows)]
        body = []
        for method in ours.methods():
            cells = [[r for r in rows if r["implementation"] == c and r["method"] == method] for c in columns]
            # Of two memory layouts the better is quoted.
            body.append([method, *(f"{min(r['ratio_to_none'] for r in some):.2f}" if some else "" for some in cells)])
        skipped = "".join(f" Skipped: {name} ({why})." for name, why in found["skipped"].items())
        yield f"steps-{size}-batch{batch}", Sheet(
            f"Training step, {size}², batch {batch}, {threads} thread(s): ratio to none",
            f"One training step at {size}×{size}, batch {batch}, {threads} thread(s), over no normalization written as "
            f"plain tf.nn convolution, bias and ReLU ({ms:.1f} ms), median over interleaved rounds, "
            f"each ratio to the plain steps just before and after. {where}.{skipped}", ["method", *columns], body)


def _limits_sheets(found, where):
    if "limits" not in found:
        return
    limit, memory = found["limits"], found["memory"]
    body = [["step of ILN at 256², batch 1", f"{limit['step_gflop']:.1f} GFLOP"],
            ["its rate", f"{limit['step_gflop_per_s']:.0f} GFLOP/s"],
            ["4096×4096 matrix product", f"{limit['matrix_product_gflop_per_s']:.0f} GFLOP/s"],
            ["share", f"{limit['share']:.2f}"],
            *([f"kernel {name}" if name != "copy" else "plain copy", f"{rate:.0f} GB/s"]
              for name, rate in limit["kernels_gb_per_s"].items()),
            *([f"peak memory of the step, ILN {form}, 256², batch 8", f"{mib:.0f} MiB"]
              for form, mib in memory["mib"].items()),
            ["ours over literal", f"{memory['ratio']:.2f}"]]
    yield "limits", Sheet("Physical limits", f"Arithmetic, bytes and memory. {where}.", ["what", "measured"], body)


def _growth_sheets(found, where):
    if "growth" not in found:
        return
    body = []
    for size, batch in GROWTH:
        rows = {(r["implementation"], r["method"]): r for r in found["growth"]
                if (r["size"], r["batch"]) == (size, batch)}
        body.append([f"{size}²", str(batch), f"{rows['reference', 'none']['ms']:.1f}",
                     *(f"{rows['native', method]['ratio_to_none']:.2f}" for method in ("none", "in", "iln"))])
    yield "growth", Sheet(
        "Growth", f"Plain step and native ratios to it over size and batch, two threads. {where}.",
        ["size", "batch", "plain none, ms", "none", "in", "iln"], body)


def _end_to_end_sheets(found, where):
    rows = found.get("end_to_end", [])
    if not rows:
        return
    headings = ["size", "bare step", "training", "training / bare", "one run, two threads",
                "two runs, one thread each", "gain"]
    body = [[f"{r['size']}²", *(f"{r[key]:.1f}" for key in ("bare", "training")), f"{r['training_over_bare']:.2f}",
             *(f"{r[key]:.1f}" for key in ("one_run_two_threads", "two_runs_one_thread")),
             f"{r['side_by_side_gain']:.2f}"]
            for r in rows]
    yield "end-to-end", Sheet(
        "End to end, images a second", f"ILN on phantom files, one thread unless said. {where}.", headings, body)
