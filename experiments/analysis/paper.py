"""The type of a paper's value, by which the machinery knows it. The values are in `experiments/papers`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ilnrepro.errors import InputError
from ilnrepro.norms import METHODS, method


class PaperTable(NamedTuple):
    """A table of scores.

    Attributes:
      title: of the table.
      stem: of its files' names.
      subject: the comparison, in words.
      rows: {method: label}.
      structures, folds: of the columns, in their order.
      taken: the methods of all tables of the paper, where methods that are in none of them are added to this table;
        None where they are not.
      published: published(method, structure) gives the (means, standard deviations) that the paper prints, or None.
      compares: compares(title, synthetic, folds) tells of a data set, and of the number of folds on which a method was
        run, whether the published numbers may stand beside the scores.
      note: a sentence of the caption, on the published numbers.
      remarks: {protocol's name: a sentence of the caption on scores under that protocol}.
    """

    title: str
    stem: str
    subject: str
    rows: dict
    structures: tuple = ()
    folds: tuple = ()
    taken: frozenset | None = None
    published: Callable = lambda method, structure: None
    compares: Callable = lambda title, synthetic, folds: False
    note: str = ""
    remarks: dict = {}


class Question(NamedTuple):
    """A question that a paper leaves open: the effect of a change.

    Attributes:
      words: the change.
      method: that is run, and base: with which it is compared; the same where a setting is changed.
      changes: {field of the protocol: value}.
    """

    words: str
    method: str
    base: str
    changes: dict


class Runs(NamedTuple):
    """Some runs of a stage, in the order method, fold, rate, seed.

    Attributes:
      methods: in the order in which they are done.
      rates: None for all of the paper's, CHOSEN for each fold's own by the rule of the evidence.
      seeds, folds: no folds are all of the data set's.
      changes: of the protocol.
      base: the method whose chosen rates are taken; '' for each one's own.
    """

    methods: tuple
    rates: tuple | str | None = None
    seeds: tuple = (0,)
    folds: tuple = ()
    changes: dict = {}
    base: str = ""


CHOSEN = "chosen"


class Stage(NamedTuple):
    """Runs that are done together, for one purpose.

    Attributes:
      words: what they are for.
      parts: `Runs`, one after another, for later ones may take the rates that earlier ones choose.
      structure: of the data set.
      protocol: by name; '' for the one that the user names.
      needs: numbers of the stages whose runs have to be there.
    """

    words: str
    parts: tuple
    structure: str = "LV"
    protocol: str = ""
    needs: tuple = ()


@dataclass(frozen=True)
class Evidence:
    """The runs in stages on which a paper's claims are judged.

    Attributes:
      stages: `Stage`s by number.
      questions: that one stage answers, on the fold `fold`.
      rule: by which rates are chosen, on the first seed alone.
      further_rates: beyond the paper's, which the paper's own rule leaves out.
    """

    stages: dict
    questions: tuple
    rule: str = "cross-fold"
    fold: int = 1
    further_rates: tuple = ()


@dataclass(frozen=True)
class Paper:
    """A paper, with all that is its own.

    Attributes:
      title: its name in tables and messages.
      rates: {protocol: learning rates}, the full protocol first and the short one second.
      tables: {key: `PaperTable`}, in the paper's order.
      claims: of `verdicts`, that one method scores above another.
      criteria: by which these are judged, in words.
      further_claims, further_criteria: all other claims, and their criteria.
      averaged_up_to: the highest of the learning rates over which `secondary` averages differences.
      evidence: the runs on which claims are judged, or None.
      omitted: {subject without whom comparisons are repeated: reason, in words that follow the name}.
      stand_ins: {word in a data set's title: for what that of the paper's it stands, in words}.
      preparations: {word in a data set's title: the command that prepares it, with {} in place of its file}.
      figures: names of the figures that are drawn for this paper alone.
      cost: {'IN' or 'ILN': the cost that the paper publishes}, or None.
      further: further(results folder, protocol's name, data sets' names, changes of the protocol, records) gives the
        paper's other tables, [(file stem, `Sheet`, tidy rows)].
      commands: commands(subparsers, paper) adds the paper's own commands to `python -m experiments`.
      recipes: recipes(rates) gives {name: `runs.reproduction.Recipe`}.
    """

    title: str
    rates: dict
    tables: dict = field(default_factory=dict)
    claims: tuple = ()
    criteria: str = ""
    further_claims: tuple = ()
    further_criteria: str = ""
    averaged_up_to: float = math.inf
    evidence: Evidence | None = None
    omitted: dict = field(default_factory=dict)
    preparations: dict = field(default_factory=dict)
    stand_ins: dict = field(default_factory=dict)
    figures: tuple = ()
    cost: dict | None = None
    further: Callable = lambda results, name, datasets, changes, records: []
    commands: Callable = lambda add, paper: None
    recipes: Callable = lambda rates: {}

    def marked(self, records):
        """The records, with those at further rates of the evidence marked, and stand-ins called so in their titles."""
        further = self.evidence.further_rates if self.evidence else ()

        def titled(title):
            return next((f"{title} ({said})" for word, said in self.stand_ins.items() if word in title), title)

        return [replace(r, further=r.configuration.rate in further, title=titled(r.title)) for r in records]

    def preparation(self, title):
        """The command that prepares the data set with this title, or ''."""
        return next((command for word, command in self.preparations.items() if word in title), "")

    def chosen_tables(self, keys=None):
        """The tables of these keys, among which 'family' is FAMILY; without keys, all of the paper's.

        Raises:
          InputError: it has no such table.
        """
        known = {"family": FAMILY, **self.tables}
        for key in keys or ():
            if key not in known:
                raise InputError(f"--tables: {self.title} has no table {key}; choose among "
                                 f"{', '.join(map(str, known))}")
        return [known[key] for key in (keys or self.tables)]


def methods_of(tables):
    """The methods of some tables, each once, those of the last table first because it has the baselines."""
    return list(dict.fromkeys(method for table in reversed(tables) for method in table.rows))


# A table of our own with all methods, G = 4. Methods that pool over the batch need a batch above 1.
FAMILY = PaperTable(
    "Family", "family", "every method of the methods table, on one data set",
    {name: method(name).title for name in (name.replace("<G>", "4") for name in METHODS if name != "iln<G>")})
