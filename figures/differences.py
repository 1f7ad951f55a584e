"""Paired differences ILN − other: a forest plot, with both rules of choosing the learning rate."""

from experiments.analysis.captions import RULE_NAMES, about_rules, title_of
from experiments.analysis.verdicts import HALF_A_POINT
from figures.style import BLACK, BLUE, ORANGE, plt, save

_LOOKS = {"cross-fold": (BLUE, "o"), "test": (ORANGE, "s")}


def forests(rows):
    """{structure: {other method: {rule: tidy row}}} of the table 'differences': Dice, all subjects."""
    made = {}
    for r in rows:
        if r["measure"] == "dice" and not r["without"]:
            made.setdefault(r["structure"], {}).setdefault(r["other"], {})[r["rule"]] = r
    return made


def draw(folder, rows, about):
    """Draws the forest plot, one panel a structure.

    Args:
      rows: tidy rows of the table 'differences'.
      about: data, protocol, n, rates and seeds in words.
    """
    found = forests(rows)
    height = max(len(methods) for methods in found.values())
    figure, axes = plt.subplots(1, len(found), figsize=(5.6 * len(found), 1.3 + 0.36 * height), layout="constrained",
                                squeeze=False)
    rules = [rule for rule in _LOOKS if any(r["rule"] == rule for r in rows)]
    for axis, (structure, methods) in zip(axes[0], found.items(), strict=True):
        for i, by_rule in enumerate(methods.values()):
            for k, rule in enumerate(rule for rule in rules if rule in by_rule):
                r, (colour, marker) = by_rule[rule], _LOOKS[rule]
                y = i + (0.14 * (2 * k - 1) if len(rules) > 1 else 0)
                axis.plot([100 * r["low"], 100 * r["high"]], [y, y], color=colour)
                axis.plot(100 * r["difference"], y, marker, color=colour, markersize=5,
                          label=f"rule '{RULE_NAMES[rule]}'" if i == 0 else None)
        axis.axvline(0, color=BLACK, linewidth=0.8)
        axis.axvline(100 * HALF_A_POINT, color=BLACK, linewidth=0.8, linestyle=":")
        axis.set_yticks(range(len(methods)), [f"ILN − {title_of(m)}" for m in methods])
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.set(xlabel="points of Dice", title=structure)
        axis.grid(False, axis="y")
    if len(rules) > 1:
        axes[0, 0].legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=5)
    return save(figure, folder, "differences",
                "Paired differences ILN − other in Dice, mean over the subjects of all folds, with 95 % "
                f"intervals over subjects, seeds and splits where there are several seeds. {about} "
                f"{about_rules(rules)} Right of the line at 0, ILN is the better; dotted: half a point.")
