"""ATLAS R2.0: chronic stroke of 33 cohorts of the world with hand-drawn lesions, registered to a template.

Layout: Liew et al. 2022 and the archive's ``ATLAS_2/Training/R001/sub-r001s001/ses-1/anat``; a cohort is R and the
first three digits of a name. The people of Testing have no masks in the archive.
"""

from __future__ import annotations

from pathlib import Path

from normfed_client.imaging.participants import Participant
from normfed_simulation.datasets.contents import Contents, Visit
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import by_person
from normfed_simulation.datasets.values import tell

SPACE, MASK = "MNI152NLin2009aSym", "label-L_desc-T1lesion_mask"
NAME = rf"(?P<person>sub-r(?P<cohort>\d{{3}})s\d{{3}})_ses-1_space-{SPACE}_(?P<kind>T1w|{MASK})\.nii(\.gz)?"


class ATLAS(Downloaded):
    """See the module."""

    cited = ("liew2022",)
    title = "ATLAS R2.0, chronic stroke of many cohorts"
    licence = "for research, by the terms of the archive"
    access = "ask at fcon_1000.projects.nitrc.org/indi/retro/atlas.html (the archive is encrypted)"
    modalities = ("T1w",)
    layout = f"""Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-{SPACE}_T1w.nii.gz and the like
        ..._{MASK}.nii.gz beside it: the lesion"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        return any(any(root.glob("*/" * depth + "sub-r[0-9][0-9][0-9]s[0-9][0-9][0-9]")) for depth in range(4))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        found, people = Contents(root), by_person(root, NAME)
        tell(found, [name for name, files in people.items() if "T1w" not in files], "has a mask, but no T1w: left out")
        tell(found, [name for name, files in people.items() if MASK not in files], "has no lesion mask")
        for name, files in people.items():
            if "T1w" in files:
                path, match = files["T1w"]
                lesions = {"stroke": files[MASK][0]} if MASK in files else {}
                person = Participant(name, f"R{match['cohort']}", "stroke")
                found.add(person, Visit({"T1w": path}, lesions=lesions, space=SPACE))
        return found
