"""The layout in which the Image and Data Archive (ida.loni.usc.edu) hands out ADNI and PPMI.

``ADNI/002_S_0295/MPR__GradWarp__B1_Correction__N3__Scaled/2006-11-02_08_16_44.0/I40966/ADNI_002_S_0295_..._I40966.nii``:
person, series, time and image are folders. With the images comes a table of the collection, ``NAME_11_27_2026.csv``,
with Image Data ID, Subject, Group, Sex and Age. Series as clinica's ADNI converter and the archive name them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from normfed_common.foundation.errors import DatasetError
from normfed_simulation.datasets.contents import Visit
from normfed_simulation.datasets.naming import walk
from normfed_simulation.datasets.spreadsheet import Row, read_table

TIME = r"\d{4}-\d\d-\d\d_\d\d_\d\d_\d\d\.\d"
COLLECTION = ("Image Data ID", "Subject", "Group", "Sex", "Age")
T1, FLAIR = re.compile(r"MP-?RAGE|MPR|SPGR|(^|_)T1", re.IGNORECASE), re.compile("FLAIR", re.IGNORECASE)
NO_SCAN = re.compile(r"mask|localizer|survey|scout|calibration|(^|_)T2(?!.*FLAIR)|_PD|DTI|fMRI", re.IGNORECASE)
CORRECTED = ("Scaled", "N3", "B1", "GradWarp")  # in names of series, what was done to the scans, the most first
REPEATED = re.compile(r"repeat|REPE|_2(_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Image:
    """One file of the archive."""

    series: str
    time: str
    path: Path

    @property
    def modality(self) -> str | None:
        """``FLAIR`` or ``T1w``, by the name of the series; None of any other."""
        if NO_SCAN.search(self.series):
            return None
        return "FLAIR" if FLAIR.search(self.series) else "T1w" if T1.search(self.series) else None

    @property
    def rank(self) -> tuple[int, bool, str, str]:
        """The most corrected first, and the first of two that were taken."""
        corrected = next((n for n, word in enumerate(CORRECTED) if word in self.series), len(CORRECTED))
        return corrected, REPEATED.search(self.series) is not None, self.series, str(self.path)


def images(root: Path, person: str) -> dict[str, list[Image]]:
    """By person, whose folder's name matches, every scan.

    Raises
    ------
    DatasetError
        If there are DICOM files and no NIfTI.
    """
    place = re.compile(rf"(?:^|/)(?P<person>{person})/(?P<series>[^/]+)/(?P<time>{TIME})/[A-Z]?\d+/[^/]+\.nii(\.gz)?$")
    found: dict[str, list[Image]] = {}
    dicom = False
    for path in walk(root):
        match = place.search(path.relative_to(root).as_posix())
        dicom = dicom or path.suffix.lower() == ".dcm"
        if match is not None:
            found.setdefault(match["person"], []).append(Image(match["series"], match["time"], path))
    if dicom and not found:
        raise DatasetError(
            f"{root}: the scans are DICOM files. Download them from the archive as NIfTI, or convert each folder in "
            "its place: dcm2niix -o FOLDER FOLDER."
        )
    return dict(sorted(found.items()))


def first_visit(scans: list[Image]) -> Visit | None:
    """Of the first day on which there is a T1w: the best scan of each modality; None without a T1w."""
    days = sorted({scan.time[:10] for scan in scans if scan.modality == "T1w"})
    if not days:
        return None
    that_day = sorted((scan for scan in scans if scan.time.startswith(days[0])), key=lambda scan: scan.rank)
    best: dict[str, Path] = {}
    for scan in that_day:
        if scan.modality is not None:
            best.setdefault(scan.modality, scan.path)
    return Visit(best)


def collection(root: Path) -> dict[str, Row]:
    """By person, the row of the first image in the tables that came with the images; empty without such a table."""
    found: dict[str, Row] = {}
    for path in sorted([*root.glob("*.csv"), *root.glob("*/*.csv")]):
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            header = file.readline()
        if all(column in header for column in COLLECTION):
            for row in read_table(path, COLLECTION):
                if row["Subject"] not in found or row.get("Visit", "") in ("bl", "sc", "BL", "SC"):
                    found[row["Subject"]] = row
    return found
