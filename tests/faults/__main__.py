"""`python -m tests.faults`: kills runs and grids, damages files, fills a disk, and counts what that cost.

Runs lost, finished runs repeated, wrong results, damaged files unnoticed and files left over must all be 0, and every
place must have had its kills, or it ends with status 1. The runs are tiny (SYNTHETIC phantoms of 32², 60 steps) and
save a checkpoint after every block.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ilnrepro.comparison.sheet import Sheet
from ilnrepro.console import command
from ilnrepro.storage import files

from .damage import CORRUPTION, damage_files
from .disks import SECONDS, fill_disks
from .kills import DRIVER, GRID_KILL, PLACES, WORKER, kill_grids, kill_runs
from .trial import FAULTS, KILL, METHODS, Tally, prepare


def sheet(tally, seed):
    """The `Sheet` of the counts."""
    body = [[f"killed: {place}", str(n), ""] for place, n in sorted(tally.kills.items())]
    body += [[f"damaged: {what}", str(n), str(tally.harmless[what]) if tally.harmless[what] else ""]
             for what, n in sorted(tally.damage.items())]
    body += [[story, "1", ""] for story in tally.disk]
    body += [[f"**{FAULTS[kind]}**", f"**{n}**", ""] for kind, n in tally.counts.items()]
    skipped = f" Skipped: {'; '.join(tally.skipped)}." if tally.skipped else ""
    return Sheet("Faults", f"What was done to runs, and what it cost. {sum(tally.kills.values())} kills (SIGKILL), "
                 f"{sum(tally.damage.values())} damaged files, of which {sum(tally.harmless.values())} read as before "
                 f"(harmless: the damage fell where HDF5 keeps nothing that is read); seed {seed}.{skipped}",
                 ["what", "times", "of them harmless"], body)


def main(argv=None):
    """Tries the faults; returns 0 if every kill was made and nothing lost, repeated, wrong or unnoticed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=12, help="in each act of a run, and of a grid's driver and "
                        "workers")
    parser.add_argument("--corruptions", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3, help="of the grid of runs, for each of two methods")
    parser.add_argument("--no-disks", action="store_true", help="leave full, read-only and vanished folders out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("build/faults.json"))
    arguments = parser.parse_args(argv)
    rng, tally = np.random.default_rng(arguments.seed), Tally()
    disks = not arguments.no_disks
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=Console(stderr=True),
                                                           speed_estimate_period=600) as bar:
        total = (KILL * len(METHODS) * arguments.seeds + (KILL * len(PLACES) + GRID_KILL * 2) * arguments.kills
                 + CORRUPTION * arguments.corruptions + SECONDS * disks)
        task = bar.add_task("runs left alone", total=total)
        bench = prepare(Path(folder), arguments.seeds, tally, lambda seconds: bar.advance(task, seconds))
        for title, part in (("damaged files", lambda: damage_files(bench, arguments.corruptions, rng)),
                            ("killed runs", lambda: kill_runs(bench, arguments.kills, rng)),
                            ("killed grids", lambda: kill_grids(bench, arguments.kills, rng)),
                            ("disks", lambda: disks and fill_disks(bench))):
            bar.update(task, description=title)
            part()
        bar.update(task, completed=total)
    return _report(tally, arguments, time.monotonic() - began)


def _report(tally, arguments, seconds):
    report = {"counts": tally.counts, "kills": sum(tally.kills.values()), "kills_by_place": dict(tally.kills),
             "corruptions": sum(tally.damage.values()), "corruptions_by_kind": dict(tally.damage),
             "harmless": dict(tally.harmless), "disk": tally.disk, "skipped": tally.skipped, "faults": tally.faults,
             "seed": arguments.seed, "seconds": round(seconds)}
    files.write_json(arguments.output, report)
    shown = sheet(tally, arguments.seed)
    files.write(arguments.output.with_suffix(".md"), shown.markdown())
    Console(width=160).print(shown.rich())
    for kind, stories in tally.faults.items():
        for story in stories:
            print(f"{FAULTS[kind]}: {story}")
    short = [place for place in (*PLACES, DRIVER, WORKER) if tally.kills[place] < arguments.kills]
    for place in short:
        print(f"killed: {place}: {tally.kills[place]} times, not {arguments.kills}: no run was found there again")
    print(f"faults: {', '.join(f'{FAULTS[kind]} {n}' for kind, n in tally.counts.items())}: {arguments.output}")
    return 1 if short or any(tally.counts.values()) else 0


if __name__ == "__main__":
    command(main)
