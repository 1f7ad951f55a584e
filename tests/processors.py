"""`python -m tests.processors`: `make test` as lesser processors and other compilers would run it.

Each setting makes TensorFlow, oneDNN, XLA or the native kernels compute as on another machine, the last one all of them
at their least. It ends with status 0 if the tests pass under all.
"""

import argparse
import os
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from ilnrepro.console import command
from ilnrepro.errors import InputError

SETTINGS = {
    "oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "oneDNN on": {"TF_ENABLE_ONEDNN_OPTS": "1"},
    "oneDNN at AVX2": {"TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "oneDNN at SSE4.1": {"TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "XLA at AVX2": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
    "native kernels for x86-64": {"ILNREPRO_MARCH": "x86-64"},
    "native kernels for x86-64-v3": {"ILNREPRO_MARCH": "x86-64-v3"},
    "one thread": {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"},
    "two threads": {"TF_NUM_INTRAOP_THREADS": "2", "TF_NUM_INTEROP_THREADS": "2"},
    "all at their least": {"TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "SSE41",
                           "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2", "ILNREPRO_MARCH": "x86-64",
                           "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"},
}


def main(argv=None):
    """Runs the tests under the settings asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.processors", description=__doc__)
    parser.add_argument("settings", nargs="*", help=f"some of: {'; '.join(SETTINGS)} (default: all)")
    names = parser.parse_args(argv).settings or list(SETTINGS)
    if unknown := [name for name in names if name not in SETTINGS]:
        raise InputError(f"{unknown[0]!r} is unknown; choose among {'; '.join(SETTINGS)}")
    console = Console()
    table = Table(title="make test, as other processors would run it", title_justify="left")
    for heading in ("setting", "outcome", "minutes"):
        table.add_column(heading)
    failed = 0
    for i, name in enumerate(names, 1):
        console.print(f"{i}/{len(names)} {name}: {' '.join(f'{k}={v}' for k, v in SETTINGS[name].items())}")
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", "-m",
                               "not slow"], env=os.environ | SETTINGS[name], capture_output=True, encoding="utf-8")
        failed += done.returncode != 0
        if done.returncode:
            console.print(done.stdout[-6000:] + done.stderr[-2000:], markup=False)
        table.add_row(name, done.stdout.strip().splitlines()[-1].split(" in ")[0],
                      f"{(time.monotonic() - started) / 60:.1f}")
    console.print(table)
    return int(failed > 0)


if __name__ == "__main__":
    command(main)
