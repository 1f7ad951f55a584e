"""The papers, one folder each."""

from experiments.papers import dualnorm, iln, kolarik
from ilnrepro.errors import InputError
from ilnrepro.protocols import PROTOCOLS

PAPERS = (iln.PAPER, kolarik.PAPER, dualnorm.PAPER)


def paper_of(protocol):
    """The `Paper` that a protocol follows, by the protocol's name.

    Raises:
      InputError: no paper has it.
    """
    for paper in PAPERS:
        if protocol in paper.rates:
            return paper
    raise InputError(f"protocol: {protocol!r} is no paper's; choose one of {', '.join(PROTOCOLS)}")
