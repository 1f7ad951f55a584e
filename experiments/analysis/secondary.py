"""The table of the claims by other statistics.

These are differences averaged over learning rates, medians over subjects, and intervals that hold for all claims at
once.
"""

import numpy as np

from experiments.analysis.captions import about_choice, about_data, format_difference
from experiments.analysis.coverage import about_coverage
from ilnrepro.comparison import intervals
from ilnrepro.comparison.choice import rules_of
from ilnrepro.comparison.differences import comparisons
from ilnrepro.comparison.intervals import Folds
from ilnrepro.comparison.sheet import Sheet


def over_rates(records, first, second, structure, up_to):
    """(`intervals.Estimate`, rates): the difference first − second averaged over learning rates, without any choice.

    The rates are those up to `up_to` at which no run of either method diverged or collapsed. The result is None where
    there are fewer than two such rates, or fewer than two folds.
    """
    runs = {}
    for r in records:
        c = r.configuration
        if c.structure == structure and c.method in (first, second) and c.rate <= up_to:
            runs.setdefault((c.method, c.fold, c.rate), {})[c.seed] = r
    folds, rates = (sorted({key[i] for key in runs}) for i in (1, 2))
    if not runs or (seed := min(set.intersection(*map(set, runs.values())), default=None)) is None:
        return None
    rates = [rate for rate in rates if all(
        (m, k, rate) in runs and runs[m, k, rate][seed].status == "complete" for m in (first, second) for k in folds)]
    if len(rates) < 2 or len(folds) < 2:
        return None
    scores = [[np.array([_by_subject(runs[m, k, rate][seed]) for rate in rates]) for k in folds]
              for m in (first, second)]
    differences = [a.mean(0) - b.mean(0) for a, b in zip(*scores, strict=True)]
    n = np.array([len(d) for d in differences])
    # The noise of one method's runs is the variance that folds and rates do not explain.
    df = (len(folds) - 1) * (len(rates) - 1)
    noise = [intervals.residuals(np.array([of_fold.mean(1) for of_fold in of_method])) / df / len(rates)
             for of_method in scores]
    by_fold = Folds(np.array([d.mean() for d in differences]), n / n.sum(),
                    np.array([d.var(ddof=1) / len(d) for d in differences]), n - 1,
                    np.repeat(np.array(noise)[:, None], len(folds), 1), np.full((2, len(folds)), df / len(folds)))
    return intervals.components(by_fold), rates


def _by_subject(record):
    """Mean Dice of each subject, sorted by name."""
    _, index = np.unique(record.subject, return_inverse=True)
    return np.bincount(index, record.dice) / np.bincount(index)


def build(paper, records):
    """(`Sheet`, tidy rows); None where no claim has runs, or the data are synthetic."""
    rule, tidy = rules_of(records)[0], []
    if any(r.synthetic for r in records):
        return None
    structures = {r.configuration.structure for r in records}
    for structure in dict.fromkeys(c.structure for c in paper.claims if c.structure in structures):
        claims = {(c.first, c.second): c for c in paper.claims if c.structure == structure}
        compared = list(comparisons(records, claims, rule, structure))
        for comparison in compared:
            claim = claims[comparison.first, comparison.second]
            low, high = comparison.estimate.of_level(1 - 0.05 / len(compared))
            averaged = over_rates(records, claim.first, claim.second, structure, paper.averaged_up_to)
            mean, (mean_low, mean_high) = ((averaged[0].mean, averaged[0].interval) if averaged else
                                           (np.nan, (np.nan, np.nan)))
            tidy.append({"claim": f"{claim.text} ({structure})", "difference": comparison.difference,
                         "low": float(low), "high": float(high), "median": comparison.median,
                         "over_rates": float(mean), "over_rates_low": float(mean_low),
                         "over_rates_high": float(mean_high),
                         "rates": " ".join(f"{r:g}" for r in sorted(averaged[1], reverse=True)) if averaged else ""})
    if not tidy:
        return None
    body = [[r["claim"], format_difference(r["difference"], r["low"], r["high"]), f"{100 * r['median']:+.2f}",
             format_difference(*(r[f"over_rates{end}"] for end in ("", "_low", "_high"))) if r["rates"] else "",
             r["rates"]] for r in tidy]
    return Sheet("The claims seen otherwise", "Differences in points of Dice. All claims together: 95 % intervals that "
                 "hold for all claims of a structure at once (Bonferroni). Median: over subjects. Averaged over rates: "
                 f"mean over the rates up to {paper.averaged_up_to:g} at which no run of either method was lost, one "
                 "seed, free of any choice; its interval over subjects, runs (what folds and rates do not explain) and "
                 f"folds. {about_data(records)} {about_choice(records)} {about_coverage()}".rstrip(),
                 ["claim", "all claims together", "median", "averaged over rates", "rates"], body), tidy
