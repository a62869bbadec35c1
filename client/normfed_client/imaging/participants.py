"""The people of a BIDS dataset: the columns participant_id, site, age, sex, group and scanner of participants.tsv."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from normfed_client.imaging.scanners import MISSING, scanner_of
from normfed_common.foundation.errors import DatasetError
from normfed_common.learning.cohort import Sex
from normfed_common.wording.terminal_text import some

MAXIMUM_AGE = 120
# By the first letters of the unit in which participants.json says that ages are.
YEARS = {"month": 1 / 12, "week": 7 / 365.25, "day": 1 / 365.25}
SEXES: dict[str, Sex] = {"f": "F", "female": "F", "m": "M", "male": "M"}


@dataclass(frozen=True)
class Participant:
    """A row of participants.tsv.

    Parameters
    ----------
    scanner
        As the site calls it, sessions.tsv before participants.tsv; None where neither says: then the site counts as one
        scanner.
    """

    subject: str
    site: str
    group: str
    age: float | None = None
    sex: Sex | None = None
    scanner: str | None = None


def read_participants(path: Path) -> dict[str, Participant]:
    """The people of a participants.tsv by their names.

    Raises
    ------
    DatasetError
        If there is none, or it cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path}: missing. It says which person belongs to which site (columns participant_id, site); scans alone, "
            f"without it, can be scored with the model of a run: `normfed score RUN {path.parent} --out DIR`."
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path}: cannot be read as UTF-8 text ({error}). Save it again as tab-separated UTF-8."
        ) from error
    columns = set(rows[0]) if rows else set(text.split("\n")[0].split("\t"))
    for column in ("participant_id", "site"):
        if column not in columns:
            cure = "Add the column." if "participant_id" in columns else "Is it tab-separated?"
            raise DatasetError(f"{path}: has no column {column!r}; found {some(sorted(map(str, columns)))}. {cure}")
    if not rows:
        raise DatasetError(f"{path}: lists nobody.")
    found, unit = dict[str, Participant](), years_per_unit(path, "age")
    for number, row in enumerate(rows, start=2):
        participant = _participant(row, path, number, unit)
        if participant.subject in found:
            raise DatasetError(
                f"{path}, line {number}: {participant.subject} is listed twice. Keep one of the two lines."
            )
        found[participant.subject] = participant
    return found


def years_per_unit(table: Path, column: str) -> float:
    """What ages of a column of participants.tsv are multiplied with: 1, unless participants.json tells other units."""
    try:
        said = json.loads(table.with_suffix(".json").read_text(encoding="utf-8-sig"))
        unit = str(said[column]["Units"]).lower()
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # none, or it does not say
        return 1.0
    return next((years for name, years in YEARS.items() if unit.startswith(name)), 1.0)


def _participant(row: dict[str, str], path: Path, number: int, unit: float) -> Participant:
    subject, site = (row.get("participant_id") or "").strip(), (row.get("site") or "").strip()
    if not subject.startswith("sub-"):
        raise DatasetError(f"{path}, line {number}: participant_id {subject!r} does not begin with sub-.")
    if site in MISSING:
        raise DatasetError(f"{path}, line {number}: {subject} has no site. Fill in the column site.")
    raw_age = (row.get("age") or "").strip()
    try:
        age = None if raw_age in MISSING else float(raw_age.rstrip("+")) * unit
    except ValueError as error:
        raise DatasetError(f"{path}, line {number}: age {raw_age!r} of {subject} is not a number of years.") from error
    if age is not None and not 0 <= age <= MAXIMUM_AGE:
        raise DatasetError(f"{path}, line {number}: age {raw_age} of {subject} is outside 0 to {MAXIMUM_AGE} years.")
    sex = SEXES.get((row.get("sex") or "").strip().lower())
    group = (row.get("group") or "").strip()
    scanner = scanner_of(row, path, number)
    return Participant(subject, site, "" if group in MISSING else group, age, sex, scanner)
