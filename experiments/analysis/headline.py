"""The answer on one screen: a sentence, and a table with a row for each claim and the structures side by side."""

from ilnrepro.comparison.sheet import Sheet

# The words for each verdict in the sentence: the verb phrase, and the conjunction before its claims.
_PHRASES = {"supported": ("support", "that"), "contradicted": ("contradict", "that"),
         "no gain of half a point": ("show no gain of half a point behind the claim", "that"),
         "undecided": ("leave undecided", "whether")}
_COLUMNS = ("paper", "ours", "verdict", "power")


def build(paper, tidy):
    """(`Sheet`, tidy rows) of the tidy rows of `verdicts.build`; None where there are none.

    Args:
      paper: the `Paper`, whose claims the rows are.
    """
    if not tidy:
        return None
    claim_of = {f"{claim.text} ({claim.structure})": claim.text for claim in paper.claims}
    structures = list(dict.fromkeys(r["structure"] for r in tidy))
    by_claim = {}
    for r in tidy:
        by_claim.setdefault(claim_of[r["claim"]], {})[r["structure"]] = r
    parts = [_part(s, [(claim, rows[s]["verdict"]) for claim, rows in by_claim.items() if s in rows])
             for s in structures]
    answer = "; ".join(parts)
    return Sheet(
        "The answer",
        f"{answer[0].upper()}{answer[1:]}. Differences in points of Dice; paper: ± half its 95 % interval over three "
        "folds; ours: with a 95 % interval; power: the probability that such data would have shown the paper's "
        "difference if it were true.",
        ["claim", *(f"{s}: {key}" for s in structures for key in _COLUMNS)],
        [[claim, *(rows[s][key] if s in rows else "" for s in structures for key in _COLUMNS)]
         for claim, rows in by_claim.items()]), [
        {"claim": claim, **{f"{s}_{key}": rows[s][key] for s in structures if s in rows for key in _COLUMNS}}
        for claim, rows in by_claim.items()]


def _part(structure, verdicts):
    """'on LV these runs support that ILN is better than None and LN, and leave undecided whether GN16 helps'."""
    if all(verdict == "no data" for _, verdict in verdicts):
        return f"on {structure} there are no data yet"
    parts = []
    for kind, (phrase, conjunction) in _PHRASES.items():
        if claims := [claim for claim, verdict in verdicts if verdict == kind]:
            parts.append(f"{phrase} {_join_claims(claims, conjunction)}")
    return f"on {structure} these runs {', and '.join(parts)}"


def _join_claims(claims, conjunction):
    """'that ILN is better than None and LN, that GN16 helps': claims that differ in their last word share the rest."""
    groups = {}
    for claim in claims:
        stem, _, last = claim.rpartition(" ")
        groups.setdefault(stem, []).append(last)
    return ", ".join(f"{conjunction} {stem} {_join_words(last)}" for stem, last in groups.items())


def _join_words(words):
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
