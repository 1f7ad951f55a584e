"""The statistics behind the tables: scores with intervals, paired differences, terciles of mask area, every rate."""

import math

import numpy as np

from experiments import sheet
from experiments.comparisons import (
    LOWER_IS_BETTER,
    MEASURES,
    by_method,
    compare,
    fold_scores,
    interval,
    subjects_of,
)
from experiments.coverage import achieved
from experiments.intervals import written
from experiments.papers import STRUCTURES, ordered
from experiments.scores import RULES, about_rounding, cells
from experiments.sheet import Sheet
from experiments.uncertainty import pool
from ilnrepro.errors import InputError
from ilnrepro.norms import method as method_row

_INTERVAL = ("95 % interval in brackets: over subjects and, where a method has several, over seeds, of these splits "
             "and rates")
ABOUT_INTERVALS = (
    "95 % interval in brackets: over new subjects, seeds and splits of what the choice of rates yields; subjects and "
    "seeds from the two methods, what folds add beyond those from all methods with several seeds, and the choice's own "
    "variance from choosing again (t quantiles, Satterthwaite's degrees of freedom). There is none where a method has "
    "one seed, for no rule holds the truth often enough there, nor where rates were chosen on the fold they are judged "
    "on.")
_DISTANCES = ("HD95 and ASSD in pixels by DeepMind's surface-distance (one mask empty: Dice 0 and the image's diagonal "
              "as distance; a run that diverged has none, and Dice 0)")
_OMITTED = ("SC-N-06",)


def build(records):
    """{name: (`Sheet`, tidy rows)} of scores, differences, terciles and rates; only those that these runs can fill.

    Args:
      records: of `scores.collect`.
    """
    rules = rules_of(records)
    several = len({r.configuration.rate for r in records}) > 1
    made = {"scores": _scores(records, rules), "differences": _differences(records, rules),
            "terciles": _terciles(records, rules), "rates": _rates(records) if several else None}
    return {name: one for name, one in made.items() if one and one[1]}


def write(records, folder):
    """Writes what `build` makes as `NAME.{md,csv,tex}` below `folder`."""
    for name, (table, tidy) in build(records).items():
        sheet.write(folder, name, table, tidy)


def rules_of(records):
    """The rules that make a difference: both where there are several rates, and the primary one first."""
    return ("cross-fold", "test") if len({r.configuration.rate for r in records}) > 1 else ("test",)


def title_of(method):
    """A method's title in the papers' words."""
    return method_row(method).title


def _structures(records):
    found = {r.configuration.structure for r in records}
    return [*(s for s in STRUCTURES if s in found), *sorted(found - set(STRUCTURES))]


def _omissions(records):
    """Nothing, and where the data have them the subjects whose labels are known to be wrong."""
    subjects = {str(s) for r in records for s in np.unique(r.subject)}
    return [(), *([_OMITTED] if set(_OMITTED) & subjects else [])]


def _measures(records):
    return [m for m in MEASURES if all(m in r.measures for r in records if len(r.dice))]


def _scores(records, rules):
    """Every measure of every method and fold, with the interval of the mean over subjects."""
    tidy, subjects, measures = [], subjects_of(records), _measures(records)
    for rule in rules:
        found = cells(records, rule)
        for structure in _structures(records):
            every = {k for _, s, k in found if s == structure}
            for method in ordered({m for m, s, _ in found if s == structure}):
                folds = [(cell, subjects[structure, key[2]]) for key, cell in sorted(found.items())
                         if key[:2] == (method, structure) and (structure, key[2]) in subjects]
                groups = [(cell.name, [(cell, subject)]) for cell, subject in folds]
                groups += [(f"{structure}-all", folds)] if len(folds) == len(every) > 1 else []
                tidy += [{"rule": rule, "method": method, "fold": name, **_row_of_scores(of_it, measures)}
                         for name, of_it in groups]
    body = [[title_of(r["method"]), r["fold"], r["rule"], f"{r['dice_mean']:.3f}±{r['dice_std']:.3f}",
             f"{r['dice_subjects']:.3f} [{r['dice_low']:.3f}, {r['dice_high']:.3f}]",
             *(f"{r[f'{m}_mean']:.{2 if m in LOWER_IS_BETTER else 3}f}" for m in _measures(records) if m != "dice"),
             f"{r['seeds']}", "" if math.isnan(r["seed_sd"]) else f"{r['seed_sd']:.4f}", str(r["empty"])]
            for r in tidy if not math.isnan(r["dice_mean"])]
    return Sheet("Scores", f"Scores on the test folds. {about(records)} Dice per image as mean±std over images and "
                 f"seeds; Dice per subject as mean over subjects, {_INTERVAL}; {_DISTANCES}; 'empty' counts "
                 "predictions without any foreground; spread: standard deviation over seeds of the mean Dice. "
                 f"{about_rules(rules)}",
                 ["Method", "fold", "rule", "Dice per image", "Dice per subject",
                  *(MEASURES[m] for m in _measures(records) if m != "dice"), "seeds", "spread", "empty"],
                 body), tidy


def _row_of_scores(of_it, measures):
    """One row from the (cell, subject of each test image) of one fold or several."""
    row = {}
    for measure in measures:
        scores = [s for s in (fold_scores(cell, subject, measure) for cell, subject in of_it) if s]
        mean, std = _mean_std(scores) if scores else (math.nan, math.nan)
        row |= {f"{measure}_mean": mean, f"{measure}_std": std}
        if measure == "dice":
            mean, low, high = interval(scores) if scores else (math.nan,) * 3
            seeds = {s.seeds for s in scores}
            spread = [s.by_image.mean(1) for s in scores]
            row |= {"dice_subjects": mean, "dice_low": low, "dice_high": high,
                    "seeds": min(map(len, seeds), default=0), "rate": of_it[0][0].rate if len(of_it) == 1 else math.nan,
                    "seed_sd": float(np.std(np.mean(spread, 0), ddof=1))
                    if len(seeds) == 1 and len(scores[0].seeds) > 1 else math.nan}
    row["empty"] = int(sum((r.measures["predicted_pixels"] == 0).sum() for cell, _ in of_it for r in cell.chosen
                           if len(r.dice)))
    return row


def _mean_std(scores):
    """Over images and seeds, every image with the same weight, however many seeds its fold has."""
    values = np.concatenate([s.by_image.ravel() for s in scores])
    weights = np.concatenate([np.full(s.by_image.size, 1 / len(s.seeds)) for s in scores])
    mean = np.average(values, weights=weights)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _differences(records, rules):
    """ILN − every other method, paired, in every measure."""
    tidy = []
    for rule in rules:
        for structure in _structures(records):
            for omit in _omissions(records):
                for measure in _measures(records):
                    table = by_method(records, rule, structure, measure, omit)
                    if "iln" not in table:
                        continue
                    of_all = pool(table, records, rule, structure, measure)
                    for c in (compare(table["iln"], table[m], ("iln", m), measure, of_all)
                              for m in ordered(table) if m != "iln"):
                        tidy.append({
                            "rule": rule, "structure": structure, "without": " ".join(omit), "measure": measure,
                            "other": c.second, "difference": c.difference, "low": c.low, "high": c.high,
                            "standard_error": float(c.estimate.standard_error), "df": float(c.estimate.df),
                            "median": c.median, "improvement": c.improvement,
                            "image_difference": c.image_difference, "seed_sd": c.seed_sd,
                            "smallest_shown": c.smallest_shown, "subjects": c.subjects, "seeds": c.seeds[0],
                            "other_seeds": c.seeds[1]})
    body = []
    for r in tidy:
        unit = 1 if r["measure"] in LOWER_IS_BETTER else 100
        body.append([r["structure"], MEASURES[r["measure"]], title_of(r["other"]), r["rule"], r["without"] or "–",
                     written(r["difference"], r["low"], r["high"], unit), f"{unit * r['median']:+.2f}",
                     f"{r['improvement']:.2f}", f"{unit * r['image_difference']:+.2f}",
                     seed_spread(r["seed_sd"], unit),
                     "" if math.isnan(r["smallest_shown"]) else f"{unit * r['smallest_shown']:.2f}",
                     f"{r['subjects']}; {r['seeds']}, {r['other_seeds']}"])
    return Sheet("ILN − other",
                 "Paired differences ILN − other, mean over subjects of all folds; Dice and IoU in points "
                 "(hundredths), HD95 and ASSD in pixels (there, below 0 is better, and a run that diverged is left "
                 f"out). {about(records)} {ABOUT_INTERVALS} {achieved()}median: over subjects; "
                 "better: share of subjects on which ILN is the better, over all pairs of seeds, ties half; spread: "
                 "standard deviation of the difference over seeds; smallest: the true difference that such data would "
                 f"have shown four times in five. {about_one_seed(records)}{about_rules(rules)}",
                 ["structure", "measure", "ILN −", "rule", "without", "per subject", "median", "better",
                  "per image", "spread", "smallest", "subjects; seeds"], body), tidy


def seed_spread(seed_sd, unit=100):
    """A standard deviation over seeds for a table's cell."""
    return "one seed" if math.isnan(seed_sd) else f"{unit * seed_sd:.2f}"


def _terciles(records, rules):
    """Dice by the size of the true mask: the paper remarks on the apex, where it is small."""
    tidy, subjects = [], subjects_of(records)
    for rule in rules:
        found = cells(records, rule)
        for structure in _structures(records):
            areas = {r.configuration.fold: r.measures["truth_pixels"] for r in records
                     if r.configuration.structure == structure and len(r.dice)}
            if sum(map(len, areas.values())) < 3:  # nothing to divide by three
                continue
            limits = np.quantile(np.concatenate(list(areas.values())), [1 / 3, 2 / 3])
            for method in ordered({m for m, s, _ in found if s == structure}):
                mine = {k: fold_scores(found[method, structure, k], subjects[structure, k]) for k in areas
                        if (method, structure, k) in found}
                if set(mine) != set(areas):
                    continue
                third = np.concatenate([np.digitize(areas[k], limits, right=True) for k in mine])
                dice = np.concatenate([s.by_image.mean(0) for s in mine.values()])
                tidy += [{"rule": rule, "structure": structure, "method": method,
                          "tercile": ("small", "middle", "large")[t], "n": int((third == t).sum()),
                          "dice": float(dice[third == t].mean()), "std": float(dice[third == t].std()),
                          "upper_limit": float(limits[t]) if t < 2 else math.nan} for t in range(3)]
    keys = dict.fromkeys((r["rule"], r["structure"], r["method"]) for r in tidy)
    body = [[structure, title_of(method), rule,
             *(f"{r['dice']:.3f}±{r['std']:.3f}" for r in tidy
               if (r["rule"], r["structure"], r["method"]) == (rule, structure, method))]
            for rule, structure, method in keys]
    limits = "; ".join(f"{s} up to {r[0]['upper_limit']:.0f} and {r[1]['upper_limit']:.0f} pixels"
                       for s in dict.fromkeys(r["structure"] for r in tidy)
                       for r in [[t for t in tidy if t["structure"] == s]])
    return Sheet("Dice by mask area", "Dice per image (mean over seeds first), mean±std, by tercile of the true "
                 f"mask's area: {limits}. {about(records)} {about_rules(rules)}",
                 ["structure", "Method", "rule", "small masks", "middle", "large masks"], body), tidy


def _rates(records):
    """Mean Dice of every method at every rate: how robust a method is to the choice."""
    by_run = {}
    for r in records:
        c = r.configuration
        by_run.setdefault((c.structure, c.method, c.rate, c.fold), []).append(r)
    # The seeds that the whole grid has, so that seeds added at some rates do not blur it.
    seeds = set.intersection(*({r.configuration.seed for r in runs} for runs in by_run.values()))
    tidy = []
    for (structure, method, rate, fold), runs in sorted(by_run.items(), key=lambda item: (item[0][0], item[0][3])):
        for r in runs:
            if r.configuration.seed in seeds or not seeds:
                tidy.append({"structure": structure, "method": method, "rate": rate, "fold": fold,
                             "seed": r.configuration.seed, "dice": r.score, "status": r.status})
    rates = sorted({r["rate"] for r in tidy}, reverse=True)
    body = []
    for structure in _structures(records):
        for method in ordered({r["method"] for r in tidy if r["structure"] == structure}):
            of_it = [r for r in tidy if (r["structure"], r["method"]) == (structure, method)]
            folds = len({r["fold"] for r in tidy if r["structure"] == structure})
            body.append([structure, title_of(method), *(_rate_cell([r for r in of_it if r["rate"] == rate], folds)
                                                        for rate in rates)])
    shown = f"seed {', '.join(map(str, sorted(seeds)))}" if seeds else "all seeds"
    return Sheet("Every rate", "Mean Dice per image at every learning rate, mean over the folds; D: runs that "
                 "diverged (they count 0), C: runs that collapsed to background, of as many as there are folds and "
                 f"seeds; shown are those of {shown}. {about(records)}",
                 ["structure", "Method", *(f"{rate:g}" for rate in rates)], body), tidy


def _rate_cell(runs, folds):
    return f"{np.mean([r['dice'] for r in runs]):.3f} {marks(runs, folds)}".strip() if runs else ""


def marks(runs, folds):
    """'2D 1C' for runs that diverged and collapsed, and '1 of 3 folds' where runs are missing."""
    counts = [(sum(r["status"] == status for r in runs), letter) for status, letter in
              (("diverged", "D"), ("collapsed", "C"))]
    present = len({r["fold"] for r in runs})
    return " ".join([*(f"{count}{letter}" for count, letter in counts if count),
                     *([f"{present} of {folds} folds"] if 0 < present < folds else [])])


def about(records):
    """Data, protocol with what all runs change of it, n, rates and seeds in one sentence each."""
    configurations = [r.configuration for r in records]
    parts = []
    for structure in _structures(records):
        of_it = [r for r in records if r.configuration.structure == structure]
        images = {r.configuration.fold: len(r.dice) for r in of_it if len(r.dice)}
        synthetic = "SYNTHETIC data" if of_it[0].synthetic else "Data"
        parts.append(f"{synthetic}: {of_it[0].title}, {sum(images.values())} test images in {len(images)} "
                     f"fold{'s'[:len(images) != 1]}.")
    rates = sorted({c.rate for c in configurations}, reverse=True)
    variants = {c.variant for c in configurations}
    protocol = configurations[0].protocol.name + (variants.pop() if len(variants) == 1 else "")
    shown = ", ".join(f"{rate:g}" for rate in rates)
    parts.append(f"Protocol {protocol}. Rates {shown}. Seeds {_seeds(records)}.")
    return " ".join(filter(None, [*parts, about_rounding(records)]))


def _seeds(records):
    """Those of all runs, and which only some rates have."""
    by_rate = {}
    for c in (r.configuration for r in records):
        by_rate.setdefault((c.structure, c.method, c.fold, c.rate), set()).add(c.seed)
    every = set.intersection(*by_rate.values())
    further = ", ".join(map(str, sorted(set.union(*by_rate.values()) - every)))
    return "; ".join([*([", ".join(map(str, sorted(every)))] if every else []),
                      *([f"at some rates {further}, which the rule 'test' leaves out"] if further else [])])


def about_one_seed(records):
    """Which methods have no interval, for they have one seed; nothing where none has."""
    methods, alone = {r.configuration.method for r in records}, {}
    for rule in rules_of(records):
        if few := {m for (m, _, _), cell in cells(records, rule).items() if len(cell.chosen) == 1}:
            alone[rule] = "all methods" if few == methods else ", ".join(title_of(m) for m in ordered(few))
    if not alone:
        return ""
    if len({r.configuration.seed for r in records}) == 1:
        return "With one seed there is no interval. "
    return ("With one seed, and so without interval: " +
            "; ".join(f"{who} by the rule '{rule}'" for rule, who in alone.items()) + ". ")


def primary_rule(records):
    """The rule by which single runs are shown: the first of `rules_of` by which any can be.

    Raises:
      InputError: there is none.
    """
    for rule in rules_of(records):
        if cells(records, rule):
            return rule
    raise InputError(f"{records[0].path.parent}: no method has all of its learning rates on any fold yet, so that none "
                     "can be chosen; let the runs go on")


def about_runs(records):
    """`about`, and which run of each method and fold is shown."""
    rules = rules_of(records)
    rule = primary_rule(records)
    chosen = f"Rate by the rule '{rule}', {RULES[rule]}" if len(rules) > 1 else about_rules(rules).rstrip(".")
    return f"{about(records)} {chosen}; the first seed."


def about_rules(rules):
    """How the learning rates were chosen."""
    if len(rules) == 1:
        return "One rate, nothing to choose."
    return "Rules: " + "; ".join(f"'{rule}', {RULES[rule]}" for rule in rules) + "."
