"""The WMH Segmentation Challenge (MICCAI 2017): 170 people of three institutions and five scanners.

Layout: dataverse.nl, doi:10.34894/AECRSD, release of 2022, whose folders public loaders list (the Philips one with a
space and dots in its name); additional_annotations, two more observers of the 60 people, is not read. Label 2 is other
pathology, which the challenge's own evaluation.py (hjkuijf/wmhchallenge) takes out of the truth and out of what is
evaluated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from normfed_client.imaging.bids import Problem
from normfed_client.imaging.labels import IGNORED
from normfed_client.imaging.participants import Participant
from normfed_common.study.base import Frozen
from normfed_simulation.datasets.contents import Contents, Visit, subject
from normfed_simulation.datasets.downloaded import Downloaded

HOSPITALS = ("Utrecht", "Singapore", "Amsterdam", "GE3T")  # the last as the challenge's own server had it
PARTS = ("training", "test")
# First letters of the folders of scanners to how people call them; the Philips one is `Philips_VU .PETMR_01.`.
SCANNERS = {
    "Utrecht": "Philips Achieva 3T",
    "Singapore": "Siemens TrioTim 3T",
    "GE3T": "GE Signa HDxt 3T",
    "GE1T5": "GE Signa HDxt 1.5T",
    "Philips": "Philips Ingenuity PET-MR 3T",
}
FILES = {"FLAIR": "FLAIR", "T1": "T1w"}


class Config(Frozen):
    """Which of it."""

    images: Literal["pre", "orig"] = Field("pre", description="pre: bias-corrected by the challenge; orig: as scanned")
    part: Literal["training", "test", "all"] = Field(
        "all", description="the 60 people of training, the 110 of test, or all"
    )


class WMH(Downloaded):
    """See the module."""

    cited = ("kuijf2019",)
    Config = Config
    title = "WMH Segmentation Challenge, MICCAI 2017"
    licence = "CC BY-NC 4.0"
    access = "download: doi:10.34894/AECRSD (dataverse.nl)"
    modalities = ("T1w", "FLAIR")
    layout = """training/Utrecht/0/pre/{FLAIR,T1}.nii.gz and wmh.nii.gz beside pre/
        training/Singapore/50/..., training/Amsterdam/GE3T/100/...
        test/Amsterdam/{GE1T5,GE3T,Philips_VU .PETMR_01.}/..., test/Utrecht/..., test/Singapore/..."""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """See `Downloaded`."""
        places = [root / part / name for part in ("", *PARTS) for name in HOSPITALS]
        return any(any(place.glob("*/wmh.nii*")) or any(place.glob("*/*/wmh.nii*")) for place in places)

    def read(self, root: Path) -> Contents:
        """See `Downloaded`."""
        found = Contents(root, {1: "WMH", 2: IGNORED})
        for case in _cases(root, self.config.part):
            hospital, scanner = _where(case, root)
            site = "Amsterdam" if hospital == "GE3T" else hospital
            known = next((name for name in SCANNERS if scanner.startswith(name)), None)
            name = subject(f"{site}{known or scanner if scanner != site else ''}{case.name}")
            images = {FILES[stem]: path for stem in FILES if (path := _nifti(case / self.config.images, stem))}
            if not images:
                expected = f"{self.config.images}/FLAIR.nii.gz"
                found.problems.append(Problem(name, f"no {expected} in {case.relative_to(root)}: left out"))
                continue
            labels = _nifti(case, "wmh")
            if labels is None:
                found.problems.append(Problem(name, f"no wmh.nii.gz in {case.relative_to(root)}"))
            grid = "FLAIR" if "FLAIR" in images else "T1w"
            person = Participant(name, site, "WMH", scanner=SCANNERS[known] if known else None)
            found.add(person, Visit(images, grid=grid, labels=labels))
        return found


def _cases(root: Path, part: str) -> list[Path]:
    """Folders of people: those with numbers for names below a hospital's."""
    wanted = PARTS if part == "all" else (part,)
    tops = [root / each for each in wanted if (root / each).is_dir()] or [root]
    folders = [
        path for top in tops for name in HOSPITALS for path in [*(top / name).glob("*"), *(top / name).glob("*/*")]
    ]
    return sorted((path for path in folders if path.name.isdigit() and path.is_dir()), key=str)


def _where(case: Path, root: Path) -> tuple[str, str]:
    """The folder of the hospital and that of the scanner, which is the hospital's own where it has one scanner."""
    hospital = next(part for part in case.relative_to(root).parts if part in HOSPITALS)
    return hospital, case.parent.name


def _nifti(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / f"{stem}.nii.gz", folder / f"{stem}.nii") if path.exists()), None)
