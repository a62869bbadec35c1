"""What the name of a file says: whose it is, of which session, and whether it is a scan or a mask of the brain.

A BIDS name says it by its entities (``sub-01_ses-02_acq-3d_T1w.nii.gz``). Of any other what stands before the modality
names the person (``patient 7_T1w.nii.gz``), and what stands before ``desc-brain_mask`` whose mask it is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from normfed_client.imaging.dataset_files import MAP, parameter_of
from normfed_common.study.modalities import CONTRASTS

NIFTI = re.compile(r"\.nii(?:\.gz)?$")
BIDS = re.compile(r"sub-[A-Za-z0-9]+(?:_[A-Za-z0-9]+-[A-Za-z0-9+]+)*(?:_[A-Za-z0-9]+)?")
ENTITY = re.compile(r"(?<![A-Za-z0-9])(ce|space|param|desc|model)-([A-Za-z0-9+]+)")
SPACE = "(?:(?:^|_)space-[A-Za-z0-9]+)?"
SCAN = re.compile(
    rf"^(?P<stem>.*?){SPACE}(?:^|_)(?:(?P<modality>(?:ce-[A-Za-z0-9]+_)?(?:{'|'.join(CONTRASTS)}))"
    rf"|(?:model-[A-Za-z0-9]+_)?param-(?P<map>FA|MD|fa|md)_{MAP})$"
)
MASK = re.compile(rf"^(?P<stem>.*?){SPACE}(?:^|_)desc-brain_mask$")
PATH_BEGINS = re.compile(r"(?:^|(?<=[\s'\"(:=]))[^\s'\"()]")
FOLDERS = re.compile(r"^(?:[^\s/]+/)+")
GONE = re.compile(r"(?<![\w.])/(?:[^\s/]+/)+(?=[^\s/])")  # folders that are not there any more
NOBODY = "unnamed"  # whose label no letter or digit of the name makes


@dataclass(frozen=True)
class FileName:
    """A scan's or a brain mask's.

    Parameters
    ----------
    person
        ``sub-01``, or what stands before the modality.
    modality
        None of a mask.
    entities
        As far as they are known, such as ``space``.
    """

    person: str
    session: str | None
    modality: str | None
    entities: dict[str, str]

    @property
    def visit(self) -> tuple[str, str | None]:
        """Whose, and of which session: what files of one visit share."""
        return self.person, self.session

    @property
    def space(self) -> str:
        """That in which it lies; empty where the name does not say."""
        return self.entities.get("space", "")


def file_name(path: Path) -> FileName | None:
    """What a name says; None where it is neither a scan's nor a brain mask's."""
    stem = NIFTI.sub("", path.name)
    if stem == path.name:
        return None
    return _bids(stem) if BIDS.fullmatch(stem) else _other(stem)


def stem_of(path: Path) -> str:
    """The name without its ending, and without what tells the kind of file where it tells one."""
    name = file_name(path)
    return name.person if name is not None else NIFTI.sub("", path.name)


def label_of(person: str) -> str:
    """``sub-X`` with letters and digits alone, as BIDS has it, for whatever a person is called."""
    kept = re.sub(r"[^A-Za-z0-9]", "", person.removeprefix("sub-"))
    return f"sub-{kept or NOBODY}"


def _bids(stem: str) -> FileName | None:
    *parts, suffix = stem.split("_")
    entities = dict(part.split("-", 1) for part in parts)
    person, session = f"sub-{entities['sub']}" if "sub" in entities else stem, entities.get("ses")
    if suffix in CONTRASTS:
        modality = f"ce-{entities['ce']}_{suffix}" if "ce" in entities else suffix
        return FileName(person, session, modality, entities)
    if suffix == MAP and parameter_of(entities) is not None:
        return FileName(person, session, parameter_of(entities), entities)
    if suffix == "mask" and entities.get("desc") == "brain":
        return FileName(person, session, None, entities)
    return None


def _other(stem: str) -> FileName | None:
    entities = dict(ENTITY.findall(stem))
    scan, mask = SCAN.match(stem), MASK.match(stem)
    if scan is not None:
        return FileName(scan["stem"], None, scan["modality"] or scan["map"].upper(), entities)
    return None if mask is None else FileName(mask["stem"], None, None, entities)


def without_folders(text: str) -> str:
    """A sentence with the names of its files alone, so that it can be shared: whatever is a folder on this machine is
    taken off the front of a path, and so is the front of an absolute path that is not there."""
    at = 0
    while (start := PATH_BEGINS.search(text, at)) is not None:
        at = start.start()
        slashes = [found.start() for found in re.finditer("/", text[at:])]
        folders = [end for end in slashes if end and os.path.isdir(text[at : at + end])]
        if folders:
            text = text[:at] + FOLDERS.sub("", text[at + max(folders) + 1 :])
        at += 1
    return GONE.sub("", text)
