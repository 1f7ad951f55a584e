"""The runs that judge a paper's claims, in stages: planning and doing them."""

import sys
from dataclasses import replace

import numpy as np

from experiments.analysis.paper import CHOSEN
from experiments.runs import execution
from ilnrepro.comparison import planning
from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.scores import collect
from ilnrepro.errors import InputError
from ilnrepro.protocols import protocol
from ilnrepro.storage import dataset


class Planner:
    """The planner of the jobs of each stage of a `Paper.evidence`.

    Args:
      data_files: data set files, one a structure.
      name: name of the protocol of stages that name none; rates are chosen by its runs.
      results: the folder of the runs.
      chosen_in: the folder of the runs by which rates are chosen; None takes `results`.
    """

    def __init__(self, paper, data_files, name, results, chosen_in=None):
        if name not in paper.rates:
            raise InputError(f"--protocol: {name} is not one of {paper.title}; choose one of {', '.join(paper.rates)}")
        self.evidence, self.name, self.rates = paper.evidence, name, paper.rates[name]
        self.sets = {data.structure: (path, data) for path, data in map(_without_images, data_files)}
        self.results, self.chosen_in = results, chosen_in or results
        self.complete_stages, self.rates_by_files = set(), {}

    def parts(self, number):
        """Yields the jobs of each part of a stage, planned when the part is asked for.

        None stands for jobs whose rates an earlier part is to choose which is not done yet.

        Raises:
          InputError: there is no data set of the stage's structure, or runs of a stage that it needs are missing.
        """
        stage = self.evidence.stages[number]
        if stage.structure not in self.sets:
            raise InputError(f"--data: stage {number} takes a data set of {stage.structure}; give one")
        for needed in sorted(set(stage.needs) - self.complete_stages):
            jobs = [job for part in self.evidence.stages[needed].parts for job in self._jobs(needed, part) or [None]]
            if left := len(jobs) if None in jobs else len(planning.remaining(jobs, self.chosen_in)):
                raise InputError(f"{self.chosen_in}: {left} runs of stage {needed} are missing, whose answers stage "
                                 f"{number} needs; do stage {needed} first")
            self.complete_stages.add(needed)
        before = []
        for part in stage.parts:
            waits = part.rates == CHOSEN and planning.remaining(before, self.results)
            jobs = None if waits else self._jobs(number, part)
            before += jobs or []
            yield jobs

    def at_any_rate(self, number, part):
        """Jobs of a part whose rates are not chosen yet, at an arbitrary rate: as many, with as many steps."""
        return self._planned(number, part, self.rates[:1])

    def _jobs(self, number, part):
        if part.rates != CHOSEN:
            return self._planned(number, part, part.rates or self.rates)
        rates = self._chosen_rates(self.evidence.stages[number].structure)
        return [job for job in self._planned(number, part, self.rates) for c in [job.configuration]
                if c.rate == rates.get((part.base or c.method, c.fold))]

    def _planned(self, number, part, rates):
        stage = self.evidence.stages[number]
        changed = replace(protocol(stage.protocol or self.name), **part.changes)
        return planning.grid([self.sets[stage.structure]], part.methods, changed, rates, part.seeds,
                             part.folds or None)

    def _chosen_rates(self, structure):
        """{(method, fold): chosen rate}, by the first seed's runs at the paper's rates."""
        name = self.sets[structure][0].stem
        paths = tuple(sorted(self.chosen_in.glob(f"runs/{name}/{self.name}/*/fold*-seed0.h5")))
        if paths not in self.rates_by_files:  # finished run files do not change
            records = collect(self.chosen_in, self.name, [name], rates=self.rates, seeds=[0]) if paths else []
            self.rates_by_files[paths] = {(method, fold): cell.rate for (method, _, fold), cell
                                          in cells(records, self.evidence.rule).items()}
        return self.rates_by_files[paths]


def _without_images(path):
    """(path, data set) with its first image only, which is all that planning needs."""
    data = dataset.read(path)
    return path, replace(data, images=np.array(data.images[:1]), masks=np.array(data.masks[:1]))


def do_stage(planner, number, arguments):
    """Prints what a stage takes, and does its runs; with `--dry-run` lists them. Returns the exit status."""
    stage = planner.evidence.stages[number]
    parts = list(planner.parts(number))
    later = [job for part, jobs in zip(stage.parts, parts, strict=True) if jobs is None
             for job in planner.at_any_rate(number, part)]
    jobs = [job for part_jobs in parts for job in part_jobs or []]
    remaining = planning.remaining(jobs, planner.results)
    note = f", {len(later)} of them at rates that the others choose" if later else ""
    print(f"stage {number}, {stage.purpose}: {len(jobs) + len(later)} runs, {len(remaining) + len(later)} to do{note}: "
          f"{execution.time_in_words([*remaining, *later], {planner.results, planner.chosen_in})}", file=sys.stderr)
    if arguments.dry_run:
        return execution.execute(jobs, arguments)
    status = 0
    for part_jobs in planner.parts(number):
        if part_jobs is None:
            print("the runs that choose the rates of the others failed; the same command tries them again",
                  file=sys.stderr)
            return 1
        status = max(status, execution.execute(part_jobs, arguments))
    return status
