"""The gain by chance that comes of showing each method's best rate on the test fold.

It rewards flat rate curves: a method whose rates are about equally good shows the luckiest of several runs, and a
method with a single good rate shows the run at that rate. With the rate curve c and a run's noise e, the gain is
E[max over rates of (c + e)] − max over rates of c.
"""

from typing import NamedTuple

import numpy as np

from experiments.analysis.captions import about_data, sort_methods, title_of
from ilnrepro.comparison.choice import rules_of
from ilnrepro.comparison.differences import by_method
from ilnrepro.comparison.sheet import Sheet

DRAWS = 1000


class Gain(NamedTuple):
    """The gain by chance of one method, in Dice.

    Attributes:
      gain: by the estimated curve and noise.
      draws: the gain by curves and noises drawn about the estimated ones with their errors, `[DRAWS]`.
      noise: standard deviation of a run's mean Dice.
      rates: their number.
    """

    gain: float
    draws: np.ndarray
    noise: float
    rates: int

    @property
    def interval(self):
        """(low, high): 95 % of the draws."""
        return tuple(map(float, np.percentile(self.draws, [2.5, 97.5])))


def expected_gain(curve, noise, rng, draws=DRAWS):
    """E[max(curve + noise)] − max(curve), `[...]`.

    Args:
      curve: mean Dice by rate, `[..., rates]`.
      noise: standard deviation of a run's mean Dice, `[...]`.
      rng: a NumPy generator.
      draws: number of draws of the noise.
    """
    normal = rng.standard_normal((draws, curve.shape[-1]))
    best = (np.expand_dims(curve, -2) + np.asarray(noise)[..., None, None] * normal).max(-1).mean(-1)
    # The best rate's own score is averaged over the same draws, so that a single rate gains exactly 0.
    best_rate = curve.max(-1) + noise * normal.mean(0)[curve.argmax(-1)]
    return best - best_rate


def gain_of(scores, noise, df, rng):
    """The `Gain` of a method.

    Args:
      scores: mean Dice of one run, `[folds, rates]`.
      noise, df: a run's standard deviation, and its degrees of freedom.
    """
    curve = scores.mean(0)
    drawn_noise = noise * np.sqrt(df / rng.chisquare(df, DRAWS))
    drawn = curve + drawn_noise[:, None] / np.sqrt(len(scores)) * rng.standard_normal((DRAWS, len(curve)))
    return Gain(float(expected_gain(curve, noise, rng)), expected_gain(drawn, drawn_noise, rng, 200), noise, len(curve))


def gains(records, structure):
    """{method: `Gain`} of the methods with several rates on all folds, and several seeds at the chosen rates."""
    table, gain_by_method = by_method(records, "cross-fold", structure), {}
    for method, folds in table.items():
        if any(len(s.seeds) < 2 for s in folds):
            continue
        df = sum(len(s.seeds) - 1 for s in folds)
        noise = np.sqrt(sum(((row := s.by_image.mean(1)) - row.mean()) @ (row - row.mean()) for s in folds) / df)
        runs = {}
        for r in records:
            c = r.configuration
            if (c.method, c.structure) == (method, structure) and not r.further:
                runs.setdefault((c.fold, c.rate), {})[c.seed] = r.score
        numbers, rates = (sorted({key[i] for key in runs}) for i in (0, 1))
        first = min(set.intersection(*map(set, runs.values())), default=None)
        if len(rates) > 1 and first is not None:
            scores = np.array([[runs[k, rate][first] for rate in rates] for k in numbers])
            gain_by_method[method] = gain_of(scores, float(noise), df, np.random.default_rng(0))
    return gain_by_method


def build(paper, records):
    """(`Sheet`, tidy rows) of the gain of each method, and of its part in each of the paper's differences.

    None where there is one rate.
    """
    if len(rules_of(records)) < 2:
        return None
    tidy = []
    for structure in dict.fromkeys(r.configuration.structure for r in records):
        gain = gains(records, structure)
        tidy += [{"structure": structure, "of": title_of(m), "gain": g.gain,
                  **dict(zip(("low", "high"), g.interval, strict=True)), "noise": g.noise, "rates": g.rates,
                  "paper": float("nan")} for m, g in ((m, gain[m]) for m in sort_methods(gain))]
        for claim in (c for c in paper.claims if c.structure == structure):
            first, second = gain.get(claim.first), gain.get(claim.second)
            if first and second and first.rates == second.rates:
                low, high = np.percentile(first.draws - second.draws, [2.5, 97.5])
                tidy.append({"structure": structure, "of": f"{title_of(claim.first)} − {title_of(claim.second)}",
                             "gain": first.gain - second.gain, "low": float(low), "high": float(high),
                             "noise": float("nan"), "rates": first.rates,
                             "paper": float(claim.published_differences.mean())})
    if not tidy:
        return None
    body = [[r["structure"], r["of"], f"{100 * r['gain']:+.2f} [{100 * r['low']:+.2f}, {100 * r['high']:+.2f}]",
             "" if np.isnan(r["noise"]) else f"{100 * r['noise']:.2f}", str(r["rates"]),
             "" if np.isnan(r["paper"]) else f"{100 * r['paper']:+.2f}"] for r in tidy]
    return Sheet("Best by chance", "What showing the best of several rates on the test fold gives by chance, in points "
                 "of Dice: the expected maximum over rates of curve and noise of one run, less the curve's own; "
                 "curve: one run a fold, mean over folds; noise: standard deviation over seeds at the chosen rates. "
                 "95 % interval in brackets over curves and noises that could have led to these. In rows of two "
                 "methods: how much of a difference the rule alone explains, beside the paper's difference. "
                 f"{about_data(records)}",
                 ["structure", "of", "gain by chance", "noise", "rates", "paper's difference"], body), tidy
