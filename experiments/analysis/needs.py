"""The table of the subjects and seeds that would show a difference, by the variances in the runs at hand."""

import itertools
import math
import statistics

from experiments.analysis.captions import about_data, primary_rule, sort_methods, title_of
from ilnrepro.comparison import uncertainty
from ilnrepro.comparison.differences import by_method
from ilnrepro.comparison.sample_size import POWER, required, variances
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.errors import InputError
from ilnrepro.storage import runfile


def build(paper, records, difference):
    """(`Sheet`, tidy rows) of variances, power now, and the subjects and seeds that would show `difference` (in Dice).

    A row is a claim of the paper whose two methods have several seeds, or where there is none, a pair of methods.

    Raises:
      InputError: no two methods have several seeds on every fold.
    """
    rule, tidy = primary_rule(records), []
    hours = _hours_of_a_run(records)
    for structure in dict.fromkeys(r.configuration.structure for r in records):
        table = by_method(records, rule, structure)
        pool = uncertainty.pool(table, records, rule, structure, "dice")
        several = [m for m in sort_methods(table) if all(len(s.seeds) > 1 for s in table[m])]
        claimed = [(c.first, c.second) for c in paper.claims
                   if c.structure == structure and c.first in several and c.second in several]
        for pair in claimed or itertools.combinations(several, 2):
            tidy.append({"structure": structure, "first": pair[0], "second": pair[1]}
                        | _requirements(table, pool, pair, difference, hours))
    if not tidy:
        raise InputError(f"{records[0].path.parent}: no two methods have several seeds on every fold, from which the "
                         "variance between seeds could be had; do a second seed at the chosen rates (SEEDS=)")
    body = [[r["structure"], f"{title_of(r['first'])} − {title_of(r['second'])}",
             *(f"{100 * r[key]:.2f}" for key in ("subject_sd", "run_sd", "fold_sd", "choice_sd")),
             f"{r['subjects']}; {r['seeds']}", f"{r['power']:.2f}", r["seeds_needed"], r["subjects_needed"],
             r["hours"]] for r in tidy]
    return Sheet("Plan", f"What would show a true difference of {100 * difference:g} points of Dice (95 % interval "
                 f"above 0) {100 * POWER:.0f} % of the time, from the variances of these runs. {about_data(records)} "
                 "Standard deviations in points: of a subject's difference that seeds repeat; of a run's mean, both "
                 "methods' together; of a fold beyond those; what the choice of rates adds. Seeds: that the subjects "
                 "one has would need; subjects: that the seeds one has would need, or else ten. Hours: of one worker "
                 "on this kind of machine, for the further seeds of both methods.",
                 ["structure", "difference", "subjects sd", "runs sd", "folds sd", "choice sd", "subjects; seeds",
                  "power now", "seeds needed", "subjects needed", "hours"], body), tidy


def _requirements(table, pool, pair, difference, hours):
    first, second = (table[m] for m in pair)
    v = variances(first, second, pool, pair)
    n, folds = sum(len(s.subjects) for s in first), len(first)
    seeds = min(len(s.seeds) for s in (*first, *second))
    need = required(v, difference, n, seeds, folds)
    further_hours = ""
    if need.seeds is not None and hours is not None:
        further_hours = f"{2 * folds * max(0, need.seeds - seeds) * hours:.1f}"
    subjects_needed = "no number of subjects" if need.subjects is None else \
        f"{need.subjects} with {need.subjects_seeds} seeds"
    return {"subject_sd": math.sqrt(v.subjects), "run_sd": math.sqrt(v.seeds), "fold_sd": math.sqrt(v.folds),
            "choice_sd": math.sqrt(v.choice), "subjects": n, "seeds": seeds, "power": need.power,
            "seeds_needed": "no number of seeds" if need.seeds is None else str(need.seeds),
            "subjects_needed": subjects_needed, "hours": further_hours}


def _hours_of_a_run(records):
    """The median time of a few finished runs, in hours; None where there are no run files."""
    times = [runfile.read(r.path).timing for r in records[:: max(1, len(records) // 9)] if r.path.exists()]
    return statistics.median((t["training"] + t["test"]) / 3600 for t in times) if times else None
