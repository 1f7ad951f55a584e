"""The runs in stages on which a paper's claims are judged."""

import sys
from dataclasses import replace

from experiments.analysis.paper import CHOSEN
from experiments.runs import doing
from ilnrepro.comparison import planning
from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.scores import collect
from ilnrepro.errors import InputError
from ilnrepro.protocols import protocol
from ilnrepro.storage import dataset


class Planner:
    """The jobs of the stages of a `Paper.evidence`.

    Args:
      data_files: data set files, one a structure.
      name: of the protocol of the stages that name none, by whose runs rates are chosen.
      results: the folder of the runs.
      chosen_in: of the runs by which rates are chosen, where it is another.
    """

    def __init__(self, paper, data_files, name, results, chosen_in=None):
        if name not in paper.rates:
            raise InputError(f"--protocol: {name} is not one of {paper.title}; choose one of {', '.join(paper.rates)}")
        self.evidence, self.name, self.rates = paper.evidence, name, paper.rates[name]
        self.sets = {data.structure: (path, data) for path, data in map(_without_images, data_files)}
        self.results, self.chosen_in = results, chosen_in or results
        self.met, self.read = set(), {}

    def parts(self, number):
        """The jobs of each part of a stage, planned when it is asked for; None in place of those whose rates an earlier
        part, that is not done, is to choose.

        Raises:
          InputError: there is no data set of the stage's structure, or runs of a stage that it needs are missing.
        """
        stage = self.evidence.stages[number]
        if stage.structure not in self.sets:
            raise InputError(f"--data: stage {number} takes a data set of {stage.structure}; give one")
        for needed in sorted(set(stage.needs) - self.met):
            jobs = [job for part in self.evidence.stages[needed].parts for job in self._jobs(needed, part) or [None]]
            if left := len(jobs) if None in jobs else len(planning.remaining(jobs, self.chosen_in)):
                raise InputError(f"{self.chosen_in}: {left} runs of stage {needed} are missing, whose answers stage "
                                 f"{number} needs; do stage {needed} first")
            self.met.add(needed)
        before = []
        for part in stage.parts:
            waits = part.rates == CHOSEN and planning.remaining(before, self.results)
            jobs = None if waits else self._jobs(number, part)
            before += jobs or []
            yield jobs

    def at_any_rate(self, number, part):
        """As many jobs, with as many steps, as a part has whose rates are not chosen yet."""
        return self._planned(number, part, self.rates[:1])

    def _jobs(self, number, part):
        if part.rates != CHOSEN:
            return self._planned(number, part, part.rates or self.rates)
        found = self._chosen(self.evidence.stages[number].structure)
        return [job for job in self._planned(number, part, self.rates) for c in [job.configuration]
                if c.rate == found.get((part.base or c.method, c.fold))]

    def _planned(self, number, part, rates):
        stage = self.evidence.stages[number]
        changed = replace(protocol(stage.protocol or self.name), **part.changes)
        return planning.grid([self.sets[stage.structure]], part.methods, changed, rates, part.seeds,
                             part.folds or None)

    def _chosen(self, structure):
        """{(method, fold): rate} by the first seed's runs at the paper's rates."""
        name = self.sets[structure][0].stem
        there = tuple(sorted(self.chosen_in.glob(f"runs/{name}/{self.name}/*/fold*-seed0.h5")))
        if there not in self.read:  # whole run files do not change
            records = collect(self.chosen_in, self.name, [name], rates=self.rates, seeds=[0]) if there else []
            self.read[there] = {(method, fold): cell.rate for (method, _, fold), cell
                                in cells(records, self.evidence.rule).items()}
        return self.read[there]


def _without_images(path):
    """(path, data set) with one image left, which is all that planning looks at."""
    data = dataset.read(path)
    return path, replace(data, images=data.images[:1].copy(), masks=data.masks[:1].copy())


def do(planner, number, arguments):
    """Says what a stage takes, and does it; with `--dry-run` lists its runs. Returns the exit status."""
    stage = planner.evidence.stages[number]
    known = list(planner.parts(number))
    later = [job for part, jobs in zip(stage.parts, known, strict=True) if jobs is None
             for job in planner.at_any_rate(number, part)]
    jobs = [job for of_part in known for job in of_part or []]
    todo = planning.remaining(jobs, planner.results)
    words = f", {len(later)} of them at rates that the others choose" if later else ""
    print(f"stage {number}, {stage.words}: {len(jobs) + len(later)} runs, {len(todo) + len(later)} to do{words}: "
          f"{doing.hours([*todo, *later], {planner.results, planner.chosen_in})}", file=sys.stderr)
    if arguments.dry_run:
        return doing.do(jobs, arguments)
    status = 0
    for of_part in planner.parts(number):
        if of_part is None:
            print("the runs that choose the rates of the others failed; the same command tries them again",
                  file=sys.stderr)
            return 1
        status = max(status, doing.do(of_part, arguments))
    return status
