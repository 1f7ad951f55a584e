"""The runs in three stages on which a paper's claims are judged."""

from dataclasses import replace

from experiments.analysis.paper import Paper
from ilnrepro.comparison import planning
from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.scores import collect
from ilnrepro.errors import InputError
from ilnrepro.protocols import protocol


def stage(paper: Paper, number, data_files, protocol_name, results):
    """The jobs of one stage of `Paper.evidence`.

    Stage 1: every method, fold and rate, the first seed. Stage 2: the methods to be repeated at each one's rate by the
    rule, the further seeds. Stage 3: the open questions on one fold, at their base method's rate there, every seed.

    Raises:
      InputError: stage 2 needs the runs of stage 1 to be there, and stage 3 those of both.
    """
    evidence, chosen = paper.evidence, protocol(protocol_name)
    if protocol_name not in paper.rates:
        raise InputError(f"--protocol: {protocol_name} is not one of {paper.title}; choose one of "
                         f"{', '.join(paper.rates)}")
    rates = paper.rates[protocol_name]
    seeds, fold = evidence.seeds, evidence.fold
    first = planning.plan(data_files, evidence.methods, chosen, rates, seeds[:1])
    if number == 1:
        return first
    if left := planning.remaining(first, results):
        raise InputError(f"{results}: {len(left)} runs of stage 1 are missing, from which stages 2 and 3 take their "
                         "rates; do stage 1 first")
    datasets = [path.stem for path in data_files]
    found = cells(collect(results, protocol_name, datasets, seeds=seeds[:1]), evidence.rule)
    second = [job for job in planning.plan(data_files, evidence.repeated, chosen, rates, seeds[1:])
              for c in [job.configuration] if c.rate == found[c.method, c.structure, c.fold].rate]
    if number == 2:
        return second
    if left := planning.remaining(second, results):
        raise InputError(f"{results}: {len(left)} runs of stage 2 are missing, with whose seeds stage 3 compares its "
                         "own; do stage 2 first")
    jobs = []
    structures = {structure for _, structure, _ in found}
    for question, structure in ((q, s) for q in evidence.questions for s in structures):
        rate = found[question.base, structure, fold].rate
        changed = replace(chosen, **question.changes)
        jobs += [job for job in planning.plan(data_files, [question.method], changed, [rate], seeds, [fold])
                 if job.configuration.structure == structure]
    return jobs
