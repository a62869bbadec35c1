"""The tables that come with a dataset: tab- or comma-separated text, or an Excel sheet, old (.xls) or new (.xlsx)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from normfed_common.foundation.errors import DatasetError
from normfed_common.wording.terminal_text import some
from normfed_simulation.datasets.workbook import sheet

Row = dict[str, str]


def read_table(path: Path, columns: Collection[str], encoding: str = "utf-8-sig") -> list[Row]:
    """The rows of a table, every cell as stripped text; whole numbers without ``.0``.

    Parameters
    ----------
    path
        Ends in ``.csv`` (commas or semicolons), ``.tsv``, ``.xls`` or ``.xlsx`` (its first sheet).
    columns
        That must be there.
    encoding
        Of text.

    Raises
    ------
    DatasetError
        If the table is missing, cannot be read, or lacks a column.
    """
    if not path.exists():
        raise DatasetError(f"{path}: missing. It should have the columns {', '.join(columns)}.")
    try:
        header, *rows = _rows(path, encoding)
    except ValueError:  # not one row
        raise DatasetError(f"{path}: empty. It should have the columns {', '.join(columns)}.") from None
    header = [name.strip() for name in header]
    missing = [column for column in columns if column not in header]
    if missing:
        raise DatasetError(
            f"{path}: has no column {', '.join(map(repr, missing))}; found {some(header)}. Get the table again, "
            "or rename the column."
        )
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    return [dict(zip(header, [*map(_cell, row), *[""] * len(header)], strict=False)) for row in filled]


def unique(rows: Sequence[Row], column: str, path: Path) -> dict[str, Row]:
    """Rows by what a column says.

    Raises
    ------
    DatasetError
        If two rows say the same.
    """
    found: dict[str, Row] = {}
    for row in rows:
        if row[column] in found:
            raise DatasetError(f"{path}: {column} {row[column]} is there twice. Keep one of the two rows.")
        found[row[column]] = row
    return found


def _rows(path: Path, encoding: str) -> list[list[str]]:
    kind = path.suffix.lower()
    return _old_sheet(path) if kind == ".xls" else sheet(path) if kind == ".xlsx" else _text(path, encoding)


def _text(path: Path, encoding: str) -> list[list[str]]:
    try:
        text = path.read_text(encoding=encoding)
        first = text.partition("\n")[0]
        delimiter = "\t" if path.suffix == ".tsv" else max(",;\t", key=first.count)
        return [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as UTF-8 text ({error}). Save it again as UTF-8.") from error


def _old_sheet(path: Path) -> list[list[str]]:
    try:
        import xlrd
    except ImportError as error:
        raise DatasetError(
            f"{path}: xlrd, which reads old Excel sheets, is not installed (pip install xlrd). Or save the sheet as "
            f"{path.with_suffix('.csv').name} beside it."
        ) from error
    try:
        sheet = xlrd.open_workbook(path).sheet_by_index(0)
    except (OSError, xlrd.XLRDError, AssertionError, LookupError, ValueError) as error:
        raise DatasetError(f"{path}: not readable as an Excel sheet ({error}). Download it again.") from error
    return [[str(value) for value in sheet.row_values(row)] for row in range(sheet.nrows)]


def _cell(text: str) -> str:
    """As a person reads it: spreadsheets, and what is exported of them, write 2 as 2.0."""
    return re.sub(r"^(\d+)\.0+$", r"\1", text.strip())
