"""`python -m experiments bench`: measures everything, writes bench.json, prints tables. About three hours."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from experiments.measure import clock
from experiments.measure.bench import convolutions, end_to_end, limits, ours, rounds
from experiments.measure.bench.sheets import sheets
from ilnrepro.storage import files

PEER_METHODS = ["none", "in", "gn4", "iln"]
GROWTH = [(size, 1) for size in (64, 128, 256, 512)] + [(256, batch) for batch in (2, 4, 8, 16)]


class Extent(NamedTuple):
    """The size of the benchmark: rounds, methods of ours, and the divisor of all sides."""

    rounds: int
    methods: list
    shrink: int = 1


def add(commands):
    """Adds the `bench` command to the subparsers `commands`."""
    parser = commands.add_parser("bench", help="measure what each method costs, here and elsewhere (three hours)")
    parser.add_argument("--output", type=Path, help="default: build/bench/PROCESSOR/bench.json")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=PARTS, nargs="*", metavar="PART", help=f"measure some parts anew, of "
                        f"{', '.join(PARTS)}")
    parser.add_argument("--short", action="store_true", help="see whether all of it works: a round of few methods on "
                        "small images, in minutes")
    parser.set_defaults(act=bench)


def bench(arguments):
    """Runs the benchmark; returns the exit status."""
    extent = Extent(1, PEER_METHODS, 4) if arguments.short else Extent(arguments.rounds, ours.methods())
    kind = f"{clock.processor()}{'-short' if arguments.short else ''}"
    output = arguments.output or Path("build/bench", kind, "bench.json")
    console = Console(stderr=True)
    results = json.loads(output.read_text(encoding="utf-8")) if arguments.only and output.exists() else {}
    results["machine"] = clock.machine()
    with console.status("benchmark: nothing else should run on this machine") as status:
        for part in arguments.only or PARTS:
            new = PARTS[part](extent, lambda text: (status.update(text), console.log(text)))
            if "steps" in new:
                settings = {_setting(row) for row in new["steps"]}
                new["steps"] += [row for row in results.get("steps", []) if _setting(row) not in settings]
            results |= new
            files.write_json(output, results)
    out = Console(width=max(160, Console().width))
    tables = output.parent / "tables"
    for name, table in sheets(results).items():
        out.print(table.rich())
        files.write(tables / f"{name}.md", table.markdown())
    print(f"benchmark: {output} (tables: {tables})")
    return 0


def _setting(row):
    return row["size"], row["batch"], row["threads"]


def _steps(batch, extent, say):
    # Rounds of batch 1 are four times as many: one takes an eighth as long, and its short steps scatter more.
    count, methods = (4 * extent.rounds, extent.methods) if batch == 1 else (extent.rounds, PEER_METHODS)
    peers = dict.fromkeys(("torch", "keras", "keras-onednn"), PEER_METHODS)
    rows, skipped = rounds.measure(
        256 // extent.shrink, batch, 2,
        {"ours": methods, "installed": ["reference/none"], **peers, "product": ["numpy", "tensorflow"]}, count, say)
    return {"steps": rows, "skipped": skipped}


def _methods(extent, say):
    """All methods against our network without normalization."""
    rows, ours_alone = [], {"ours": [f"native/{m}" for m in extent.methods]}
    for size in (256, 128, 64):
        for threads in (1, 2):
            new, _ = rounds.measure(size // extent.shrink, 1, threads, ours_alone, extent.rounds, say,
                                    plain=("native", "none"))
            rows += new
    return {"methods": rows}


def _volumes(extent, say):
    rows, _ = rounds.measure(64 // extent.shrink, 1, 2, {"volumes": ["reference/none", *(f"native/{m}" for m in (
        "none", "bn", "in", "iln"))]}, extent.rounds, say)
    return {"volumes": rows}


def _growth(extent, say):
    rows = []
    for size, batch in GROWTH:
        new, _ = rounds.measure(size // extent.shrink, batch, 2, {"ours": [
            "reference/none", "native/none", "native/in", "native/iln"]}, max(1, extent.rounds // 2), say)
        rows += new
    return {"growth": rows}


def _use(extent, say):
    rows, _ = rounds.measure(256 // extent.shrink, 1, 2, {"use": ["none", "iln"]}, extent.rounds, say,
                             plain=("exported", "none"))
    return {"use": rows}


def _convolutions(extent, say):
    shapes = convolutions.SHAPES if extent.shrink == 1 else convolutions.SHAPES[-3:]
    return {"convolutions": [convolutions.measure(threads, extent.rounds, say, shapes) for threads in (1, 2)]}


def _limits(extent, say):
    say("limits: kernels, memory")
    ways = [(implementation, method) for implementation, methods in (
        ("reference", ("none", "iln")), ("native", ("none", "in", "iln"))) for method in methods]
    memory = [{"network": network, "size": size, "batch": batch, "implementation": implementation, "method": method,
               "mib": limits.peak_memory(implementation, method, size, batch, network)}
              for network, size, batch in (("paper", 256 // extent.shrink, 8), ("kolarik", 64 // extent.shrink, 1))
              for implementation, method in ways]
    return {"kernels_gb_per_s": limits.kernel_rates(), "memory": memory}


def _end_to_end(extent, say):
    say("end to end: training from a file, against the bare step; two runs side by side")
    return {"end_to_end": [end_to_end.measure(size // extent.shrink, rounds=extent.rounds) for size in (128, 256)]}


PARTS = {**{f"steps-batch{batch}": functools.partial(_steps, batch) for batch in (1, 8)}, "methods": _methods,
         "volumes": _volumes, "growth": _growth, "use": _use, "convolutions": _convolutions, "limits": _limits,
         "end-to-end": _end_to_end}
