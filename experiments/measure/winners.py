"""The frequency with which a comparison names a winner, on simulated studies with a known truth.

The verdicts come from the code of `ilnrepro compare`. A simulated study has its design: methods × folds × rates with
one seed; the rate of a fold is chosen on the other folds; and further seeds follow at the chosen rates alone.
"""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.scores import Record
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.protocols import Configuration, protocol
from ilnrepro.studies.answer import answer

STUDIES = 200
METHODS = ("in", "iln", "gn8", "ln", "sigmoid")
RATES = (0.5, 0.1, 0.05)
CURVE = (0.0, -0.01, -0.02)  # mean Dice at the rates, relative to the best rate; the same for all methods


class Study(NamedTuple):
    """The parameters of a simulated study; standard deviations (`_sd`) and the gain are in Dice.

    Attributes:
      methods, subjects, seeds, folds: their numbers.
      difference_sd: over subjects, of the difference between two runs of two methods; half of its variance is the
        methods', half the runs'.
      seed_sd: over seeds, of a run's mean.
      fold_sd: over folds, of a method's mean.
      subject_sd: over subjects, common to all methods.
      gain: of the first method over all others.
    """

    methods: int = 3
    subjects: int = 45
    seeds: int = 2
    difference_sd: float = 0.06
    seed_sd: float = 0.02
    fold_sd: float = 0.01
    subject_sd: float = 0.1
    folds: int = 3
    gain: float = 0.0


def records(study, rng):
    """The records of the runs of one study."""
    folds, part = range(study.folds), study.difference_sd / 2
    subjects_of = [np.arange(study.subjects)[k::study.folds] for k in folds]
    difficulty = study.subject_sd * rng.standard_normal(study.subjects)
    run_records = []
    by_method = part * rng.standard_normal((study.methods, study.subjects))
    shift = study.fold_sd * rng.standard_normal((study.methods, study.folds))

    def run(m, k, i, seed):
        mean = 0.8 + CURVE[i] + study.gain * (m == 0) + shift[m, k] + study.seed_sd * rng.standard_normal()
        subjects = subjects_of[k]
        dice = mean + difficulty[subjects] + by_method[m, subjects] + part * rng.standard_normal(len(subjects))
        configuration = Configuration("simulated", "", "LV", METHODS[m], k + 1, RATES[i], seed, protocol("quick"))
        run_records.append(Record(Path(), configuration, "complete", "Simulated", True, dice,
                                  np.char.mod("S%03d", subjects), 0, 1000, {"dice": dice}))

    for m, k, i in itertools.product(range(study.methods), folds, range(len(RATES))):
        run(m, k, i, 0)
    for (method, _, fold), cell in cells(run_records, "cross-fold").items():
        for seed in range(1, study.seeds):
            run(METHODS.index(method), fold - 1, RATES.index(cell.rate), seed)
    return run_records


def count_winners(study, studies=STUDIES):
    """({method: number of studies that name it the winner}, number of studies that find any method worse)."""
    named, worse = dict.fromkeys(METHODS[:study.methods], 0), 0
    for i in range(studies):
        # Each study has its own random numbers, so that fewer studies repeat the first of more.
        seed = [*(round(1000 * x) for x in study), i]
        result = answer(records(study, np.random.default_rng(seed)))
        if result.winner:
            named[result.winner] += 1
        worse += any(pair.better for pair in result.pairs)
    return named, worse


def grid():
    """The studies that the command simulates: without any difference, and with a gain of three points."""
    for gain, methods, subjects, fold_sd, seeds in itertools.product((0.0, 0.03), (2, 3, 5), (12, 45, 99),
                                                                     (0.0, 0.02), (2, 3)):
        yield Study(methods, subjects, seeds, fold_sd=fold_sd, gain=gain)


def measure(studies=STUDIES):
    """The `Sheet` of the percentage of studies that name a winner, and that find any method worse."""
    body = []
    for study in grid():
        named, worse = count_winners(study, studies)
        right = named[METHODS[0]] if study.gain else 0
        body.append([f"{100 * study.gain:g}", str(study.methods), str(study.subjects), f"{100 * study.fold_sd:g}",
                     str(study.seeds), f"{100 * right / studies:.1f}",
                     f"{100 * (sum(named.values()) - right) / studies:.1f}", f"{100 * worse / studies:.1f}"])
    return Sheet("Winners", f"How often a comparison names a winner, per cent of {studies} simulated studies of three "
                 "folds and three rates: the method that truly is better by so many points, or one that is not; and "
                 "how often any method is shown to be worse than another.",
                 ["gain", "methods", "subjects", "fold SD", "seeds", "right winner", "wrong winner", "any worse"], body)
