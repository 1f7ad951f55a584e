"""The results of a folder: its records, and for each method and fold the run at the chosen rate."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from experiments.analysis.captions import primary_rule
from experiments.analysis.paper import Paper
from experiments.analysis.questions import without_answers
from ilnrepro.comparison.choice import cells
from ilnrepro.comparison.differences import comparisons
from ilnrepro.comparison.scores import collect
from ilnrepro.storage import runfile


@dataclass(frozen=True)
class Results:
    """The runs of one protocol, on one data set for each structure.

    Attributes:
      paper: the `Paper` of the protocol.
      folder: the results folder.
      protocol: its name.
      records: of `scores.collect`, without the answers to open questions.
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
    def chosen_records(self):
        """{(method, structure, fold): the first seed's `Record` at the chosen rate}."""
        return {key: cell.records[0] for key, cell in cells(self.records, self.rule).items()}

    def run(self, key):
        """The `Run` of a key of `chosen_records`."""
        return runfile.read(self.chosen_records[key].path)

    def final_rho(self, method, structure):
        """ρ at the end of all of a method's runs at their chosen rates, `[runs, layers, numbers]`."""
        return np.array([record.rho for key, cell in cells(self.records, self.rule).items()
                         if key[:2] == (method, structure) for record in cell.records])

    def per_subject(self, first, second, structure):
        """{subject: Dice of `first` − `second`, means over images and seeds}; empty where either has no runs."""
        comparison = next(comparisons(self.records, [(first, second)], self.rule, structure), None)
        return comparison.per_subject if comparison else {}

    @property
    def datasets(self):
        """The data sets' names."""
        return sorted({record.configuration.dataset for record in self.records})


def read_results(paper_of, folder, protocol=None, datasets=None, variant="", methods=None):
    """The `Results` of a folder; the other arguments are those of `scores.collect`.

    Args:
      paper_of: paper_of(protocol's name) gives the `Paper`.
    """
    records = collect(folder, protocol, datasets, variant, methods)
    name = records[0].configuration.protocol.name
    paper = paper_of(name)
    records = paper.mark(records)
    if paper.evidence:
        records = without_answers(records, paper.evidence.questions)
    return Results(paper, folder, name, records)
