"""ABIDE I and II: autism and typical development at 17 and 19 institutions, which a table tells. Nobody has lesions.

Layout: the archives of fcon_1000.projects.nitrc.org/indi/abide (``NYU/0050952/session_1/anat_1/mprage.nii.gz``;
``ABIDEII-BNI_1/29006/session_1/anat_1/anat.nii.gz``) and their BIDS versions; columns as nilearn's ``fetch_abide_pcp``
and the legend of the tables have them: DX_GROUP 1 is autism and 2 control, SEX 1 is male and 2 female.
"""

from __future__ import annotations

import re
from pathlib import Path

from normfed_client.imaging.participants import Participant
from normfed_common.study.data import site_name
from normfed_simulation.datasets.contents import Contents, Visit, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import matches, walk
from normfed_simulation.datasets.spreadsheet import Row, read_table, unique
from normfed_simulation.datasets.values import sex, strangers, years

TABLES = r"Phenotypic_V1_0b\w*\.csv|ABIDEII_Composite_Phenotypic\.csv"
COLUMNS = ("SITE_ID", "SUB_ID", "DX_GROUP", "AGE_AT_SCAN", "SEX")
GROUPS = {"1": "autism", "2": "control"}
RAW = r"0*(?P<person>\d{5})/session_\d+/anat_\d+/(mprage|anat)"
BIDS = r"sub-0*(?P<in_bids>\d{5})(_ses-\w+?)?(_run-\w+?)?_T1w"
FILE = re.compile(rf"(^|/)({RAW}|{BIDS})\.nii(\.gz)?$")


class ABIDE(Downloaded):
    """See the module. Of several scans of a person the first is taken."""

    cited = ("abide1", "abide2")
    title = "ABIDE I and II, autism and controls by institution"
    licence = "for non-commercial research, by the terms of the consortium"
    access = "register at NITRC: fcon_1000.projects.nitrc.org/indi/abide"
    modalities = ("T1w",)
    layout = """NYU/0050952/session_1/anat_1/mprage.nii.gz and the like (ABIDE I)
        ABIDEII-BNI_1/29006/session_1/anat_1/anat.nii.gz and the like (ABIDE II)
        or sub-0050952/anat/sub-0050952_T1w.nii.gz and the like
        Phenotypic_V1_0b.csv, ABIDEII_Composite_Phenotypic.csv, or both"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        names = ("Phenotypic_V1_0b*.csv", "ABIDEII_Composite_Phenotypic.csv", "[0-9]*/session_1/anat_1")
        return any(any(root.glob("*/" * depth + name)) for name in names for depth in range(3))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        rows = _rows(root)
        scans: dict[str, Path] = {}
        for path in walk(root):
            match = FILE.search(path.relative_to(root).as_posix())
            if match is not None:
                scans.setdefault(match["person"] or match["in_bids"], path)
        found = Contents(root)
        strangers(found, scans.keys(), rows.keys(), "the phenotypic table")
        for number in sorted(scans.keys() & rows.keys()):
            row = rows[number]
            group = GROUPS.get(row["DX_GROUP"], "")
            age = years(row["AGE_AT_SCAN"])
            person = Participant(subject(number), site_name(row["SITE_ID"]), group, age, sex(row["SEX"]))
            found.add(person, Visit({"T1w": scans[number]}))
        return found


def _rows(root: Path) -> dict[str, Row]:
    """By the five digits of a person."""
    paths = [path for path, _ in matches(root, TABLES)] or [root / "Phenotypic_V1_0b.csv"]
    found: dict[str, Row] = {}
    for path in paths:
        found |= unique(read_table(path, COLUMNS, "latin-1"), "SUB_ID", path)  # comments have other letters
    return {number.lstrip("0").zfill(5): row for number, row in found.items()}
