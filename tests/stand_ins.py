"""Runs of a grid that shell scripts stand in for; as a command, the driver of such a grid."""

import sys
from dataclasses import dataclass
from pathlib import Path

from ilnrepro.comparison import grid, planning
from ilnrepro.console import call, command
from ilnrepro.protocols import Configuration, protocol

WELL = 'mkdir -p "$5/$(dirname "$1")"; echo steps 5 10; echo steps 10 10; cp "$3" "$5/$1"'


@dataclass(frozen=True)
class StandIn(planning.Job):
    """A job that a shell script stands in for; $1 is the run file's path in the results folder $5, $3 the data set."""

    script: str = WELL

    @property
    def command(self):
        return ["sh", "-c", self.script, "sh", str(self.configuration.path), "--data", str(self.data)]


def jobs(scripts, data=Path("/dev/null")):
    return [StandIn(Configuration("d", "0", "LV", "in", 1, 0.1, seed, protocol("quick")), data, 10, script)
            for seed, script in enumerate(scripts)]


def drive(results, script, called=""):
    """Does three runs of a script, one after another; `called`: as another command would let it be done."""
    if called:
        return call([sys.executable, __file__, results, script])
    return len(grid.run(jobs([script] * 3), Path(results), jobs_at_once=1))


if __name__ == "__main__":
    command(lambda: drive(*sys.argv[1:]))
