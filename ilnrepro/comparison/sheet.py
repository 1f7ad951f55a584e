"""A table in four forms: for the screen, as Markdown, as LaTeX, and as tidy rows in CSV."""

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from ilnrepro.storage import files

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{",
          "}": r"\}", "±": r"$\pm$", "ρ": r"$\rho$", "ε": r"$\epsilon$", "·": r"$\cdot$", "×": r"$\times$",
          "≥": r"$\geq$", "²": r"$^2$", "−": "$-$"}


@dataclass
class Sheet:
    """A table for people.

    Attributes:
      title: short, for the screen.
      caption: sentences on what the table shows.
      headings: of the columns.
      body: rows of text.
      best: the (row, column) positions that are printed bold.
      notes: a second sheet that Markdown has below this one, or None.
    """

    title: str
    caption: str
    headings: list
    body: list
    best: set = field(default_factory=set)
    notes: "Sheet | None" = None

    def rich(self):
        """The `rich.table.Table` that is printed on the screen."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD)
        for heading in self.headings:
            table.add_column(heading, no_wrap=True)
        for i, row in enumerate(self.body):
            table.add_row(*(Text(text, style="bold" if (i, j) in self.best else "") for j, text in enumerate(row)))
        return table

    def markdown(self):
        """Caption, table and notes as Markdown."""
        rows = [[f"**{text}**" if (i, j) in self.best else text for j, text in enumerate(row)]
                for i, row in enumerate(self.body)]
        lines = [_pipes(self.headings), _pipes(["---"] * len(self.headings)), *map(_pipes, rows)]
        if self.caption:
            lines = [self.caption, "", *lines]
        return "\n".join(lines) + "\n" + (f"\n{self.notes.markdown()}" if self.notes else "")

    def latex(self):
        """A `table` environment that needs no package."""
        rows = [[rf"\textbf{{{_escaped(text)}}}" if (i, j) in self.best else _escaped(text)
                 for j, text in enumerate(row)] for i, row in enumerate(self.body)]
        lines = [r"\begin{table}", rf"\caption{{{_escaped(self.caption)}}}",
                 r"\begin{tabular}{l" + "c" * (len(self.headings) - 1) + "}", r"\hline",
                 " & ".join(map(_escaped, self.headings)) + r" \\", r"\hline",
                 *(" & ".join(row) + r" \\" for row in rows), r"\hline", r"\end{tabular}", r"\end{table}"]
        return "\n".join(lines) + "\n"


def write(folder, stem, sheet, tidy):
    """Writes a `Sheet` as stem.md and stem.tex, and its numbers as stem.csv, into `folder`.

    Args:
      tidy: the rows of the CSV file, dictionaries with the same keys.
    """
    folder = Path(folder)
    files.write(folder / f"{stem}.md", sheet.markdown())
    files.write(folder / f"{stem}.tex", sheet.latex())
    files.write(folder / f"{stem}.csv", as_csv(tidy))


def as_csv(tidy):
    """CSV text with one line for each dictionary; None and NaN are left empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(tidy[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in tidy)
    return out.getvalue()


def _plain(value):
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value


def _pipes(texts):
    return "| " + " | ".join(str(text).replace("|", "\\|") for text in texts) + " |"


def _escaped(text):
    return "".join(_LATEX.get(character, character) for character in text)
