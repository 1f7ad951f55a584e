"""What the machinery asks of a paper: one value each, made in the paper's own folder below `experiments/papers`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ilnrepro.errors import InputError
from ilnrepro.norms import METHODS, method


class PaperTable(NamedTuple):
    """A table of scores.

    Attributes:
      title, stem: its name, and its files'.
      subject: what it compares.
      rows: label by method.
      structures, folds: its columns, in its order.
      taken: the methods of all the paper's tables, where those that none of them has are added to this one; else None.
      published: from method and structure to the (means, standard deviations) that the paper prints, or None.
      compares: from title and whether synthetic of a data set, and a number of folds, to whether the published numbers
        may stand beside its scores.
      note: said below those numbers.
      remarks: what is to be said of scores under a protocol, by its name.
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
    """What a change of one setting does to a method: the paper leaves it open."""

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
    """A paper: all that is its own.

    Attributes:
      title: how tables and messages name it.
      rates: its learning rates by protocol, the full protocol first and the short one second.
      tables: `PaperTable`s by key, in its order.
      claims, criteria: of `verdicts`, that one method scores above another, and by what they are judged in words.
      further_claims, further_criteria: the same of all other claims.
      averaged_up_to: the highest of the rates over which differences are averaged, in the table of the claims seen
        otherwise.
      evidence: `Evidence`, or None.
      omitted: subjects without whom comparisons are repeated, and why, in words that follow the name.
      preparations: the command that prepares a data set, {} in the place of its file, by a word in its title.
      figures: names of figures that are drawn for this paper beside those for all.
      cost: from methods to what it publishes of their cost, or None.
      further: from a results folder, a protocol's name, data sets' names, changes of the protocol, and records to
        [(file stem, `Sheet`, tidy rows)] beside its tables.
      commands: adds its own commands to a command line's, see `experiments.__main__`.
      recipes: from its rates to {name: `runs.reproducing.Recipe`}.
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
    figures: tuple = ()
    cost: dict | None = None
    further: Callable = lambda results, name, datasets, changes, records: []
    commands: Callable = lambda add, paper: None
    recipes: Callable = lambda rates: {}

    def marked(self, records):
        """The records, with those at further rates of the evidence marked."""
        further = self.evidence.further_rates if self.evidence else ()
        return [replace(r, further=r.configuration.rate in further) for r in records]

    def preparation(self, title):
        """The command that prepares the data set of this title, or ''."""
        return next((command for word, command in self.preparations.items() if word in title), "")

    def chosen_tables(self, keys=None):
        """The tables of these keys, FAMILY among them; without keys all of the paper's.

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
    """The methods of some tables, each once; the last table's first, for it has the baselines."""
    return list(dict.fromkeys(method for table in reversed(tables) for method in table.rows))


# Ours: every method, with G = 4. Where methods pool over the batch it wants a batch above 1.
FAMILY = PaperTable(
    "Family", "family", "every method of the methods table, on one data set",
    {name: method(name).title for name in (name.replace("<G>", "4") for name in METHODS if name != "iln<G>")})
