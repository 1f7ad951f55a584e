"""The questions that a paper leaves open: a method with one setting changed, compared with its default."""

from dataclasses import replace

from experiments.analysis.captions import about_data, format_difference, marks, seed_spread, title_of
from ilnrepro.comparison.choice import RULE_NAMES, cells
from ilnrepro.comparison.differences import compare, fold_scores, subjects_of
from ilnrepro.comparison.scores import collect
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.protocols import protocol


def build(evidence, results, protocol_name, datasets):
    """(`Sheet`, tidy rows) of the open questions of a paper's `Evidence`; None where none of their runs was done.

    A question's variant is compared with its base method on one fold, paired by subject.
    """
    base_records = collect(results, protocol_name, datasets)
    base_cells, subjects = cells(base_records, evidence.rule), subjects_of(base_records)
    tidy, base_runs = [], {}
    for question in evidence.questions:
        variant = _variant_records(results, question, protocol_name, datasets)
        for cell in (c for (m, _, k), c in base_cells.items() if (m, k) == (question.base, evidence.fold)):
            changed = tuple(r for r in variant for c in [r.configuration]
                            if (c.structure, c.fold, c.rate) == (cell.structure, cell.fold, cell.rate))
            if changed:
                tidy.append(_answer(question, replace(cell, method=question.method, records=changed), cell,
                                    subjects[cell.structure, cell.fold]))
                base_runs[question.base, cell.structure] = cell.records
    if not tidy:
        return None
    body = [[f"{r['question']} ({r['structure']})", title_of(r["base"]), f"{r['rate']:g}",
             f"{r['dice']:.3f} {r['lost']}".strip(), f"{r['base_dice']:.3f}",
             format_difference(r["difference"], r["low"], r["high"]),
             seed_spread(r["seed_sd"]), f"{r['seeds']}, {r['base_seeds']}"]
            for r in tidy]
    table = Sheet("Open questions", "What the paper leaves open: one setting changed, against the method as it is by "
                  f"default, on fold {evidence.fold}, at the default's rate there by the rule "
                  f"'{RULE_NAMES[evidence.rule]}'. "
                  f"{about_data([r for runs in base_runs.values() for r in runs])} Dice per image; D: changed runs "
                  "that diverged (they count 0), C: that collapsed to background. Difference changed − default in "
                  "points, mean over subjects, 95 % interval in brackets (over subjects and seeds, of this split); SD "
                  "over seeds: of the difference.",
                  ["change", "of", "rate", "Dice", "default's", "difference", "SD over seeds", "seeds"], body)
    return table, tidy


def _answer(question, changed, default, subject):
    """The tidy row of a question.

    Args:
      changed, default: the `choice.Cell`s of the variant and of the base method.
      subject: subject of each test image.
    """
    a, b = fold_scores(changed, subject), fold_scores(default, subject)
    c = compare([a], [b], (question.method, question.base))
    lost = marks([{"status": r.status, "fold": default.fold} for r in changed.records], 1)
    return {"question": question.text, "structure": default.structure, "base": question.base, "rate": default.rate,
            "base_dice": float(b.by_image.mean()), "dice": float(a.by_image.mean()), "lost": lost,
            "difference": c.difference, "low": c.low, "high": c.high, "seed_sd": c.seed_sd, "seeds": c.seeds[0],
            "base_seeds": c.seeds[1], "detectable": c.detectable}


def _variant_records(results, question, protocol_name, datasets):
    """The records of a question's runs; empty where they were not done."""
    variant = replace(protocol(protocol_name), **question.changes).variant
    exist = any(path.parts[-4] in datasets
               for path in results.glob(f"runs/*/{protocol_name}/{question.method}{variant}/*.h5"))
    return collect(results, protocol_name, datasets, variant, methods=[question.method]) if exist else []


def without_answers(records, questions):
    """The records without those of methods that ran only to answer a question.

    Such a method ran on fewer folds than the question's base method, and at that method's rate, so it belongs in the
    table of questions alone.
    """
    folds = {}
    for c in (r.configuration for r in records):
        folds.setdefault(c.method, set()).add((c.structure, c.fold))
    left_out = {q.method for q in questions
                if q.method != q.base and not folds.get(q.method, set()) >= folds.get(q.base, set())}
    return [r for r in records if r.configuration.method not in left_out]
