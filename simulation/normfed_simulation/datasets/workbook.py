"""The first sheet of a new Excel file (.xlsx): a zip archive of XML, ECMA-376 part 1, sections 18.3 and 18.4.

Cells are numbers, text of their own (`inlineStr`, `str`) or a place in the table of shared text (`s`); rows leave out
empty cells, so that each cell says its column (`B7`).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from normfed_common.foundation.errors import DatasetError

SHARED, WORKBOOK = "xl/sharedStrings.xml", "xl/workbook.xml"
LINKS = "xl/_rels/workbook.xml.rels"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
MOST_BYTES = 256 * 1024**2  # of a part, unpacked: the largest table of a public dataset has 30 MB
MOST_COLUMNS = 16_384  # of the format itself


def sheet(path: Path) -> list[list[str]]:
    """The rows of the first sheet, every cell as text; empty rows are left out.

    Raises
    ------
    DatasetError
        If it cannot be read as one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            shared = [_text(entry) for entry in _part(archive, SHARED)] if SHARED in archive.namelist() else []
            rows = (list(_cells(row, shared)) for row in _part(archive, _first_sheet(archive)).findall(".//{*}row"))
            return [row for row in rows if any(row)]
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError(f"{path}: not readable as an Excel sheet ({error}). Download it again.") from error


def _part(archive: zipfile.ZipFile, name: str) -> Element:
    if archive.getinfo(name).file_size > MOST_BYTES:
        raise ValueError(f"{name} has more than {MOST_BYTES // 1024**2} MB")
    text = archive.read(name)
    if b"<!DOCTYPE" in text:  # no table has one, and entities could grow without an end
        raise ValueError(f"{name} declares a document type")
    return ElementTree.fromstring(text)


def _first_sheet(archive: zipfile.ZipFile) -> str:
    first = _part(archive, WORKBOOK).findall(".//{*}sheet")[0]
    target = next(
        link.attrib["Target"] for link in _part(archive, LINKS) if link.attrib["Id"] == first.attrib[RELATION]
    )
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _cells(row: Element, shared: list[str]) -> Iterator[str]:
    """One after the other, with empty text for those that are left out."""
    column = 0
    for cell in row.findall("{*}c"):
        at = _column(cell.attrib["r"]) if "r" in cell.attrib else column
        yield from [""] * (at - column)
        yield _value(cell, shared)
        column = at + 1


def _value(cell: Element, shared: list[str]) -> str:
    kind = cell.attrib.get("t")
    if kind == "inlineStr":
        return "".join(map(_text, cell.findall("{*}is")))
    said = cell.findtext("{*}v") or ""
    return shared[int(said)] if kind == "s" and said else said


def _text(entry: Element) -> str:
    """Of a cell or a shared text, whose runs may each have a font of their own."""
    return "".join(part.text or "" for part in (*entry.findall("{*}t"), *entry.findall("{*}r/{*}t")))


def _column(place: str) -> int:
    """0 for A, 26 for AA."""
    letters = re.match("[A-Z]{1,3}", place)
    found = 0
    for letter in letters[0] if letters else "":
        found = 26 * found + ord(letter) - ord("A") + 1
    if not 1 <= found <= MOST_COLUMNS:
        raise ValueError(f"{place} is no place of a cell")
    return found - 1
