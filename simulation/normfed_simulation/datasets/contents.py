"""What a downloaded dataset holds, as a BIDS dataset would say it: people, and which file is which scan of whom."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from normfed_client.imaging import labels
from normfed_client.imaging.bids import Problem
from normfed_client.imaging.near_matches import place_of
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.modalities import MAPS
from normfed_simulation.datasets.analyze import HEADER

MASKS, DIFFUSION = Path("derivatives", "masks"), Path("derivatives", "diffusion")


@dataclass(frozen=True)
class Visit:
    """The files of one person of one session, where they lie in the source.

    Parameters
    ----------
    images
        Modality, a BIDS suffix such as ``FLAIR`` or ``ce-gadolinium_T1w``, or ``FA`` and ``MD``, to file.
    grid
        The modality on whose grid the masks lie.
    brain
        The brain's mask.
    lesions
        Kind of lesion to a mask of it alone.
    labels
        A segmentation with a whole number for each kind, which `Contents.names` translates.
    space
        The template space of all images, such as ``MNI152NLin6Asym``; None for the scanner's own.
    """

    images: Mapping[str, Path]
    grid: str = "T1w"
    session: str | None = None
    brain: Path | None = None
    lesions: Mapping[str, Path] = field(default_factory=dict)
    labels: Path | None = None
    space: str | None = None


@dataclass
class Contents:
    """People and files, collected by whoever reads a layout.

    Parameters
    ----------
    source
        The folder as it came; of several datasets together, the first's.
    others
        The folders of the other ones.
    names
        Of the labels of segmentations, number to the kind of lesion or to `labels.IGNORED`.
    links
        Place in the BIDS dataset to file of the source.
    texts
        Place in the BIDS dataset to what is written there.
    problems
        What was left out, or is missing.
    """

    source: Path
    names: Mapping[int, str] = field(default_factory=dict)
    people: dict[str, Participant] = field(default_factory=dict)
    links: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    others: tuple[Path, ...] = ()

    def add(self, person: Participant, *visits: Visit) -> None:
        """Take in a person with the files of each visit.

        Raises
        ------
        DatasetError
            If somebody of that name is there, or the person has no site.
        """
        if person.subject in self.people:
            raise DatasetError(f"{self.source}: {person.subject} is there twice. Keep one of the two.")
        if not person.site:
            raise DatasetError(f"{self.source}: {person.subject} has no site. Fill it in, or remove the person.")
        self.people[person.subject] = person
        for visit in visits:
            self._link(person.subject, visit)

    def sites(self) -> dict[str, int]:
        """People per site."""
        return dict(sorted(Counter(person.site for person in self.people.values()).items()))

    def remarks(self) -> list[str]:
        """What of its sites makes a dataset no federation by itself, a sentence each."""
        sites = self.sites()
        alone = [site for site, people in sites.items() if people == 1]
        found = []
        if len(sites) == 1:
            found.append(
                f"All {len(self.people)} people are of one site, {next(iter(sites))}, which is no federation by "
                "itself: divide them by data.split, such as {by: iid, sites: 4}."
            )
        elif alone:
            have = "has" if len(alone) == 1 else "have"
            found.append(
                f"{len(alone)} of {len(sites)} sites {have} one person, such as {alone[0]}: no site trains or tells "
                "a figure of one. List them under data.exclude, or divide all people anew by data.split."
            )
        return found

    def _link(self, subject: str, visit: Visit) -> None:
        session = [f"ses-{visit.session}"] if visit.session else []
        name = "_".join([subject, *session])
        of_space = f"_space-{visit.space}" if visit.space else ""
        for modality, path in visit.images.items():
            kind, what = place_of(modality)
            top = DIFFUSION if modality in MAPS else Path()
            self.links[str(top.joinpath(subject, *session, kind, f"{name}{of_space}_{what}{ending(path)}"))] = path
        anat = MASKS.joinpath(subject, *session, "anat")
        grid = visit.grid.rpartition("_")[2]
        masks = {f"label-{kind}_mask": path for kind, path in visit.lesions.items()}
        masks |= {"desc-brain_mask": visit.brain} if visit.brain else {}
        masks |= {f"desc-{labels.DESCRIPTION}_dseg": visit.labels} if visit.labels else {}
        for what, path in masks.items():
            stem = str(anat / f"{name}_space-{visit.space or grid}_{what}")
            self.links[stem + ending(path)] = path
            if path is visit.labels:
                rows = [f"{label}\t{kind}" for label, kind in sorted(self.names.items())]
                self.texts[f"{stem}.tsv"] = "\n".join(["index\tname", *rows]) + "\n"


def together(parts: Sequence[Contents]) -> Contents:
    """Several datasets as one federation, such as healthy people of one and patients of another.

    Raises
    ------
    DatasetError
        If two have a person or a site of the same name: nobody could tell them apart.
    """
    first, *rest = parts
    whole = replace(
        first,
        people=dict(first.people),
        links=dict(first.links),
        texts=dict(first.texts),
        problems=list(first.problems),
        others=tuple(part.source for part in rest),
    )
    for part in rest:
        for what, shared in (
            ("a person", whole.people.keys() & part.people.keys()),
            ("a site", whole.sites().keys() & part.sites().keys()),
        ):
            if shared:
                raise DatasetError(
                    f"{part.source}: has {what} {min(shared)}, as another of the datasets has. Give one of them, or "
                    "other names."
                )
        whole.people.update(part.people)
        whole.links.update({place: path for place, path in part.links.items() if place not in whole.links})
        whole.texts.update(part.texts)
        whole.problems.extend(part.problems)
    return whole


def ending(path: Path) -> str:
    """``.nii``, or ``.nii.gz``; what is Analyze becomes NIfTI."""
    return ".nii.gz" if path.name.endswith((".nii.gz", HEADER)) else path.suffix


def subject(name: str) -> str:
    """A name as BIDS has them: ``FeTS2022_01341`` is ``sub-FeTS202201341``."""
    return "sub-" + re.sub(r"[^A-Za-z0-9]", "", name)
