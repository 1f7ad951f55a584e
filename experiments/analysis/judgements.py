"""All tables on a paper's claims."""

from experiments.analysis import agreement, secondary, selection, verdicts


def build(paper, records, results):
    """[(file stem, `Sheet`, tidy rows)] of those that these runs can fill; none for a paper without claims.

    Args:
      results: the folder, where the measured cost lies.
    """
    if not paper.claims:
        return []
    made = {"verdicts": verdicts.build(paper, records),
            "further-claims": verdicts.build_further(paper, records, results),
            "secondary": secondary.build(paper, records), "best-by-chance": selection.build(paper, records),
            "rho-layers": agreement.build(records)}
    return [(stem, *built) for stem, built in made.items() if built]
