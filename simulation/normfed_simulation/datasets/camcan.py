"""Cam-CAN: 653 healthy people of 18 to 88 years on one scanner in Cambridge.

Layout: the archive's ``cc700/mri/pipeline/release004/BIDS_20190411/anat``, whose participants.tsv has age, hand,
gender_code and gender_text (mne-tools and dengemann/brain-age-benchmark read it so).
"""

from __future__ import annotations

from pathlib import Path

from normfed_client.imaging.bids import Problem
from normfed_client.imaging.participants import Participant
from normfed_simulation.datasets.contents import Contents, Visit
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import by_person
from normfed_simulation.datasets.spreadsheet import Row, read_table, unique
from normfed_simulation.datasets.values import sex, table, tell, years

NAME = r"(?P<person>sub-CC\d{6})_(?P<kind>T1w|T2w)\.nii(\.gz)?"
TABLES = {
    r"participants\.tsv": "participant_id",
    r"participant_data\.csv|standard_data\.csv|approved_data\.tsv": "CCID",
}


class CamCAN(Downloaded):
    """See the module. One scanner is no federation: train on it beside other datasets, or split it."""

    cited = ("taylor2017", "shafto2014")
    title = "Cam-CAN, healthy people of all ages on one scanner"
    licence = "for research, by the Cam-CAN data use agreement"
    access = "ask at camcan-archive.mrc-cbu.cam.ac.uk"
    modalities = ("T1w", "T2w")
    one_site = True
    layout = """sub-CC110033/anat/sub-CC110033_{T1w,T2w}.nii.gz, in anat/ of BIDS_20190411 or above it
        participants.tsv with participant_id, age, gender_code, or standard_data.csv with CCID, Age, Gender_code"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        places = ("", "anat/", "BIDS*/anat/", *("*/" * depth + "mri/pipeline/release*/*/anat/" for depth in range(3)))
        return any(any(root.glob(f"{place}sub-CC[0-9][0-9][0-9][0-9][0-9][0-9]")) for place in places)

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        found = Contents(root)
        people, rows = by_person(root, NAME), _rows(root)
        if rows is None:
            found.problems.append(Problem("participants.tsv", "missing, so nobody has an age or a sex"))
        else:
            tell(found, people.keys() - rows.keys(), "is not in the table of people, so has no age and no sex")
        for name, files in people.items():
            row = (rows or {}).get(name, {})
            told = sex(row.get("gender_text", "") or row.get("gender_code", ""))
            person = Participant(name, "Cambridge", "control", years(row.get("age", "")), told, "Siemens TrioTim 3T")
            found.add(person, Visit({kind: path for kind, (path, _) in files.items()}))
        return found


def _rows(root: Path) -> dict[str, Row] | None:
    """By name of the person, with columns in lower case."""
    for pattern, key in TABLES.items():
        path = table(root, pattern)
        if path is not None:
            rows = unique(read_table(path, (key,)), key, path)
            lower = {name: {column.lower(): cell for column, cell in row.items()} for name, row in rows.items()}
            return {name if name.startswith("sub-") else f"sub-{name}": row for name, row in lower.items()}
    return None
