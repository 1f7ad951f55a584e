"""What a results folder shows: its records, and of each method and fold the run at the chosen rate."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from experiments.analysis.captions import primary_rule
from experiments.analysis.paper import Paper
from experiments.analysis.questions import without_answers
from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.scores import collect
from ilnrepro.storage import runfile


@dataclass(frozen=True)
class Results:
    """Runs of one protocol, one data set a structure.

    Attributes:
      paper: the `Paper` that the protocol follows.
      folder: where they lie.
      protocol: its name.
      records: of `scores.collect`, but for the answers to open questions.
    """

    paper: Paper
    folder: Path
    protocol: str
    records: list

    @cached_property
    def rule(self):
        """The rule by which single runs are shown."""
        return primary_rule(self.records)

    @cached_property
    def chosen(self):
        """{(method, structure, fold): the first seed's `Record` at the chosen rate}."""
        return {key: cell.chosen[0] for key, cell in cells(self.records, self.rule).items()}

    def run(self, key):
        """The `Run` of one of `chosen`."""
        return runfile.read(self.chosen[key].path)

    @property
    def datasets(self):
        """The data sets' names."""
        return sorted({record.configuration.dataset for record in self.records})


def read(paper_of, folder, protocol=None, datasets=None, variant="", methods=None):
    """The `Results` in `folder`; further arguments as of `scores.collect`.

    Args:
      paper_of: from a protocol's name to the `Paper`.
    """
    records = collect(folder, protocol, datasets, variant, methods)
    name = records[0].configuration.protocol.name
    paper = paper_of(name)
    records = paper.marked(records)
    if paper.evidence:
        records = without_answers(records, paper.evidence.questions)
    return Results(paper, folder, name, records)
