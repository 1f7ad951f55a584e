"""The type of a paper's value: all that the rest of the code knows of a paper. Values are in `experiments/papers`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ilnrepro.errors import InputError
from ilnrepro.norms import METHODS, method


class PaperTable(NamedTuple):
    """A paper's table of scores.

    Attributes:
      title: of the table.
      stem: of its files' names.
      subject: the comparison, in words.
      rows: {method: label}.
      structures, folds: of the columns, in their order.
      table_methods: the methods of all tables of the paper, if methods that are in none of them join this table; None
        if they do not.
      published: published(method, structure) gives the (means, standard deviations) that the paper prints, or None.
      comparable: comparable(title, synthetic, folds) says whether the published numbers compare with the scores on a
        data set, for a method that ran on so many folds.
      note: a sentence of the caption, on the published numbers.
      remarks: {protocol's name: a sentence of the caption on scores under that protocol}.
    """

    title: str
    stem: str
    subject: str
    rows: dict
    structures: tuple = ()
    folds: tuple = ()
    table_methods: frozenset | None = None
    published: Callable = lambda method, structure: None
    comparable: Callable = lambda title, synthetic, folds: False
    note: str = ""
    remarks: dict = {}


class Question(NamedTuple):
    """A question that a paper leaves open: the effect of a change.

    Attributes:
      text: the change in words.
      method, base: the method that is run, and the one that it is compared with; the same where a setting is changed.
      changes: {field of the protocol: value}.
    """

    text: str
    method: str
    base: str
    changes: dict


class Runs(NamedTuple):
    """A part of a stage: runs in the order method, fold, rate, seed.

    Attributes:
      methods: in the order in which they are done.
      rates: None for all of the paper's; CHOSEN for the rate that the evidence's rule chooses on each fold.
      seeds, folds: numbers; () for all folds of the data set.
      changes: {field of the protocol: value}.
      base: the method whose chosen rates are taken; '' for each method's own.
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
      purpose: of the runs, in words.
      parts: `Runs`, done one after another, because later ones may take the rates that earlier ones choose.
      structure: of the data set.
      protocol: by name; '' for the one that the user names.
      needs: numbers of the stages whose runs have to be there.
    """

    purpose: str
    parts: tuple
    structure: str = "LV"
    protocol: str = ""
    needs: tuple = ()


@dataclass(frozen=True)
class Evidence:
    """The runs in stages on which a paper's claims are judged.

    Attributes:
      stages: `Stage`s by number.
      questions: the open questions, which a stage answers on the fold `fold`.
      rule: the rule by which rates are chosen, on the first seed alone.
      further_rates: rates beyond the paper's, which the paper's own rule leaves out.
    """

    stages: dict
    questions: tuple
    rule: str = "cross-fold"
    fold: int = 1
    further_rates: tuple = ()


@dataclass(frozen=True)
class Paper:
    """The value of a paper: everything that belongs to it alone.

    Attributes:
      title: its name in tables and messages.
      rates: {protocol: learning rates}, the full protocol first and the short one second.
      tables: {key: `PaperTable`}, in the paper's order.
      claims: `verdicts.AccuracyClaim`s.
      criteria: by which these are judged, in words.
      further_claims, further_criteria: all other claims, and their criteria.
      averaged_up_to: the highest of the learning rates over which `secondary` averages differences.
      evidence: the runs on which claims are judged, or None.
      omitted: {subject: reason, in words that follow the name}; comparisons are repeated without these subjects.
      stand_ins: {word in a data set's title: which of the paper's data it stands in for, in words}.
      preparations: {word in a data set's title: the command that prepares it, with {} in place of its file}.
      figures: names of the figures that only this paper has.
      cost: {'IN' or 'ILN': the cost that the paper publishes}, or None.
      further_tables: further_tables(results folder, protocol's name, data sets' names, changes of the protocol,
        records) gives the paper's other tables, [(file stem, `Sheet`, tidy rows)].
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
    further_tables: Callable = lambda results, name, datasets, changes, records: []
    commands: Callable = lambda add, paper: None
    recipes: Callable = lambda rates: {}

    def mark(self, records):
        """The records, with those at further rates marked as such, and with stand-ins named in their titles."""
        further = self.evidence.further_rates if self.evidence else ()

        def with_stand_in(title):
            return next((f"{title} ({text})" for word, text in self.stand_ins.items() if word in title), title)

        return [replace(r, further=r.configuration.rate in further, title=with_stand_in(r.title)) for r in records]

    def preparation_command(self, title):
        """The command that prepares the data set with this title, or ''."""
        return next((command for word, command in self.preparations.items() if word in title), "")

    def select_tables(self, keys=None):
        """The tables with these keys, of which 'family' is FAMILY; without keys, all of the paper's tables.

        Raises:
          InputError: it has no such table.
        """
        table_of = {"family": FAMILY, **self.tables}
        for key in keys or ():
            if key not in table_of:
                raise InputError(f"--tables: {self.title} has no table {key}; choose among "
                                 f"{', '.join(map(str, table_of))}")
        return [table_of[key] for key in (keys or self.tables)]


def methods_of(tables):
    """The methods of some tables, each once, those of the last table first because it has the baselines."""
    return list(dict.fromkeys(method for table in reversed(tables) for method in table.rows))


# A table of our own with all methods, G = 4. Methods that pool over the batch need a batch above 1.
FAMILY = PaperTable(
    "Family", "family", "every method of the methods table, on one data set",
    {name: method(name).title for name in (name.replace("<G>", "4") for name in METHODS if name != "iln<G>")})
