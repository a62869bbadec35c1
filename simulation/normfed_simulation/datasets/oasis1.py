"""OASIS-1: 416 people of 18 to 96 years on one scanner, a hundred of them with dementia.

Table: oasis_cross-sectional-<digits>.xlsx of sites.wustl.edu/oasisbrains. Layout: the discs of oasis-brains.org
(``disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111``), as clinica's OASIS converter reads them: CDR 0 or none is control.
The average of a person's scans, bias-corrected, skull-stripped and in Talairach space (``..._t88_masked_gfc``) is
taken. Names in MR2 are of a second visit of twenty people, which is left out.
"""

from __future__ import annotations

from pathlib import Path

from normfed_client.imaging.participants import SEXES, Participant
from normfed_simulation.datasets.contents import Contents, Visit, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import matches
from normfed_simulation.datasets.spreadsheet import read_table, unique
from normfed_simulation.datasets.values import strangers, table, years

NAME = r"(?P<session>OAS1_\d{4}_MR1)_mpr_n\d_anon_111_t88_masked_gfc\.(hdr|nii|nii\.gz)"
TABLE = r"oasis_cross-sectional.*\.(csv|xlsx)"
COLUMNS = ("ID", "M/F", "Age", "CDR")
NO_DEMENTIA = ("", "0", "0.0", "N/A")  # of people below 60 there is no rating


class OASIS1(Downloaded):
    """See the module. One scanner is no federation: train on it beside other datasets, or split it."""

    cited = ("marcus2007",)
    title = "OASIS-1, healthy ageing and dementia on one scanner"
    licence = "for research, by the OASIS data use terms"
    access = "download after accepting the terms: sites.wustl.edu/oasisbrains"
    modalities = ("T1w",)
    one_site = True
    layout = """disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc.{hdr,img}
        oasis_cross-sectional*.xlsx, or its sheet as CSV, with ID, M/F, Age, CDR"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        return any(any(root.glob("*/" * depth + "OAS1_[0-9][0-9][0-9][0-9]_MR1")) for depth in range(3))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        path = table(root, TABLE) or root / "oasis_cross-sectional.csv"
        rows = unique(read_table(path, COLUMNS), "ID", path)
        scans = {match["session"]: file for file, match in matches(root, NAME)}
        found = Contents(root)
        strangers(found, scans.keys(), {name for name in rows if name.endswith("_MR1")}, path.name)
        for name in sorted(scans.keys() & rows.keys()):
            row = rows[name]
            group = "control" if row["CDR"] in NO_DEMENTIA else "dementia"
            facts = (group, years(row["Age"]), SEXES.get(row["M/F"].lower()), "Siemens Vision 1.5T")
            found.add(Participant(subject(name[:9]), "WashU", *facts), Visit({"T1w": scans[name]}))
        return found
