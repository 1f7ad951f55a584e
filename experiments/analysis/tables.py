"""The papers' tables of scores, from run files."""

import math

import numpy as np

from experiments.analysis.captions import rates_in_words, resolution
from ilnrepro.comparison.choice import RULE_NAMES, RULES, cells, rules_of
from ilnrepro.comparison.scores import about_rounding
from ilnrepro.comparison.sheet import Sheet
from ilnrepro.comparison.sheet import write as write_sheet
from ilnrepro.norms import method as method_row

COLUMNS = ("method", "fold", "n", "mean", "std", "rate", "rule", "seeds", "seed_sd", "runs", "diverged", "collapsed",
           "both_empty", "whole_mean", "published_mean", "published_std")


def build(paper, records, rule, methods=None):
    """The tidy rows of a table: one for each method and fold, and one for each method and structure ('LV-mean').

    A method has a mean only if it ran on all folds of the structure on which any method did.

    Args:
      paper: a `PaperTable`.
      records: of `scores.collect`.
      rule: of `choice.RULES`.
      methods: names; None takes the table's, and those that `PaperTable.table_methods` adds if they ran on all folds.

    Returns:
      a list of dictionaries with the keys COLUMNS and 'label'.
    """
    labels = dict(paper.rows) | _further_methods(paper, records)
    cell_of = cells(records, rule)
    rows = []
    for method, label in labels.items():
        if methods is not None and method not in methods:
            continue
        for structure in _structures(paper, (r.configuration.structure for r in records)):
            folds = [c for cell, c in sorted(cell_of.items()) if cell[:2] == (method, structure)]
            rows += [{"label": label, **_row(cell, rule)} for cell in folds]
            if len(folds) == len({fold for _, s, fold in cell_of if s == structure}) > 1:
                rows.append({"label": label, **_mean_row(folds, rule)})
            if folds:
                rows[-1] |= _published_beside(folds, paper)
    return rows


def _further_methods(paper, records):
    """{name: title} of the methods that are added to this table because they are in none of the paper's."""
    if paper.table_methods is None:
        return {}
    folds = {}
    for r in records:
        folds.setdefault(r.configuration.method, set()).add((r.configuration.structure, r.configuration.fold))
    everywhere = set.union(*folds.values())
    return {m: method_row(m).title for m in folds if m not in paper.table_methods and folds[m] == everywhere}


def _structures(paper, present):
    """The structures of a table: the paper's own if any of them has runs, then the others that have runs."""
    present = set(present)
    return [*(paper.structures if present & set(paper.structures) else ()), *sorted(present - set(paper.structures))]


def _row(cell, rule):
    return {"method": cell.method, "fold": cell.name, "n": cell.n, "mean": cell.mean, "std": cell.std,
            "rate": cell.rate, "rule": rule, "seeds": len({r.configuration.seed for r in cell.records}),
            "seed_sd": cell.seed_sd, "runs": cell.runs, "diverged": cell.diverged, "collapsed": cell.collapsed,
            "lost": sum(r.status != "complete" for r in cell.records),
            "both_empty": sum(r.both_empty for r in cell.records), "whole_mean": _own_resolution_mean(cell),
            "published_mean": math.nan, "published_std": math.nan}


def _mean_row(folds, rule):
    """The tidy row of the mean over a structure's folds."""
    first = folds[0]
    row = _row(first, rule) | {"fold": f"{first.structure}-mean", "n": sum(c.n for c in folds), "rate": math.nan,
                               "mean": float(np.mean([c.mean for c in folds])),
                               "std": float(np.mean([c.std for c in folds])), "seed_sd": _mean_seed_sd(folds),
                               "seeds": min(len(c.records) for c in folds)}
    row |= {key: sum(getattr(c, key) for c in folds) for key in ("runs", "diverged", "collapsed")}
    row["whole_mean"] = float(np.mean([_own_resolution_mean(c) for c in folds]))
    row["lost"] = sum(r.status != "complete" for c in folds for r in c.records)
    row["both_empty"] = sum(r.both_empty for c in folds for r in c.records)
    return row


def _own_resolution_mean(cell):
    """Mean Dice over images (and seeds) at the data set's own resolution; NaN where it is not known.

    A run that diverged counts 0.
    """
    means = [float(r.measures["whole_dice"].mean()) if "whole_dice" in r.measures else math.nan
             for r in cell.records if len(r.dice)]
    return sum(means) / len(cell.records) if means else math.nan


def _published_beside(folds, paper):
    """The columns of published numbers, where they may stand beside these scores."""
    record = folds[0].records[0]
    published = paper.published(folds[0].method, folds[0].structure)
    if not published or not paper.comparable(record.title, record.synthetic, len(folds)):
        return {}
    means, stds = published
    return {"published_mean": float(np.mean(means)), "published_std": float(np.mean(stds)) if stds else math.nan}


def _mean_seed_sd(folds):
    """Standard deviation over seeds of the mean over folds; NaN where folds have different seeds, or one."""
    if len({tuple(r.configuration.seed for r in c.records) for c in folds}) > 1 or len(folds[0].records) < 2:
        return math.nan
    return float(np.std(np.mean([c.seed_means for c in folds], axis=0), ddof=1))


def caption(paper, records, rule):
    """The caption: scores, data, protocol, rates, seeds and rule of a table."""
    configurations = [r.configuration for r in records]
    protocol = configurations[0].protocol
    cases = "volumes" if protocol.slab else "images"
    lines = [f"{paper.title}: {paper.subject}. Dice (DSC) on the test fold at {resolution(records)}, mean±std over "
             f"{cases}; fold k tests on group k and trains on the others."]
    if further := _further_methods(paper, records):
        lines.append(f"Added, not in the paper's table: {', '.join(further.values())}.")
    for structure in _structures(paper, (c.structure for c in configurations)):
        runs = [r for r in records if r.configuration.structure == structure]
        if runs:
            synthetic = "SYNTHETIC data: " if runs[0].synthetic else "Data: "
            lines.append(f"{structure}: {synthetic}{runs[0].title} ({runs[0].configuration.dataset}).")
        else:
            lines.append(f"{structure}: no data set given, columns left empty.")
    steps_of_epoch = "every slab" if protocol.slab else "every image at every angle"
    steps = f"{protocol.steps_per_epoch} steps" if protocol.steps_per_epoch else steps_of_epoch
    lines.append(f"Protocol {protocol.name}{configurations[0].variant}: {protocol.epochs} epochs of {steps}, batch "
                 f"{protocol.batch}; images averaged over {protocol.shrink}×{protocol.shrink} pixels"
                 + (f", volumes in slabs of {protocol.slab} slices." if protocol.slab else "."))
    lines.append(paper.remarks.get(protocol.name, ""))
    seeds = sorted({r.configuration.seed for cell in cells(records, rule).values() for r in cell.records})
    rates = rates_in_words([r for r in records if rule != "test" or not r.further])
    choice = "one rate, nothing to choose" if rules_of(records) == ("test",) else \
        f"chosen by the rule '{RULE_NAMES[rule]}': {RULES[rule]}"
    lines.append(f"Learning rates {rates} ({choice}). Seeds {', '.join(map(str, seeds))}.")
    if any(paper.comparable(r.title, r.synthetic, 3) for r in records):
        lines.append(paper.note)
    if any("whole_dice" in r.measures for r in records):
        lines.append("'own resolution' is our mean over the folds with predicted masks enlarged to the data set's "
                     "images.")
    return " ".join(filter(None, [*lines, about_rounding(records)]))


def sheet(paper, rows, text, synthetic):
    """The `Sheet` of tidy rows, with methods as rows, folds as columns, and the best of each column bold."""
    columns = [f"{s}-{k}" for s in _structures(paper, (row["fold"].rpartition("-")[0] for row in rows))
               if s in paper.structures and paper.folds for k in (*paper.folds, "mean")]
    columns += sorted({row["fold"] for row in rows} - set(columns))
    by_column = sorted(rows, key=lambda row: columns.index(row["fold"]))
    whole = {f"{row['fold'].rpartition('-')[0]} own resolution": row["fold"] for row in by_column
             if row["fold"].endswith("-mean") and not math.isnan(row["whole_mean"])}
    published = {f"{row['fold'].rpartition('-')[0]} published": row["fold"] for row in by_column
                 if not math.isnan(row["published_mean"])}
    by_key = {(row["label"], row["fold"]): row for row in rows}
    labels = list(dict.fromkeys(row["label"] for row in rows))
    body = [[label, *(_score(by_key.get((label, column))) for column in columns),
             *(_own_resolution(by_key.get((label, column))) for column in whole.values()),
             *(_published(by_key.get((label, column))) for column in published.values())] for label in labels]
    best = set()
    for j, column in enumerate(columns, 1):
        means = [round(by_key[label, column]["mean"], 3) if (label, column) in by_key else math.nan for label in labels]
        top = max((mean for mean in means if not math.isnan(mean)), default=None)
        best |= {(i, j) for i, mean in enumerate(means) if mean == top}
    title = (f"{paper.title} ({'SYNTHETIC, ' if synthetic else ''}DSC mean±std, rate by rule "
             f"'{RULE_NAMES[rows[0]['rule']]}')")
    return Sheet(title, text, ["Method", *columns, *whole, *published], body, best, _notes(rows, labels))


def _score(row):
    if row is None:
        return ""
    if math.isnan(row["mean"]):
        return "diverged"
    mark = "*" if row["lost"] else ""
    return f"{row['mean']:.3f}±{row['std']:.3f}{mark}"


def _own_resolution(row):
    return "" if row is None or math.isnan(row["whole_mean"]) else f"{row['whole_mean']:.3f}"


def _published(row):
    if row is None or math.isnan(row["published_mean"]):
        return ""
    return f"{row['published_mean']:.3f}" + ("" if math.isnan(row["published_std"]) else f"±{row['published_std']:.3f}")


def _notes(rows, labels):
    """The `Sheet` below the table: chosen rates, numbers of images, and runs that diverged or collapsed."""
    body = []
    for label in labels:
        folds = [row for row in rows if row["label"] == label and not row["fold"].endswith("mean")]
        lost = [f"{row['fold']}: {row[what]} of {row['runs']} {what}"
                for row in folds for what in ("diverged", "collapsed") if row[what]]
        spread = [f"{row['fold']} " + ("one seed" if row["seeds"] == 1 else
                                       f"{row['seed_sd']:.3f} ({row['seeds']} seeds)") for row in folds]
        body.append([label, ", ".join(f"{row['fold']} {row['rate']:g}" for row in folds),
                     ", ".join(f"{row['fold']} {row['n']}" for row in folds),
                     ", ".join(spread) if any(row["seeds"] > 1 for row in folds) else "one seed",
                     "; ".join(lost) or "none"])
    return Sheet("", "", ["Method", "learning rate chosen", "test images", "SD over seeds",
                          "diverged or collapsed runs, over all rates and seeds (*: in this score)"], body)


def sheets(paper, records, methods=None):
    """[(file stem, `Sheet`, tidy rows)], one table for each rule of `choice.rules_of`."""
    tables = []
    for rule in rules_of(records)[::-1]:
        rows = build(paper, records, rule, methods)
        if not rows:
            continue
        table = sheet(paper, rows, caption(paper, records, rule), any(r.synthetic for r in records))
        tidy = [{column: row[column] for column in COLUMNS} for row in rows]
        tables.append((paper.stem + ("-cross-fold" if rule == "cross-fold" else ""), table, tidy))
    return tables


def write(paper, records, folder, methods=None):
    """Writes the tables of `sheets` into `folder`; returns them for the screen."""
    tables = sheets(paper, records, methods)
    for stem, table, tidy in tables:
        write_sheet(folder, stem, table, tidy)
    return [table.rich() for _, table, _ in tables]
