"""The evidence on the paper's claims: its runs in three stages, and the open questions that the third one settles."""

from dataclasses import replace
from typing import NamedTuple

from experiments import grid, sheet
from experiments.comparisons import compare, fold_scores, subjects_of
from experiments.intervals import written
from experiments.papers import RATES, methods_of
from experiments.scores import cells, collect
from experiments.sheet import Sheet
from experiments.statistics import about, marks, seed_spread, title_of
from ilnrepro.errors import InputError
from ilnrepro.protocols import protocol

RULE = "cross-fold"
SEEDS = (0, 1, 2)
QUESTION_FOLD = 1


class Question(NamedTuple):
    """What a change of one setting does to a method: the paper leaves it open."""

    words: str
    method: str
    base: str
    changes: dict


QUESTIONS = (
    Question("gate frozen at 0 (GN16 of LN, which is GN16)", "iln", "iln", {"frozen_gate": 0.0}),
    Question("gate frozen at 0.5", "iln", "iln", {"frozen_gate": 0.5}),
    Question("gate frozen at 0.622 (its start)", "iln", "iln", {"frozen_gate": 0.622}),
    Question("gate frozen at 1 (IN alone)", "iln", "iln", {"frozen_gate": 1.0}),
    Question("Sigmoid started at gate 0.5, as Clip and Softmax are", "sigmoid", "sigmoid", {"rho": 0.0}),
    Question("4 groups after the mix", "iln4", "iln", {}),
    Question("8 groups after the mix", "iln8", "iln", {}),
    Question("GN divides by the variance", "iln", "iln", {"group_divisor": "variance"}),
    Question("initializer as printed, 2/(3²·C)", "iln", "iln", {"initializer": "printed"}),
    Question("ε 1e-12", "iln", "iln", {"epsilon": 1e-12}),
)


def methods():
    """The methods of the evidence: those of the paper's tables, Table 3's first, then BN."""
    return [*methods_of((3,)), *methods_of((1,)), "bn"]


def stage(number, data_files, protocol_name, results):
    """The jobs of one stage.

    Stage 1: every method, fold and rate, seed 0. Stage 2: the paper's methods at each one's rate by the cross-fold
    rule, two further seeds. Stage 3: the open questions on fold 1, at their base method's rate there, three seeds.

    Raises:
      InputError: stage 2 needs the runs of stage 1 to be there, and stage 3 those of both.
    """
    chosen = protocol(protocol_name)
    rates = RATES[protocol_name]
    first = grid.plan(data_files, methods(), chosen, rates, SEEDS[:1])
    if number == 1:
        return first
    if left := grid.remaining(first, results):
        raise InputError(f"{results}: {len(left)} runs of stage 1 are missing, from which stages 2 and 3 take their "
                         "rates; do stage 1 first")
    datasets = [path.stem for path in data_files]
    found = cells(collect(results, protocol_name, datasets, seeds=SEEDS[:1]), RULE)
    of_paper = [m for m in methods() if m != "bn"]
    second = [job for job in grid.plan(data_files, of_paper, chosen, rates, SEEDS[1:]) for c in [job.configuration]
              if c.rate == found[c.method, c.structure, c.fold].rate]
    if number == 2:
        return second
    if left := grid.remaining(second, results):
        raise InputError(f"{results}: {len(left)} runs of stage 2 are missing, with whose seeds stage 3 compares its "
                         "own; do stage 2 first")
    jobs = []
    structures = {structure for _, structure, _ in found}
    for question, structure in ((q, s) for q in QUESTIONS for s in structures):
        rate = found[question.base, structure, QUESTION_FOLD].rate
        jobs += [job for job in grid.plan(data_files, [question.method], replace(chosen, **question.changes), [rate],
                                          SEEDS, [QUESTION_FOLD]) if job.configuration.structure == structure]
    return jobs


def build(results, protocol_name, datasets):
    """(`Sheet`, tidy rows): every open question's variant against its base, on fold 1, paired by subject; None where no
    variant was run."""
    base_records = collect(results, protocol_name, datasets)
    base_cells, subjects = cells(base_records, RULE), subjects_of(base_records)
    tidy, compared = [], {}
    for question in QUESTIONS:
        variant = _variant_records(results, question, protocol_name, datasets)
        for cell in (c for (m, _, k), c in base_cells.items() if (m, k) == (question.base, QUESTION_FOLD)):
            theirs = tuple(r for r in variant for c in [r.configuration]
                           if (c.structure, c.fold, c.rate) == (cell.structure, cell.fold, cell.rate))
            if theirs:
                tidy.append(_answer(question, replace(cell, method=question.method, chosen=theirs), cell,
                                    subjects[cell.structure, cell.fold]))
                compared[question.base, cell.structure] = cell.chosen
    if not tidy:
        return None
    body = [[f"{r['question']} ({r['structure']})", title_of(r["base"]), f"{r['rate']:g}",
             f"{r['dice']:.3f} {r['lost']}".strip(), f"{r['base_dice']:.3f}",
             written(r["difference"], r["low"], r["high"]),
             seed_spread(r["seed_sd"]), f"{r['seeds']}, {r['base_seeds']}"]
            for r in tidy]
    table = Sheet("Open questions", "What the paper leaves open: one setting changed, against the method as it is by "
                  f"default, on fold {QUESTION_FOLD}, at the default's rate there by the rule '{RULE}'. "
                  f"{about([r for runs in compared.values() for r in runs])} Dice per image; D: changed runs that "
                  "diverged (they count 0), C: that collapsed to background. Difference changed − default in points, "
                  "mean over subjects, 95 % interval in brackets (over subjects and seeds, of this split); spread: its "
                  "standard deviation over seeds.",
                  ["change", "of", "rate", "Dice", "default's", "difference", "spread", "seeds"], body)
    return table, tidy


def _answer(question, changed, default, subject):
    """A tidy row from the two `scores.Cell`s."""
    a, b = fold_scores(changed, subject), fold_scores(default, subject)
    c = compare([a], [b], (question.method, question.base))
    lost = marks([{"status": r.status, "fold": default.fold} for r in changed.chosen], 1)
    return {"question": question.words, "structure": default.structure, "base": question.base, "rate": default.rate,
            "base_dice": float(b.by_image.mean()), "dice": float(a.by_image.mean()), "lost": lost,
            "difference": c.difference, "low": c.low, "high": c.high, "seed_sd": c.seed_sd, "seeds": c.seeds[0],
            "base_seeds": c.seeds[1], "smallest_shown": c.smallest_shown}


def write(results, protocol_name, datasets):
    """Writes what `build` makes as questions.{md,csv,tex} below `results`/tables; returns the table, or None."""
    if (built := build(results, protocol_name, datasets)) is None:
        return None
    sheet.write(results / "tables", "questions", *built)
    return built[0]


def _variant_records(results, question, protocol_name, datasets):
    """The records of a question's runs; none where they were not made."""
    variant = replace(protocol(protocol_name), **question.changes).variant
    made = any(path.parts[-4] in datasets
               for path in results.glob(f"runs/*/{protocol_name}/{question.method}{variant}/*.h5"))
    return collect(results, protocol_name, datasets, variant, methods=[question.method]) if made else []


def without_answers(records):
    """The records but for those of a question's other method on one fold alone: at its base method's rate, they belong
    in the questions' table and in no other."""
    folds = {}
    for c in (r.configuration for r in records):
        folds.setdefault(c.method, set()).add((c.structure, c.fold))
    left_out = {q.method for q in QUESTIONS
                if q.method != q.base and not folds.get(q.method, set()) >= folds.get(q.base, set())}
    return [r for r in records if r.configuration.method not in left_out]
