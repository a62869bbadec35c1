"""PPMI: Parkinson's disease, its prodrome and controls at about 50 institutions, which a table tells.

Layout: see `normfed_simulation.datasets.ida`. The institution is CNO of Center-Subject_List.csv, or SITE of the
curated data cut (PPMI_Curated_Data_Cut_Public_*, .csv or .xlsx, whose COHORT 1 is Parkinson's disease, 2 control, 3
SWEDD, 4 prodromal, and whose SEX 1 is male, 0 female); groups and ages are also in the table that comes with the
images.

The archive hands out diffusion scans, not maps of their tensors. Whoever made FA and MD of them, with QSIPrep and
QSIRecon say, puts that folder of derivatives beside PPMI/: files are a person's by the number in ``sub-3102``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from normfed_client.imaging.bids import TEMPLATE_SPACE
from normfed_client.imaging.participants import Participant
from normfed_common.study.data import site_name
from normfed_simulation.datasets.contents import Contents, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.ida import collection, first_visit, images
from normfed_simulation.datasets.naming import matches
from normfed_simulation.datasets.spreadsheet import Row, read_table
from normfed_simulation.datasets.values import sex, table, tell, years

CENTRES, CURATED = r"Center-Subject_List.*\.csv", r"PPMI_Curated_Data_Cut.*\.(csv|xlsx)"
COHORTS = {"1": "PD", "2": "control", "3": "SWEDD", "4": "prodromal"}
GROUPS = {"Control": "control", "HC": "control", "Prodromal": "prodromal"}
FIRST = ("BL", "SC")  # EVENT_ID
SEXES = {"1": "M", "0": "F"}
MAP = r"sub-(PPMI)?(?P<person>\d{4,6})(_ses-[A-Za-z0-9]+)?(_\w+-\w+)*?_param-(?P<kind>FA|MD|fa|md)_dwimap\.nii(\.gz)?"


class PPMI(Downloaded):
    """See the module. Of each person the first visit with a T1w is taken."""

    cited = ("ppmi",)
    title = "PPMI, Parkinson's disease by institution"
    licence = "for research, by the PPMI data use agreement"
    access = "ask at ppmi-info.org; choose NIfTI when downloading from ida.loni.usc.edu"
    modalities = ("T1w", "FLAIR", "FA", "MD")
    layout = """PPMI/3102/MPRAGE_GRAPPA/2011-01-20_11_22_33.0/I245000/PPMI_3102_..._I245000.nii and the like
        Center-Subject_List.csv with PATNO and CNO, or PPMI_Curated_Data_Cut_Public_*.{csv,xlsx} (PATNO, SITE, COHORT)
        the table that comes with the images (Subject, Group, Sex, Age), unless the curated cut is there
        for FA and MD, derivatives/.../sub-3102_..._param-{FA,MD}_dwimap.nii.gz, in the space of the scanner or T1w"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        return any(root.glob("PPMI/[0-9]*")) or table_here(root)

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        found, scans = Contents(root), images(root, r"\d{4,6}")
        sites, people, maps = _sites(root), _people(root), _maps(root)
        visits = {name: visit for name, of in scans.items() if (visit := first_visit(of)) is not None}
        tell(found, scans.keys() - visits.keys(), "has no T1w: left out")
        tell(found, visits.keys() - sites.keys(), "has no institution in any table: left out")
        tell(found, (visits.keys() & sites.keys()) - people.keys(), "is in no table of groups: left out")
        for name in sorted(visits.keys() & sites.keys() & people.keys()):
            group, age, told = people[name]
            visit = replace(visits[name], images={**visits[name].images, **maps.get(name, {})})
            person = Participant(subject(name), site_name(f"site-{sites[name]}"), group, years(age), sex(told))
            found.add(person, visit)
        return found


def table_here(root: Path) -> bool:
    """Whether one of the tables that only PPMI has lies in the folder."""
    return any(root.glob("Center-Subject_List*.csv")) or any(root.glob("PPMI_*.csv")) or any(root.glob("PPMI_*.xlsx"))


def _maps(root: Path) -> dict[str, dict[str, Path]]:
    """FA and MD by person; the first by name of several, and none in a template's space, where the T1w is not."""
    found: dict[str, dict[str, Path]] = {}
    for path, match in matches(root, MAP):
        if f"space-{TEMPLATE_SPACE}" not in path.name:
            found.setdefault(match["person"], {}).setdefault(match["kind"].upper(), path)
    return found


def _sites(root: Path) -> dict[str, str]:
    path, column = table(root, CENTRES), "CNO"
    if path is None and (curated := table(root, CURATED)) is not None:
        path, column = curated, "SITE"
    rows = read_table(path or root / "Center-Subject_List.csv", ("PATNO", column))
    return {row["PATNO"]: row[column] for row in rows if row[column]}


def _people(root: Path) -> dict[str, tuple[str, str, str]]:
    """By person: group, age and sex, of the first visit in the curated cut, or of the table of the images."""
    found = {
        name: (GROUPS.get(row["Group"], row["Group"]), row["Age"], row["Sex"]) for name, row in collection(root).items()
    }
    curated = table(root, CURATED)
    rows: list[Row] = []
    if curated is not None:
        rows = read_table(curated, ("PATNO", "COHORT", "age", "SEX"))
    elif not found:
        rows = read_table(root / "PPMI_Curated_Data_Cut_Public.csv", ("PATNO", "COHORT", "age", "SEX"))
    for row in sorted(rows, key=lambda row: row.get("EVENT_ID", "BL") not in FIRST):  # the first visits first
        found.setdefault(row["PATNO"], (COHORTS.get(row["COHORT"], ""), row["age"], SEXES.get(row["SEX"], "")))
    return found
