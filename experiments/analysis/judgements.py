"""All tables on a paper's claims."""

from experiments.analysis import agreement, headline, secondary, selection, verdicts


def build(paper, records, results):
    """[(file stem, `Sheet`, tidy rows)] of the tables that have rows for these runs; none for a paper without claims.

    Args:
      results: the results folder, which holds the measured cost.
    """
    if not paper.claims:
        return []
    accuracy = verdicts.build(paper, records)
    built = {"verdicts": accuracy, "answer": accuracy and headline.build(paper, accuracy[1]),
             "further-claims": verdicts.build_further(paper, records, results),
             "secondary": secondary.build(paper, records), "best-by-chance": selection.build(paper, records),
             "rho-layers": agreement.build(records)}
    return [(stem, *table) for stem, table in built.items() if table]
