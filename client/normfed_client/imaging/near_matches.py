"""Files of a dataset that are no scans of anybody by BIDS, and by their names may be meant as some."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from normfed_common.study.modalities import MAPS

NIFTI = (".nii", ".nii.gz")
IMAGES = (*NIFTI, ".mgz", ".mgh", ".nrrd", ".mha", ".img")  # what may hold a scan, for us or not
# How people write a modality, the first that fits a name in lower case.
WRITTEN = {"FLAIR": "(?:t2w?[-_]?)?flair", "T1w": "t1w?", "T2w": "t2w?", "pet": "pet", "FA": "fa", "MD": "md"}
NO_SCAN, SPACE = re.compile(r"_(?:mask|dseg|probseg|seg)\.|label-", re.IGNORECASE), re.compile(r"space-[^_.]+_?")
SUBJECT, SESSION = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)"), re.compile(r"(?:^|[/_])ses-([A-Za-z0-9]+)")
Visited = tuple[str, str | None]  # a subject and a session


@dataclass(frozen=True)
class NearMatch:
    """A file that is not taken for a scan of a visit, and by its name may be meant as one.

    Parameters
    ----------
    place
        Below the dataset.
    broken
        Whether it is a link to a file that is not there.
    """

    place: Path
    modality: str
    broken: bool


def near_matches(root: Path, used: set[Path]) -> dict[Visited, list[NearMatch]]:
    """Files that may be meant as scans of a visit, by whose folder they lie in or whose name they carry; those that are
    ``used`` only where folder and name disagree."""
    found: dict[Visited, list[NearMatch]] = defaultdict(list)
    taken = set(map(os.path.abspath, used))
    for place in _images(root):
        modality = _meant(place.name)
        if modality is None:
            continue
        lies, named = (_key(place.parent.as_posix()), _key(place.name))
        path = root / place
        whose = {lies} - {named} if os.path.abspath(path) in taken else {lies, named}
        for key in whose:
            if key is not None:
                found[key].append(NearMatch(place, modality, not path.exists()))
    return found


def _images(root: Path) -> Iterator[Path]:
    """Files below ``root`` that end as images do, in the order of their names; nothing hidden."""
    for folder, folders, names in os.walk(root, followlinks=True):  # as those that are taken are found
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(IMAGES) and not name.startswith("."):
                yield Path(folder, name).relative_to(root)


def _meant(name: str) -> str | None:
    """The modality that a file's name speaks of; none of a mask's."""
    if NO_SCAN.search(name):
        return None
    words = SPACE.sub("", name).lower()
    return next((m for m, how in WRITTEN.items() if re.search(f"(?<![a-z0-9])(?:{how})(?![a-z0-9])", words)), None)


def _key(text: str) -> Visited | None:
    subject, session = SUBJECT.search(text), SESSION.search(text)
    return (subject[1], session[1] if session else None) if subject else None


def place_of(modality: str) -> tuple[str, str]:
    """The folder of a person in which a scan lies, and how its name ends, without what tells the kind of file."""
    if modality in MAPS:
        return "dwi", f"param-{modality}_dwimap"
    return "pet" if modality == "pet" else "anat", modality


def instead(near: Sequence[NearMatch], name: str) -> str:
    """The end of a sentence: what there is that is nearly a scan, and why it is none; empty where there is nothing.

    Parameters
    ----------
    name
        With which a scan's name would begin, such as that of the visit.
    """
    if not near:
        return ""
    first, *others = dict.fromkeys(near)  # one that lies in one visit's folder and bears another's name is of both
    more = f" and {len(others)} more" if others else ""
    return f"; found {first.place}, {_why_not(first, name)}{more}"


def _why_not(match: NearMatch, name: str) -> str:
    file = match.place.name
    if match.broken:
        return "which is a broken link"
    if not file.lower().endswith(NIFTI):
        return "which is no NIfTI file"
    if match.place.parts[0] == "derivatives" and match.modality not in MAPS:
        return "which lies in derivatives"
    if not file.startswith(name):
        return f"whose name does not begin with {name}"
    return f"whose name does not end in _{place_of(match.modality)[1]}.nii.gz"
