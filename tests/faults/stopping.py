"""`python -m tests.faults.stopping run ...`: `ilnrepro run ...` that stops (SIGSTOP) before whatever it does to a file.

Whoever watches it then sees at leisure what it is doing, however short that lasts: kills it, or lets it go on.
"""

import os
import runpy
import signal
import sys


def stop(event, arguments):
    """An audit hook; of the many files opened, only those opened by their descriptor count, new temporary ones."""
    if event in ("os.chmod", "os.rename", "os.remove") or event == "open" and isinstance(arguments[0], int):
        os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    sys.addaudithook(stop)
    runpy.run_module("ilnrepro", run_name="__main__", alter_sys=True)
