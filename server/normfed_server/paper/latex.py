"""Tables as LaTeX, with booktabs' rules: every text that comes from a study is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}
PACKAGES = r"% In the preamble: \usepackage{array,booktabs}"
LONG_PACKAGES = r"% In the preamble: \usepackage{array,booktabs,longtable}"
LONGEST = 45  # rows that fit on a page
WORDS = r">{\raggedright\arraybackslash}p{32mm}"  # a column of names, over several lines where they are long


@dataclass(frozen=True)
class Table:
    """A table for readers: cells are LaTeX already; what stands in them of a study went through `escaped`.

    Parameters
    ----------
    name
        Of its file, and behind ``tab:`` of its label.
    caption
        LaTeX.
    columns
        Titles, LaTeX.
    aligned
        How each column is set: l, r, c or `WORDS`.
    """

    name: str
    caption: str
    columns: Sequence[str]
    aligned: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in (self.aligned, *self.rows)):
            raise ValueError(f"table {self.name}: a row has not as many cells as there are columns")


def escaped(text: str) -> str:
    """A text as LaTeX sets it letter by letter; what pdflatex has no letter for becomes a question mark."""
    found = (SPECIAL.get(character, character) for character in " ".join(text.split()))
    return "".join(part if part.isascii() or (part.isalpha() and ord(part) < 0x180) else "?" for part in found)


def bold(cell: str) -> str:
    """In bold, also what is not text."""
    return rf"\textbf{{{cell}}}"


def source(table: Table) -> str:
    """A table environment, or one that runs over pages where there are more rows than fit on one."""
    return _long(table) if len(table.rows) > LONGEST else _short(table)


def _short(table: Table) -> str:
    lines = [
        PACKAGES,
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{table.caption}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{''.join(table.aligned)}}}",
        *_head(table),
        *map(_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _long(table: Table) -> str:
    lines = [
        LONG_PACKAGES,
        r"{\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\begin{{longtable}}{{{''.join(table.aligned)}}}",
        rf"\caption{{{table.caption}}}\label{{tab:{table.name}}}\\",
        *_head(table),
        r"\endfirsthead",
        *_head(table),
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *map(_row, table.rows),
        r"\end{longtable}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _head(table: Table) -> list[str]:
    return [r"\toprule", _row(table.columns), r"\midrule"]


def _row(cells: Sequence[str]) -> str:
    # An empty group first: a cell that begins with a bracket would be an argument of the row before.
    return f"{{}}{' & '.join(cells)} \\\\"
