"""Of which scanner a scan is: what participants.tsv says of a person, and sub-01/sub-01_sessions.tsv of a visit."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from normfed_common.foundation.errors import DatasetError
from normfed_common.wording.terminal_text import some

MISSING = ("", "n/a", "N/A", "nan")
LONGEST_SCANNER = 80  # characters


def scanner_of(row: Mapping[str, str], path: Path, number: int) -> str | None:
    """The column ``scanner`` of line ``number`` of a table; None where it is absent or empty.

    Raises
    ------
    DatasetError
        If it is no name.
    """
    scanner = (row.get("scanner") or "").strip()
    if scanner in MISSING:
        return None
    if not scanner.isprintable() or len(scanner) > LONGEST_SCANNER:
        raise DatasetError(
            f"{path}, line {number}: the scanner has {len(scanner)} characters, or some that cannot be printed. Give a "
            f"name of at most {LONGEST_SCANNER} printable characters, such as Siemens 3T."
        )
    return scanner


def scanners_of_sessions(root: Path, subject: str) -> dict[str, str]:
    """Session, without its ``ses-``, to scanner, as the person's sessions.tsv has it; empty where there is none.

    Raises
    ------
    DatasetError
        If the table cannot be used.
    """
    path = root / subject / f"{subject}_sessions.tsv"
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path}: cannot be read as UTF-8 text ({error}). Save it again as tab-separated UTF-8."
        ) from error
    if rows and "session_id" not in rows[0]:
        raise DatasetError(
            f"{path}: has no column 'session_id'. Is it tab-separated? Its columns: {some(map(str, rows[0]))}."
        )
    found: dict[str, str | None] = {}
    for number, row in enumerate(rows, start=2):
        session = (row["session_id"] or "").strip().removeprefix("ses-")
        if session in found:
            raise DatasetError(f"{path}, line {number}: ses-{session} is listed twice. Keep one of the two lines.")
        found[session] = scanner_of(row, path, number)
    return {session: scanner for session, scanner in found.items() if scanner is not None}


def nearly_alike(names: Iterable[str]) -> list[list[str]]:
    """Names that differ in capitals, spaces and hyphens alone, such as ``GE 3T`` and ``ge-3t``, together."""
    found: dict[str, set[str]] = {}
    for name in names:
        key = "".join(letter for letter in name.casefold() if letter.isalnum() or letter in "./+")
        found.setdefault(key, set()).add(name)
    return [sorted(alike) for _, alike in sorted(found.items()) if len(alike) > 1]
