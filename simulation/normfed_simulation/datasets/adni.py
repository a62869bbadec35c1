"""ADNI: ageing and Alzheimer's disease at about 60 institutions, whose number begins a person's name.

``002_S_0295`` is person 295 of site 002. Layout: see `normfed_simulation.datasets.ida`; groups and ages from
ADNIMERGE.csv (DX_bl, AGE, PTGENDER, FLDSTRENG; clinica's ADNI converter reads it), or from the table that comes with
the images.
"""

from __future__ import annotations

from pathlib import Path

from normfed_client.imaging.participants import Participant
from normfed_simulation.datasets.contents import Contents, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.ida import collection, first_visit, images
from normfed_simulation.datasets.spreadsheet import Row, read_table
from normfed_simulation.datasets.values import sex, table, tell, years

PERSON = r"\d{3}_S_\d{4,5}"
DIAGNOSIS = "DX_bl"
MERGED = ("PTID", DIAGNOSIS, "AGE", "PTGENDER")
BASELINE = ("bl", "sc")


class ADNI(Downloaded):
    """See the module. Of each person the first visit with a T1w is taken, of it the most corrected series."""

    cited = ("adni",)
    title = "ADNI, ageing and Alzheimer's disease by institution"
    licence = "for research, by the ADNI data use agreement"
    access = "ask at adni.loni.usc.edu; choose NIfTI when downloading from ida.loni.usc.edu"
    modalities = ("T1w", "FLAIR")
    layout = """ADNI/002_S_0295/SERIES/2006-11-02_08_16_44.0/I40966/ADNI_002_S_0295_..._I40966.nii and the like
        ADNIMERGE.csv with PTID, DX_bl, AGE, PTGENDER, or the images' own table (Subject, Group, Sex, Age)"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        return any(any(root.glob("*/" * depth + "[0-9][0-9][0-9]_S_[0-9][0-9][0-9][0-9]*")) for depth in range(2))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        found, scans, people = Contents(root), images(root, PERSON), _people(root)
        visits = {name: visit for name, of in scans.items() if (visit := first_visit(of)) is not None}
        tell(found, scans.keys() - visits.keys(), "has no T1w: left out")
        tell(found, visits.keys() - people.keys(), "is in no table, so has no group: left out")
        for name in sorted(visits.keys() & people.keys()):
            person = people[name]
            group = "control" if person["group"] in ("CN", "Control") else person["group"]
            scanner = person["field"].replace(" Tesla MRI", "T") or None
            facts = (group, years(person["age"]), sex(person["sex"]), scanner)
            found.add(Participant(subject(name), name[:3], *facts), visits[name])
        return found


def _people(root: Path) -> dict[str, Row]:
    """By person: group, age, sex, and field strength where a table tells it."""
    told = {
        name: {"group": row["Group"], "age": row["Age"], "sex": row["Sex"], "field": ""}
        for name, row in collection(root).items()
    }
    path = table(root, r"ADNIMERGE.*\.csv")
    if path is not None or not told:
        for row in _merged(path or root / "ADNIMERGE.csv"):
            if row["PTID"] not in told or row.get("VISCODE", "") in BASELINE:
                field = row.get("FLDSTRENG", "")
                facts = {"group": row[DIAGNOSIS], "age": row["AGE"], "sex": row["PTGENDER"], "field": field}
                told[row["PTID"]] = facts
    return told


def _merged(path: Path) -> list[Row]:
    """The rows of ADNIMERGE, whose DX_bl is DX.bl where the R package wrote it."""
    rows = read_table(path, ()) if path.exists() else []
    if rows and "DX.bl" in rows[0]:
        return [{**row, DIAGNOSIS: row["DX.bl"]} for row in rows]
    return read_table(path, MERGED)
