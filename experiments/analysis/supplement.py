"""The tables that all papers share: scores with intervals, paired differences, Dice by mask area, Dice at each rate."""

import math

import numpy as np

from experiments.analysis.captions import (
    ABOUT_INTERVALS,
    about_data,
    about_one_seed,
    about_rules,
    format_difference,
    marks,
    resolution,
    seed_spread,
    sort_methods,
    structures_of,
    title_of,
)
from experiments.analysis.coverage import about_coverage
from ilnrepro.comparison import sheet
from ilnrepro.comparison.choice import RULE_NAMES, cells, rules_of
from ilnrepro.comparison.differences import (
    LOWER_IS_BETTER,
    MEASURES,
    comparisons,
    fold_scores,
    interval,
    subjects_of,
)
from ilnrepro.comparison.sheet import Sheet

_INTERVAL = ("95 % interval in brackets: over subjects and, where a method has several, over seeds, of these splits "
             "and rates")
_DISTANCES = ("HD95 and ASSD in pixels by DeepMind's surface-distance (one mask empty: Dice 0 and the image's diagonal "
              "as distance; a run that diverged has none, and Dice 0)")

_OWN = "'own resolution' and mm: with predicted masks enlarged to the data set's images"


def build(records, omitted=()):
    """{name: (`Sheet`, tidy rows)} of the tables that have rows for these runs.

    Args:
      records: of `scores.collect`.
      omitted: subjects; where the data have any of them, the differences are repeated without them.
    """
    rules = rules_of(records)
    tables = {"scores": _scores(records, rules), "differences": _differences(records, rules, omitted),
              "terciles": _terciles(records, rules), "rates": _rates(records) if len(rules) > 1 else None}
    return {name: table for name, table in tables.items() if table and table[1]}


def write(records, folder, omitted=()):
    """Writes the tables of `build` as `NAME.{md,csv,tex}` into `folder`."""
    for name, (table, tidy) in build(records, omitted).items():
        sheet.write(folder, name, table, tidy)


def _omissions(records, omitted):
    """The lists of subjects to leave out: none, and the omitted ones where the data have any of them."""
    subjects = {str(s) for r in records for s in np.unique(r.subject)}
    return [(), *([tuple(omitted)] if set(omitted) & subjects else [])]


def _measures(records, structure):
    """The measures that all runs of the structure have."""
    tested = [r for r in records if r.configuration.structure == structure and len(r.dice)]
    return [m for m in MEASURES if tested and all(m in r.measures for r in tested)]


def _scores(records, rules):
    """The scores of all methods and folds in all measures, with the interval of the mean over subjects."""
    tidy, subjects = [], subjects_of(records)
    measures_of = {s: _measures(records, s) for s in structures_of(records)}
    shown = [m for m in MEASURES if any(m in measures for measures in measures_of.values())]
    blank = {f"{m}_{what}": math.nan for m in shown for what in ("mean", "std")}
    for rule in rules:
        cell_of = cells(records, rule)
        for structure in structures_of(records):
            structure_folds = {k for _, s, k in cell_of if s == structure}
            for method in sort_methods({m for m, s, _ in cell_of if s == structure}):
                folds = [(cell, subjects[structure, key[2]]) for key, cell in sorted(cell_of.items())
                         if key[:2] == (method, structure) and (structure, key[2]) in subjects]
                groups = [(cell.name, [(cell, subject)]) for cell, subject in folds]
                groups += [(f"{structure}-all", folds)] if len(folds) == len(structure_folds) > 1 else []
                tidy += [{"rule": rule, "method": method, "fold": name, **blank,
                          **_row_of_scores(pairs, measures_of[structure])} for name, pairs in groups]
    body = [[title_of(r["method"]), r["fold"], RULE_NAMES[r["rule"]], f"{r['dice_mean']:.3f}±{r['dice_std']:.3f}",
             f"{r['dice_subjects']:.3f} [{r['dice_low']:.3f}, {r['dice_high']:.3f}]",
             *(_mean_cell(r[f"{m}_mean"], m) for m in shown if m != "dice"),
             f"{r['seeds']}", "" if math.isnan(r["seed_sd"]) else f"{r['seed_sd']:.4f}", str(r["empty"])]
            for r in tidy if not math.isnan(r["dice_mean"])]
    return Sheet("Scores", f"Scores on the test folds, at {resolution(records)}; {_OWN}. {about_data(records)} "
                 "Dice per image as mean±std over images and "
                 f"seeds; Dice per subject as mean over subjects, {_INTERVAL}; {_DISTANCES}; 'empty' counts "
                 "predictions without any foreground; SD over seeds: of the mean Dice. "
                 f"{about_rules(rules)}",
                 ["Method", "fold", "rule", "Dice per image", "Dice per subject",
                  *(MEASURES[m] for m in shown if m != "dice"), "seeds", "SD over seeds", "empty"],
                 body), tidy


def _mean_cell(mean, measure):
    return "" if math.isnan(mean) else f"{mean:.{2 if measure in LOWER_IS_BETTER else 3}f}"


def _row_of_scores(pairs, measures):
    """The columns of scores of a tidy row.

    Args:
      pairs: [(`choice.Cell`, subject of each test image)], of one fold or several.
      measures: names.
    """
    row = {}
    for measure in measures:
        scores = [s for s in (fold_scores(cell, subject, measure) for cell, subject in pairs) if s]
        mean, std = _mean_std(scores) if scores else (math.nan, math.nan)
        row |= {f"{measure}_mean": mean, f"{measure}_std": std}
        if measure == "dice":
            mean, low, high = interval(scores) if scores else (math.nan,) * 3
            seeds = {s.seeds for s in scores}
            spread = [s.by_image.mean(1) for s in scores]
            row |= {"dice_subjects": mean, "dice_low": low, "dice_high": high,
                    "seeds": min(map(len, seeds), default=0), "rate": pairs[0][0].rate if len(pairs) == 1 else math.nan,
                    "seed_sd": float(np.std(np.mean(spread, 0), ddof=1))
                    if len(seeds) == 1 and len(scores[0].seeds) > 1 else math.nan}
    row["empty"] = int(sum((r.measures["predicted_pixels"] == 0).sum() for cell, _ in pairs for r in cell.records
                           if len(r.dice)))
    return row


def _mean_std(scores):
    """(mean, standard deviation) over images and seeds; images weigh the same, however many seeds their fold has."""
    values = np.concatenate([s.by_image.ravel() for s in scores])
    weights = np.concatenate([np.full(s.by_image.size, 1 / len(s.seeds)) for s in scores])
    mean = np.average(values, weights=weights)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _differences(records, rules, omitted):
    """The paired differences between ILN and each other method, in all measures."""
    tidy = []
    for rule in rules:
        for structure in structures_of(records):
            for omit in _omissions(records, omitted):
                for measure in _measures(records, structure):
                    pairs = [("iln", m) for m in sort_methods({r.configuration.method for r in records} - {"iln"})]
                    for c in comparisons(records, pairs, rule, structure, measure, omit):
                        tidy.append({
                            "rule": rule, "structure": structure, "without": " ".join(omit), "measure": measure,
                            "other": c.second, "difference": c.difference, "low": c.low, "high": c.high,
                            "standard_error": float(c.estimate.standard_error), "df": float(c.estimate.df),
                            "median": c.median, "improvement": c.improvement,
                            "image_difference": c.image_difference, "seed_sd": c.seed_sd,
                            "detectable": c.detectable, "subjects": c.subjects, "seeds": c.seeds[0],
                            "other_seeds": c.seeds[1]})
    body = []
    for r in tidy:
        unit = 1 if r["measure"] in LOWER_IS_BETTER else 100
        body.append([r["structure"], MEASURES[r["measure"]], title_of(r["other"]), RULE_NAMES[r["rule"]],
                     r["without"] or "–",
                     format_difference(r["difference"], r["low"], r["high"], unit), f"{unit * r['median']:+.2f}",
                     f"{r['improvement']:.2f}", f"{unit * r['image_difference']:+.2f}",
                     seed_spread(r["seed_sd"], unit),
                     "" if math.isnan(r["detectable"]) else f"{unit * r['detectable']:.2f}",
                     f"{r['subjects']}; {r['seeds']}, {r['other_seeds']}"])
    return Sheet("ILN − other",
                 "Paired differences ILN − other, mean over subjects of all folds; Dice and IoU in points "
                 "(hundredths), HD95 and ASSD in pixels or mm (there, below 0 is better, and a run that diverged is "
                 f"left out); at {resolution(records)}, {_OWN}. {about_data(records)} {ABOUT_INTERVALS} "
                 f"{about_coverage()}median: over subjects; "
                 "P(ILN > other): share of subjects on which ILN is the better, over all pairs of seeds, ties half; "
                 "SD over seeds: of the difference; detectable (80 % power): the true difference that such data would "
                 f"have shown four times in five. {about_one_seed(records)}{about_rules(rules)}",
                 ["structure", "measure", "ILN −", "rule", "without", "per subject", "median",
                  "P(ILN > other)", "per image", "SD over seeds", "detectable (80 % power)", "subjects; seeds"],
                 body), tidy


def _terciles(records, rules):
    """Dice by terciles of the true mask's area, since the paper remarks on the apex, where masks are small."""
    tidy, subjects = [], subjects_of(records)
    for rule in rules:
        cell_of = cells(records, rule)
        for structure in structures_of(records):
            areas = {r.configuration.fold: r.measures["truth_pixels"] for r in records
                     if r.configuration.structure == structure and len(r.dice)}
            if sum(map(len, areas.values())) < 3:  # too few images for terciles
                continue
            limits = np.quantile(np.concatenate(list(areas.values())), [1 / 3, 2 / 3])
            for method in sort_methods({m for m, s, _ in cell_of if s == structure}):
                scores = {k: fold_scores(cell_of[method, structure, k], subjects[structure, k]) for k in areas
                          if (method, structure, k) in cell_of}
                if set(scores) != set(areas):
                    continue
                third = np.concatenate([np.digitize(areas[k], limits, right=True) for k in scores])
                dice = np.concatenate([s.by_image.mean(0) for s in scores.values()])
                tidy += [{"rule": rule, "structure": structure, "method": method,
                          "tercile": ("small", "middle", "large")[t], "n": int((third == t).sum()),
                          "dice": float(dice[third == t].mean()), "std": float(dice[third == t].std()),
                          "upper_limit": float(limits[t]) if t < 2 else math.nan} for t in range(3)]
    keys = dict.fromkeys((r["rule"], r["structure"], r["method"]) for r in tidy)
    body = [[structure, title_of(method), RULE_NAMES[rule],
             *(f"{r['dice']:.3f}±{r['std']:.3f}" for r in tidy
               if (r["rule"], r["structure"], r["method"]) == (rule, structure, method))]
            for rule, structure, method in keys]
    limits = "; ".join(f"{s} up to {r[0]['upper_limit']:.0f} and {r[1]['upper_limit']:.0f} pixels"
                       for s in dict.fromkeys(r["structure"] for r in tidy)
                       for r in [[t for t in tidy if t["structure"] == s]])
    return Sheet("Dice by mask area", "Dice per image (mean over seeds first), mean±std, by tercile of the true "
                 f"mask's area: {limits}. {about_data(records)} {about_rules(rules)}",
                 ["structure", "Method", "rule", "small masks", "middle", "large masks"], body), tidy


def _rates(records):
    """Mean Dice of each method at each rate, which shows how much the choice of the rate matters."""
    by_run = {}
    for r in records:
        c = r.configuration
        by_run.setdefault((c.structure, c.method, c.rate, c.fold), []).append(r)
    # Only the seeds of the whole grid, so that rates with further seeds compare with the others.
    seeds = set.intersection(*({r.configuration.seed for r in runs} for runs in by_run.values()))
    tidy = []
    for (structure, method, rate, fold), runs in sorted(by_run.items(), key=lambda item: (item[0][0], item[0][3])):
        for r in runs:
            if r.configuration.seed in seeds or not seeds:
                tidy.append({"structure": structure, "method": method, "rate": rate, "fold": fold,
                             "seed": r.configuration.seed, "dice": r.score, "status": r.status})
    rates = sorted({r["rate"] for r in tidy}, reverse=True)
    body = []
    for structure in structures_of(records):
        for method in sort_methods({r["method"] for r in tidy if r["structure"] == structure}):
            rows = [r for r in tidy if (r["structure"], r["method"]) == (structure, method)]
            folds = len({r["fold"] for r in tidy if r["structure"] == structure})
            body.append([structure, title_of(method), *(_rate_cell([r for r in rows if r["rate"] == rate], folds)
                                                        for rate in rates)])
    shown = f"seed {', '.join(map(str, sorted(seeds)))}" if seeds else "all seeds"
    return Sheet("Every rate", "Mean Dice per image at every learning rate, mean over the folds; D: runs that "
                 "diverged (they count 0), C: runs that collapsed to background, of as many as there are folds and "
                 f"seeds; shown are those of {shown}. {about_data(records)}",
                 ["structure", "Method", *(f"{rate:g}" for rate in rates)], body), tidy


def _rate_cell(runs, folds):
    return f"{np.mean([r['dice'] for r in runs]):.3f} {marks(runs, folds)}".strip() if runs else ""
