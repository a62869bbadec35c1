"""A BIDS dataset whose participants.tsv tells the sites in a column of another name, or only the scanners.

Compared with real datasets of OpenNeuro, as git has them: ds000030 (diagnosis: CONTROL, ScannerSerialNumber: 35343.0),
ds003592 (site, no groups: all are healthy), ds003416 (a row per session); their scans are links into `.git/annex` that
lead nowhere until somebody gets the files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import Field

from normfed_client.imaging.bids import Problem
from normfed_client.imaging.cache import default_root
from normfed_client.imaging.participants import SEXES, Participant, years_per_unit
from normfed_client.imaging.scanners import MISSING
from normfed_common.citations.bibliography import ELEMENTARY
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.base import Frozen
from normfed_common.study.data import site_names
from normfed_common.study.modalities import CONTRASTS, MODALITIES
from normfed_common.wording.terminal_text import some
from normfed_simulation.datasets.contents import Contents, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.spreadsheet import Row, read_table
from normfed_simulation.datasets.values import years

TABLE = "participants.tsv"
# Columns that tell sites in public datasets, in lower case, the likeliest first.
SITES = (
    *("site", "site_id", "siteid", "site_name", "center", "centre", "center_id", "centre_id", "institution"),
    *(
        "hospital",
        "location",
        "acquisition_site",
        "scan_site",
        "scanner",
        "scanner_id",
        "scanner_model",
        "scanner_name",
    ),
    *("institutionname", "scannerserialnumber", "deviceserialnumber", "manufacturersmodelname"),  # as a sidecar has it
)
SCANNERS = (
    *("scanner", "scanner_id", "scanner_model", "scanner_name"),
    *("manufacturersmodelname", "scannerserialnumber", "deviceserialnumber", "manufacturer"),
)
AGES = ("age", "age_at_scan", "ageatscan", "age_years")
GROUPS = ("group", "diagnosis", "dx", "dx_group")
# How columns of groups spell a healthy person, in lower case.
HEALTHY = {
    "control",
    "controls",
    "healthy",
    "healthy control",
    "healthy controls",
    "hc",
    "nc",
    "cn",
    "con",
    "ctrl",
    "td",
}
HIDDEN = (".", "_")  # how names begin that are hidden or a system's own
# Folders of what is no scan that a study can look at, which may hold most of a dataset's files.
OTHERS = {
    "func",
    "fmap",
    "perf",
    "eeg",
    "ieeg",
    "meg",
    "nirs",
    "beh",
    "motion",
    "micr",
    "sourcedata",
    "code",
    "phenotype",
}
SCAN = re.compile(rf"_({'|'.join((*CONTRASTS, 'dwimap'))})\.nii(\.gz)?$")


class Config(Frozen):
    """Which columns say what; those of the usual names when left out."""

    column: str | None = Field(
        None, description="of participants.tsv: the site; site_id, center, scanner, ... if left out"
    )
    scanner: str | None = Field(None, description="of participants.tsv: the scanner")
    group: str | None = Field(None, description="of participants.tsv: `control`, or what a person has")
    control: str | None = Field(
        None, description="how the column of groups spells a healthy person; control, HC, healthy, ... if left out"
    )
    everybody_healthy: bool = Field(
        False, description="whether only healthy people were scanned, so that no column of groups is needed"
    )


class Bids(Downloaded):
    """See the module. Files keep their names and places; participants.tsv gets the columns that normfed reads."""

    cited = (ELEMENTARY,)
    Config = Config
    title = "Any BIDS dataset with a column of sites or scanners"
    licence = "the dataset's own"
    access = "OpenNeuro (openneuro.org) and many others"
    modalities = MODALITIES
    layout = """participants.tsv with participant_id and a column of sites (site_id, center, scanner, ...)
        sub-*/[ses-*/]anat/sub-*_T1w.nii.gz and the like
        derivatives/*/sub-*/[ses-*/]dwi/sub-*_param-{FA,MD}_dwimap.nii.gz, as QSIRecon writes them"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        try:
            with open(root / TABLE, encoding="utf-8-sig") as file:
                return _of(SITES, file.readline().rstrip("\r\n").split("\t")) is not None
        except (OSError, UnicodeDecodeError):
            return False

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        rows = read_table(root / TABLE, ("participant_id",))
        columns = list(rows[0]) if rows else []
        site = self._column("column", SITES, columns, root)
        if site is None:
            raise DatasetError(
                f"{root / TABLE}: no column tells sites; found {some(columns)}. Name one in the study, such as "
                "data.dataset: {name: bids, column: center}."
            )
        scanner = self._column("scanner", SCANNERS, columns, root)
        group, age = self._column("group", GROUPS, columns, root), _of(AGES, columns)
        unit = years_per_unit(root / TABLE, age or "")
        try:
            names = site_names(row[site] for row in rows)
        except ValueError as error:
            raise DatasetError(
                f"{root / TABLE}: in the column {site} {error}. Write them alike if they are one, or rename one."
            ) from error
        found = Contents(root)
        for row in _first_rows(rows, site, root):
            name = row["participant_id"]
            if row[site] in MISSING:
                raise DatasetError(f"{root / TABLE}: {name} has no {site}, which tells the sites. Fill it in.")
            person = Participant(
                name if name.startswith("sub-") else subject(name),
                names[row[site]],
                self._group(row[group] if group else ""),
                _age(row, age, unit, found),
                SEXES.get(row.get(_of(("sex", "gender"), columns) or "", "").lower()),
                row[scanner] if scanner and row[scanner] not in MISSING else None,
            )
            found.add(person)
        files = _files(root)
        found.links.update({str(path.relative_to(root)): path for path in files})
        broken = sum(SCAN.search(path.name) is not None and not path.exists() for path in files)
        if broken:
            why = "scans are links to files that are not there: get them (datalad get, git annex get)"
            found.problems.append(Problem(root.name, f"{broken} {why}"))
        if group is None and not self.config.everybody_healthy:
            why = "so nobody counts as healthy: name one as `group`, or say everybody_healthy: true"
            found.problems.append(Problem(TABLE, f"no column of groups ({', '.join(GROUPS)}), {why}"))
        return found

    def _column(self, parameter: str, usual: tuple[str, ...], columns: list[str], root: Path) -> str | None:
        wanted: str | None = getattr(self.config, parameter)
        if wanted is not None and wanted not in columns:
            raise DatasetError(
                f"{root / TABLE}: no column {wanted!r}, which data.dataset names as {parameter}; found {some(columns)}."
            )
        return wanted or _of(usual, columns)

    def _group(self, said: str) -> str:
        if self.config.everybody_healthy:
            return "control"
        usual = self.config.control is None and said.lower() in HEALTHY
        return "control" if usual or said == self.config.control else said


def _first_rows(rows: list[Row], site: str, root: Path) -> list[Row]:
    """A row per person: where there are rows of sessions, the first, which must all be of one site.

    Raises
    ------
    DatasetError
        If somebody has two sites, or two rows without a column that tells sessions.
    """
    found: dict[str, Row] = {}
    for row in rows:
        name = row["participant_id"]
        first = found.setdefault(name, row)
        if first is not row and "session_id" not in row:
            raise DatasetError(f"{root / TABLE}: {name} is there twice. Keep one of the two rows.")
        if first[site] != row[site]:
            raise DatasetError(
                f"{root / TABLE}: {name} has sessions at {first[site]} and at {row[site]}, and a person is of one "
                "site. Keep the rows of one."
            )
    return list(found.values())


def _of(usual: tuple[str, ...], columns: list[str]) -> str | None:
    """The column with one of these names, however it is capitalised."""
    lower = {column.strip().lower(): column for column in reversed(columns)}
    return next((lower[name] for name in usual if name in lower), None)


def _age(row: dict[str, str], column: str | None, unit: float, found: Contents) -> float | None:
    said = row.get(column or "", "")
    if said in MISSING:
        return None
    age = years(said.rstrip("+"), unit)
    if age is None:
        found.problems.append(Problem(row["participant_id"], f"age {said!r} is no age in years, so it is left out"))
    return age


def _files(root: Path) -> list[Path]:
    """All files but those of other kinds, the table that is made anew, what a view writes itself, and a cache that lies
    there."""
    found, cache = [], default_root().resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(HIDDEN) and name not in OTHERS and Path(folder, name).resolve() != cache
        )
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(HIDDEN)]
    anew = {root / name for name in (TABLE, "participants.json", "dataset_description.json")}
    return [path for path in found if path not in anew]
