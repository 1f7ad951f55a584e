"""Tables from run files: on the screen, and as Markdown, CSV and LaTeX."""

import math

import numpy as np

from experiments.papers import ALL_TABLES, STRUCTURES, TABLES
from experiments.scores import RULES, cells
from experiments.sheet import Sheet
from experiments.sheet import write as write_sheet
from ilnrepro.norms import method as method_row

COLUMNS = ("method", "fold", "n", "mean", "std", "rate", "rule", "seeds", "seed_sd", "runs", "diverged", "collapsed",
           "both_empty", "published_mean", "published_std")


def build(number, records, rule, methods=None):
    """Everything a table says: tidy rows, one a method and fold and one a method and structure ('LV-mean').

    Args:
      number: a key of `papers.ALL_TABLES`.
      records: of `scores.collect`.
      rule: of `scores.RULES`.
      methods: which methods; those that none of the paper's tables has are added to Table 3, if they ran on all folds.

    Returns:
      a list of dictionaries with the keys COLUMNS and 'label'.
    """
    paper = ALL_TABLES[number]
    labels = dict(paper.rows)
    if number == 3:
        known = {m for table in TABLES.values() for m in table.rows}
        folds = {}
        for r in records:
            folds.setdefault(r.configuration.method, set()).add((r.configuration.structure, r.configuration.fold))
        everywhere = set.union(*folds.values())
        labels |= {m: method_row(m).title for m in folds if m not in known and folds[m] == everywhere}
    found = cells(records, rule)
    rows = []
    for method, label in labels.items():
        if methods is not None and method not in methods:
            continue
        for structure in _structures((r.configuration.structure for r in records), number):
            folds = [c for key, c in sorted(found.items()) if key[:2] == (method, structure)]
            rows += [{"label": label, **_row(cell, rule)} for cell in folds]
            if len(folds) > 1:
                rows.append({"label": label, **_mean_row(folds, rule, paper)})
    return rows


def _structures(present, number):
    """Those that have runs, the paper's two first; in its tables both of them, if there are runs of any."""
    present = set(present)
    both = number in TABLES and present & set(STRUCTURES)
    return [*(s for s in STRUCTURES if both or s in present), *sorted(present - set(STRUCTURES))]


def _row(cell, rule):
    return {"method": cell.method, "fold": cell.name, "n": cell.n, "mean": cell.mean, "std": cell.std,
            "rate": cell.rate, "rule": rule, "seeds": len({r.configuration.seed for r in cell.chosen}),
            "seed_sd": cell.seed_sd, "runs": cell.runs, "diverged": cell.diverged, "collapsed": cell.collapsed,
            "both_empty": sum(r.both_empty for r in cell.chosen), "published_mean": math.nan, "published_std": math.nan}


def _mean_row(folds, rule, paper):
    """The mean over a structure's folds; published numbers only where the data are the paper's."""
    first = folds[0]
    row = _row(first, rule) | {"fold": f"{first.structure}-mean", "n": sum(c.n for c in folds), "rate": math.nan,
                               "mean": float(np.mean([c.mean for c in folds])),
                               "std": float(np.mean([c.std for c in folds])), "seed_sd": _mean_seed_sd(folds)}
    row |= {key: sum(getattr(c, key) for c in folds) for key in ("runs", "diverged", "collapsed")}
    row["both_empty"] = sum(r.both_empty for c in folds for r in c.chosen)
    record = first.chosen[0]
    published = paper.published(first.method, first.structure)
    if published and len(folds) == 3 and not record.synthetic and "Sunnybrook" in record.title:
        row |= {"published_mean": float(np.mean(published[0])), "published_std": float(np.mean(published[1]))}
    return row


def _mean_seed_sd(folds):
    """Spread over seeds of the mean over folds, for seeds that every fold has."""
    if len({len(c.seed_means) for c in folds}) > 1 or len(folds[0].seed_means) < 2:
        return math.nan
    return float(np.std(np.mean([c.seed_means for c in folds], axis=0), ddof=1))


def caption(number, records, rule):
    """What the table shows: scores, data, protocol, rates, seeds, rule."""
    paper = ALL_TABLES[number]
    lines = [f"{paper.title}: {paper.subject}. Dice (DSC) on the test fold, mean±std over images; "
             "fold k tests on group k and trains on the others."]
    configurations = [r.configuration for r in records]
    for structure in _structures((c.structure for c in configurations), number):
        of_it = [r for r in records if r.configuration.structure == structure]
        if of_it:
            synthetic = "SYNTHETIC data: " if of_it[0].synthetic else "Data: "
            lines.append(f"{structure}: {synthetic}{of_it[0].title} ({of_it[0].configuration.dataset}).")
        else:
            lines.append(f"{structure}: no data set given, columns left empty.")
    protocol = configurations[0].protocol
    steps = f"{protocol.steps_per_epoch} steps" if protocol.steps_per_epoch else "every image at every angle"
    lines.append(f"Protocol {protocol.name}{configurations[0].variant}: {protocol.epochs} epochs of {steps}, batch "
                 f"{protocol.batch}; images averaged over {protocol.shrink}×{protocol.shrink} pixels.")
    rates = sorted({c.rate for c in configurations}, reverse=True)
    seeds = sorted({c.seed for c in configurations})
    chosen = f"chosen by the rule '{rule}': {RULES[rule]}" if len(rates) > 1 else "one rate, nothing to choose"
    lines.append(f"Learning rates {', '.join(f'{r:g}' for r in rates)} ({chosen}). Seeds {', '.join(map(str, seeds))}.")
    if any("Sunnybrook" in r.title and not r.synthetic for r in records):
        lines.append("'published' is the paper's mean over its three folds; its groups are random and unknown, so only "
                     "these means compare.")
    return " ".join(lines)


def sheet(number, rows, text, synthetic):
    """The table for people: a row a method, a column a fold, the best of each column bold."""
    there = _structures((row["fold"].rpartition("-")[0] for row in rows), number)
    columns = [f"{s}-{k}" for s in there if s in STRUCTURES for k in (1, 2, 3, "mean")]
    columns += sorted({row["fold"] for row in rows} - set(columns))
    published = {f"{row['fold'][:-5]} published": row["fold"] for row in rows if not math.isnan(row["published_mean"])}
    by_key = {(row["label"], row["fold"]): row for row in rows}
    labels = list(dict.fromkeys(row["label"] for row in rows))
    body = [[label, *(_score(by_key.get((label, column))) for column in columns),
             *(_published(by_key.get((label, column))) for column in published.values())] for label in labels]
    best = set()
    for j, column in enumerate(columns, 1):
        means = [round(by_key[label, column]["mean"], 3) if (label, column) in by_key else math.nan for label in labels]
        top = max((mean for mean in means if not math.isnan(mean)), default=None)
        best |= {(i, j) for i, mean in enumerate(means) if mean == top}
    about = f"{'SYNTHETIC, ' if synthetic else ''}DSC mean±std, rate by rule '{rows[0]['rule']}'"
    title = f"{ALL_TABLES[number].title} ({about})"
    return Sheet(title, text, ["Method", *columns, *published], body, best, _notes(rows, labels))


def _score(row):
    if row is None:
        return ""
    if math.isnan(row["mean"]):
        return "diverged"
    mark = "*" if row["diverged"] or row["collapsed"] else ""
    return f"{row['mean']:.3f}±{row['std']:.3f}{mark}"


def _published(row):
    return f"{row['published_mean']:.3f}±{row['published_std']:.3f}" if row else ""


def _notes(rows, labels):
    """The chosen rates, the numbers of images, and the runs that diverged or collapsed."""
    body = []
    for label in labels:
        folds = [row for row in rows if row["label"] == label and not row["fold"].endswith("mean")]
        lost = [f"{row['fold']}: {row[what]} of {row['runs']} {what}"
                for row in folds for what in ("diverged", "collapsed") if row[what]]
        spread = [f"{row['fold']} {row['seed_sd']:.3f}" for row in folds if not math.isnan(row["seed_sd"])]
        body.append([label, ", ".join(f"{row['fold']} {row['rate']:g}" for row in folds),
                     ", ".join(f"{row['fold']} {row['n']}" for row in folds), ", ".join(spread) or "one seed",
                     "; ".join(lost) or "none"])
    return Sheet("", "", ["Method", "learning rate chosen", "test images", "spread over seeds",
                          "diverged or collapsed runs (*), over all rates and seeds"], body)


def write(number, records, folder, methods=None):
    """Writes the table (.md, .csv, .tex) below `folder`, and the same by the cross-fold rule where rates were chosen.

    Returns:
      the tables for the screen.
    """
    shown = []
    for rule in RULES if len({r.configuration.rate for r in records}) > 1 else ("test",):
        rows = build(number, records, rule, methods)
        if not rows:
            continue
        table = sheet(number, rows, caption(number, records, rule), any(r.synthetic for r in records))
        tidy = [{key: row[key] for key in COLUMNS} for row in rows]
        write_sheet(folder, ALL_TABLES[number].stem + ("" if rule == "test" else f"-{rule}"), table, tidy)
        shown.append(table.rich())
    return shown
