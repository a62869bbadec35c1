"""IXI: 581 healthy people with T1 at three London hospitals, which the file names tell.

Layout and names: torchio's ``datasets/ixi.py`` and FLamby's ``fed_ixi``; scanners as there. IXI.xls has two rows for 26
people: mostly a whole one and a copy with zeros, but 219 and 328 have two ages, and 328 two sexes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from normfed_client.imaging.bids import Problem
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import DatasetError
from normfed_common.learning.cohort import Sex
from normfed_simulation.datasets.contents import Contents, Visit, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import by_person
from normfed_simulation.datasets.spreadsheet import Row, read_table
from normfed_simulation.datasets.values import sex, table

T = TypeVar("T")
NAME = r"(?P<person>IXI\d{3,})-(?P<site>Guys|HH|IOP)-\d+-(?P<kind>T1|T2|PD)\.nii(\.gz)?"
SCANNERS = {"Guys": "Philips Intera 1.5T", "HH": "Philips Intera 3T", "IOP": "GE 1.5T"}
MODALITIES = {"T1": "T1w", "T2": "T2w", "PD": "PDw"}
AGE, SEX = "AGE", "SEX_ID (1=m, 2=f)"
TABLES = (r"IXI\.csv", r"IXI\.xls")  # whoever saved the sheet as text cannot read the other


class IXI(Downloaded):
    """See the module."""

    cited = ("ixi",)
    title = "IXI, healthy people of three London hospitals"
    licence = "CC BY-SA 3.0"
    access = "download without registration: brain-development.org/ixi-dataset"
    modalities = ("T1w", "T2w")
    layout = """IXI002-Guys-0828-T1.nii.gz and the like (T1, T2, PD; Guys, HH, IOP), in any folders
        IXI.xls, or its first sheet as IXI.csv, for ages and sexes"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        return any(root.glob("IXI[0-9]*-*-*.nii*")) or any(root.glob("*/IXI[0-9]*-*-*.nii*"))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        found = Contents(root)
        ages, sexes = _ages_and_sexes(root, found)
        for name, files in by_person(root, NAME).items():
            sites = {match["site"] for _, match in files.values()}
            if len(sites) > 1:
                found.problems.append(Problem(subject(name), f"has scans of {' and '.join(sorted(sites))}: left out"))
                continue
            (site,) = sites
            number = str(int(name.removeprefix("IXI")))
            person = Participant(subject(name), site, "control", ages.get(number), sexes.get(number), SCANNERS[site])
            found.add(person, Visit({MODALITIES[kind]: path for kind, (path, _) in files.items()}))
        return found


def _ages_and_sexes(root: Path, found: Contents) -> tuple[dict[str, float], dict[str, Sex]]:
    """By the number of a person; where two rows differ, neither."""
    path = table(root, *TABLES)
    if path is None:
        found.problems.append(Problem("IXI.xls", "missing, and IXI.csv too, so nobody has an age or a sex"))
        return {}, {}
    ages: dict[str, set[float]] = defaultdict(set)
    sexes: dict[str, set[Sex]] = defaultdict(set)
    for row in read_table(path, ("IXI_ID", AGE, SEX)):
        if row[AGE]:
            ages[row["IXI_ID"]].add(_years(row, path))
        told = sex(row[SEX])
        if told is not None:
            sexes[row["IXI_ID"]].add(told)
    for what, said in (("ages", ages), ("sexes", sexes)):
        torn = sorted(number for number, values in said.items() if len(values) > 1)
        if torn:
            found.problems.append(Problem(path.name, f"two {what} for {', '.join(torn)}: both are left out"))
    return _single(ages), _single(sexes)


def _years(row: Row, path: Path) -> float:
    try:
        return round(float(row[AGE]), 2)
    except ValueError:
        raise DatasetError(
            f"{path}: {AGE} {row[AGE]!r} of {row['IXI_ID']} is no number. Get the table again."
        ) from None


def _single(said: Mapping[str, set[T]]) -> dict[str, T]:
    return {number: next(iter(values)) for number, values in said.items() if len(values) == 1}
