"""MSLUB: 30 people with multiple sclerosis of one hospital in Ljubljana, with a consensus of three experts.

Layout: the archive of lit.fe.uni-lj.si (``patient1/patient1_FLAIR.nii.gz``, masks beside, the scans as taken in
``raw/``), and muschellij2/open_ms_data (``cross_sectional/coregistered/patient01/FLAIR.nii.gz``). The scans that are
read lie on the grid of the FLAIR, as do the masks.
"""

from __future__ import annotations

import re
from pathlib import Path

from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import DatasetError
from normfed_simulation.datasets.contents import Contents, Visit, subject
from normfed_simulation.datasets.downloaded import Downloaded
from normfed_simulation.datasets.naming import walk
from normfed_simulation.datasets.values import tell

FILE = re.compile(
    r"(?P<person>patient\d+)/(patient\d+_)?(?P<kind>FLAIR|T1W|T1WKS|T2W|brainmask|consensus_gt)\.nii(\.gz)?$"
)
KINDS = {"FLAIR": "FLAIR", "T1W": "T1w", "T1WKS": "ce-gadolinium_T1w", "T2W": "T2w"}
OTHERS = {"raw", "MNI", "longitudinal"}  # folders of the same people, or of other studies


class MSLUB(Downloaded):
    """See the module. One hospital: test on it beside other datasets, or split it."""

    cited = ("lesjak2018",)
    title = "MSLUB, multiple sclerosis with a consensus of three experts"
    licence = "CC BY"
    access = "download: lit.fe.uni-lj.si/en/research/resources/3D-MR-MS, or github.com/muschellij2/open_ms_data"
    modalities = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")
    one_site = True
    layout = """patient1/patient1_{FLAIR,T1W,T1WKS,T2W,brainmask,consensus_gt}.nii.gz and the like
        or coregistered/patient01/FLAIR.nii.gz and the like"""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        return any(any(root.glob("*/" * depth + "patient*/*consensus_gt.nii*")) for depth in range(3))

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        files: dict[str, dict[str, Path]] = {}
        for path in walk(root):
            match = FILE.search(path.as_posix())
            if match is None or OTHERS & set(path.relative_to(root).parts):
                continue
            of = files.setdefault(f"patient{int(match['person'].removeprefix('patient')):02d}", {})
            if match["kind"] in of:
                raise DatasetError(
                    f"{root}: {match['person']} has two {match['kind']}, {of[match['kind']].relative_to(root)} and "
                    f"{path.relative_to(root)}. Keep one of the two."
                )
            of[match["kind"]] = path
        found = Contents(root)
        tell(found, [name for name, of in files.items() if "FLAIR" not in of], "has no FLAIR: left out")
        tell(found, [name for name, of in files.items() if "consensus_gt" not in of], "has no consensus_gt.nii.gz")
        for name, of in sorted(files.items()):
            if "FLAIR" in of:
                images = {KINDS[kind]: path for kind, path in of.items() if kind in KINDS}
                lesions = {"MS": of["consensus_gt"]} if "consensus_gt" in of else {}
                person = Participant(subject(name), "Ljubljana", "MS", scanner="Siemens Magnetom Trio 3T")
                found.add(person, Visit(images, grid="FLAIR", brain=of.get("brainmask"), lesions=lesions))
        return found
