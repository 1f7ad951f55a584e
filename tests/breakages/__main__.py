"""`python -m tests.breakages`: breaks the code in small ways, one at a time, and runs the tests that should notice.

Each breakage of `listed.py` is tried in a temporary copy of the tracked files against the tests named with it. It ends
with status 0 if all were noticed, nine in ten of them by tests that `make test` runs (those not marked `slow`); with 1
if not; with 2 if the list no longer fits the code, or its tests do not pass on the whole code.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ilnrepro.comparison.sheet import Sheet
from ilnrepro.console import command
from ilnrepro.errors import InputError
from ilnrepro.storage import files

from .code import broken
from .listed import BREAKAGES

ROOT = Path(__file__).parents[2]
FAST, SLOW = "not slow", "slow"  # pytest's expressions for what `make test` and `make test-slow` run
MAKE = {FAST: "make test", SLOW: "make test-slow"}
LEAST_FAST = 0.9  # of the breakages, to be noticed by `make test`
PASSED, FAILED, NONE_COLLECTED = 0, 1, 5  # pytest's exit statuses
PATIENCE = 1800  # seconds for the tests named with a breakage, on a busy machine


class Copy:
    """A copy of the tracked files in a temporary folder, in which tests run."""

    def __init__(self, folder):
        self.root, self.scratch = Path(folder) / "copy", Path(folder) / "scratch"
        self.scratch.mkdir()
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, encoding="utf-8")
        for name in tracked.stdout.split("\0"):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)

    def pytest(self, *words, patience=None):
        """(exit status, first failing test or last words of the output) of pytest with some arguments.

        Raises:
          InputError: it does not end within `patience` seconds.
        """
        # No bytecode: a file that is changed and restored within a second would be taken for the other.
        environment = os.environ | {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(
            self.scratch), "ILNREPRO_CACHE": str(self.scratch / "cache")}
        arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
        with subprocess.Popen(arguments, cwd=self.root, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
                              start_new_session=True) as process:
            try:
                said, _ = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired as error:
                raise InputError(f"{' '.join(words)}: no end after {patience} s") from error
            finally:
                if process.poll() is None:
                    _end(process)
        match = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
        return process.returncode, match[1] if match else " ".join(said.split()[-30:])

    @contextlib.contextmanager
    def broken_by(self, breakage):
        """A context in which the copy's code has a breakage."""
        path = self.root / breakage.file
        whole, text = path.read_bytes(), broken(self.root, breakage)
        try:
            path.write_text(text, encoding="utf-8")
            yield
        finally:
            path.write_bytes(whole)


def _end(process):
    """Ends pytest and the processes that it started, first by an interrupt, so that tests clean up, then by a kill."""
    for sent, seconds in ((signal.SIGINT, 20), (signal.SIGKILL, None)):
        os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def check_whole(copy, breakages):
    """Raises InputError unless every breakage applies, and the tests named with them pass on the whole code."""
    for breakage in breakages:
        broken(copy.root, breakage)
    named = dict.fromkeys(test for breakage in breakages for test in breakage.tests)
    status, said = copy.pytest(*named)
    if status != PASSED:
        raise InputError(f"the whole code: its tests end with status {status}: {said}")


def caught(copy, breakage, suite):
    """(part, test): the part of the tests that catches the broken code, FAST, SLOW or None, and the first test that
    fails."""
    with copy.broken_by(breakage):
        statuses = []
        for part in (FAST, SLOW):
            status, said = copy.pytest("-x", "-m", part, *breakage.tests, patience=PATIENCE)
            if status == FAILED:
                return part, said
            if status not in (PASSED, NONE_COLLECTED):
                raise InputError(f"{breakage.name}: its tests end with status {status}: {said}")
            statuses.append(status)
        if PASSED not in statuses:
            raise InputError(f"{breakage.name}: there are no tests {', '.join(breakage.tests)}")
        for part in (FAST, SLOW) if suite else ():
            status, said = copy.pytest("-x", "-m", part)
            if status == FAILED:
                return part, said
    return None, ""


def sheet(outcomes):
    """The `Sheet` of {breakage: (part, test)}."""
    body = [[b.name, b.package, b.what, f"{MAKE[part]}: {test}" if part else "none"]
            for b, (part, test) in outcomes.items()]
    fast, slow = (sum(part == wanted for part, _ in outcomes.values()) for wanted in (FAST, SLOW))
    return Sheet("Breakages", f"Small breakages of the code, one at a time, and the first test that notices: "
                 f"{len(outcomes)} breakages, {fast} caught by make test, {slow} by make test-slow alone, "
                 f"{len(outcomes) - fast - slow} by none.", ["breakage", "package", "what is wrong", "caught by"], body)


def try_all(breakages, suite):
    """{breakage: (part, test)} as of `caught`; raises InputError for a breakage that cannot be tried."""
    console, outcomes = Console(stderr=True), {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    with tempfile.TemporaryDirectory(prefix="breakages-", ignore_cleanup_errors=True) as folder, \
            Progress(*columns, console=console, speed_estimate_period=3600) as bar:
        task = bar.add_task("the whole code", total=len(breakages))
        copy = Copy(folder)
        check_whole(copy, breakages)
        for breakage in breakages:
            bar.update(task, description=breakage.name)
            outcomes[breakage] = part, test = caught(copy, breakage, suite)
            bar.advance(task)
            bar.console.print(f"{breakage.name}: {MAKE[part] + ': ' + test if part else 'caught by none'}",
                              markup=False, highlight=False, soft_wrap=True)
    return outcomes


def main(argv=None):
    """Tries the breakages; returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.breakages", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="breakages to try; default: all")
    parser.add_argument("--list", action="store_true", help="print the breakages and end")
    parser.add_argument("--suite", action="store_true", help="try what the named tests miss against all tests (hours)")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="write the table there as Markdown")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - {b.name for b in BREAKAGES}:
        parser.error(f"no breakage {', '.join(sorted(unknown))}; --list names them")
    selected = [b for b in BREAKAGES if b.name in arguments.names or not arguments.names]
    if arguments.list:
        for b in selected:
            print(f"{b.name}: {b.file}, {b.function}: {b.what}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves nothing behind either
    try:
        outcomes = try_all(selected, arguments.suite)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    table = sheet(outcomes)
    Console(width=240).print(table.rich())
    print(table.caption)
    if arguments.output:
        files.write(arguments.output, table.markdown())
    parts = [part for part, _ in outcomes.values()]
    return 0 if None not in parts and parts.count(FAST) >= LEAST_FAST * len(parts) else 1


if __name__ == "__main__":
    command(main)
