"""How often a comparison names a winner: on simulated studies whose truth is known, by the very code that answers.

A simulated study is what `ilnrepro compare` makes: methods × folds × rates with one seed, the rate of a fold chosen on
the other folds, and further seeds at the chosen rates alone.
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
CURVE = (0.0, -0.01, -0.02)  # mean Dice at the rates beside the best, of every method


class Study(NamedTuple):
    """What is simulated.

    Attributes:
      methods, subjects, seeds: how many.
      subject_sd: of a subject over subjects, common to all methods; apart_sd: of a subject's difference between two
        runs of two methods, half of its variance the methods', half the runs'.
      seed_sd: of a run's mean; fold_sd: of a method on a fold.
      folds: how many.
      gain: of the first method over all others.
    """

    methods: int = 3
    subjects: int = 45
    seeds: int = 2
    apart_sd: float = 0.06
    seed_sd: float = 0.02
    fold_sd: float = 0.01
    subject_sd: float = 0.1
    folds: int = 3
    gain: float = 0.0


def records(study, rng):
    """The records of one study."""
    folds, part = range(study.folds), study.apart_sd / 2
    of_fold = [np.arange(study.subjects)[k::study.folds] for k in folds]
    hard = study.subject_sd * rng.standard_normal(study.subjects)
    found = []
    own = part * rng.standard_normal((study.methods, study.subjects))
    shift = study.fold_sd * rng.standard_normal((study.methods, study.folds))

    def run(m, k, i, seed):
        mean = 0.8 + CURVE[i] + study.gain * (m == 0) + shift[m, k] + study.seed_sd * rng.standard_normal()
        mine = of_fold[k]
        dice = mean + hard[mine] + own[m, mine] + part * rng.standard_normal(len(mine))
        configuration = Configuration("simulated", "", "LV", METHODS[m], k + 1, RATES[i], seed, protocol("quick"))
        found.append(Record(Path(), configuration, "complete", "Simulated", True, dice, np.char.mod("S%03d", mine), 0,
                            1000, {"dice": dice}))

    for m, k, i in itertools.product(range(study.methods), folds, range(len(RATES))):
        run(m, k, i, 0)
    for (method, _, fold), cell in cells(found, "cross-fold").items():
        for seed in range(1, study.seeds):
            run(METHODS.index(method), fold - 1, RATES.index(cell.rate), seed)
    return found


def winners(study, studies=STUDIES):
    """How often each method is named the winner of so many studies, and any as worse than another: ({method: count},
    count)."""
    named, worse = dict.fromkeys(METHODS[:study.methods], 0), 0
    for i in range(studies):
        # A study's draws are its own, so that fewer of them repeat the first.
        seed = [*(round(1000 * x) for x in study), i]
        found = answer(records(study, np.random.default_rng(seed)))
        if found.winner:
            named[found.winner] += 1
        worse += any(pair.better for pair in found.pairs)
    return named, worse


def grid():
    """The studies that the command simulates: without any difference, and with a gain of three points."""
    for gain, methods, subjects, fold_sd, seeds in itertools.product((0.0, 0.03), (2, 3, 5), (12, 45, 99),
                                                                     (0.0, 0.02), (2, 3)):
        yield Study(methods, subjects, seeds, fold_sd=fold_sd, gain=gain)


def measure(studies=STUDIES):
    """The `Sheet`: for every simulated study how often a winner is named, and any method as worse."""
    body = []
    for study in grid():
        named, worse = winners(study, studies)
        right = named[METHODS[0]] if study.gain else 0
        body.append([f"{100 * study.gain:g}", str(study.methods), str(study.subjects), f"{100 * study.fold_sd:g}",
                     str(study.seeds), f"{100 * right / studies:.1f}",
                     f"{100 * (sum(named.values()) - right) / studies:.1f}", f"{100 * worse / studies:.1f}"])
    return Sheet("Winners", f"How often a comparison names a winner, per cent of {studies} simulated studies of three "
                 "folds and three rates: the method that truly is better by so many points, or one that is not; and "
                 "how often any method is shown to be worse than another.",
                 ["gain", "methods", "subjects", "fold SD", "seeds", "right winner", "wrong winner", "any worse"], body)
