"""Scans that lie in no dataset with a participants.tsv: visits by the names of files, and by what lies beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from normfed_client.imaging.bids import TEMPLATE_SPACE, Mask, Visit, grid_of
from normfed_client.imaging.participants import Participant
from normfed_client.scoring.file_names import NIFTI, FileName, file_name, label_of

DERIVATIVES = "derivatives"
DERIVED = ("{}", "*/{}", "*/derivatives/*/{}")  # where a person is below it; the last as QSIRecon has it


@dataclass
class Group:
    """Files of one visit as they are collected; ``second`` is a scan of a modality that there is already."""

    images: dict[str, Path] = field(default_factory=dict)
    names: dict[str, FileName] = field(default_factory=dict)
    masks: list[Path] = field(default_factory=list)
    second: tuple[Path, str] | None = None

    @property
    def in_template_space(self) -> bool:
        """Whether all scans say so."""
        return bool(self.names) and all(name.space.startswith(TEMPLATE_SPACE) for name in self.names.values())

    def add(self, path: Path, name: FileName) -> None:
        """A file that was named."""
        if name.modality is None:
            self.masks.append(path)
        elif name.modality in self.images:
            self.second = self.second or (path, name.modality)
        else:
            self.images[name.modality], self.names[name.modality] = path, name

    def add_from_beside(self, files: Iterable[Path]) -> None:
        """What lies beside the named scans and is of the same visit: modalities of which nobody named a scan, where
        there is one only, and brain masks."""
        whose = next(iter(self.names.values())).visit
        found: dict[str, list[tuple[Path, FileName]]] = {}
        for path in files:
            name = file_name(path)
            if name is None or name.visit not in (whose, (whose[0], None)):
                continue
            if name.modality is None:
                self.masks += [path] if path not in self.masks else []
            elif name.visit == whose and DERIVATIVES not in path.parts and name.modality not in self.images:
                found.setdefault(name.modality, []).append((path, name))
        registered = self.in_template_space
        for modality, candidates in found.items():
            there = [one for one in candidates if one[1].space.startswith(TEMPLATE_SPACE) == registered]
            if len(there) == 1:
                self.images[modality], self.names[modality] = there[0]


def groups(files: Sequence[Path]) -> dict[tuple[str, str | None], Group]:
    """Files by the visit that their names tell; those that tell none are left out.

    A group of masks alone is left out as well: it is nobody's.
    """
    found: dict[tuple[str, str | None], Group] = {}
    for path in files:
        name = file_name(path)
        if name is not None:
            found.setdefault(name.visit, Group()).add(path, name)
    return {visit: group for visit, group in sorted(found.items(), key=_order) if group.images}


def _order(item: tuple[tuple[str, str | None], Group]) -> tuple[str, str]:
    (person, session), _ = item
    return person, session or ""


def visit_of(group: Group, person: str, session: str | None) -> Visit:
    """A group as a visit, with the brain mask of the first that lies on one of its scans' grids."""
    spaces = {modality: name.space for modality, name in group.names.items()}
    participant = Participant(label_of(person), "", "")
    brain = None
    for path in group.masks:
        name = file_name(path)
        grid = grid_of(path, name.entities if name else {}, group.images, spaces)
        if grid is not None:
            brain = Mask(path, grid, "brain")
            break
    return Visit(participant, session, group.images, brain, in_template_space=group.in_template_space)


class Surroundings:
    """Which NIFTI files lie beside scans; every folder is listed once."""

    def __init__(self) -> None:
        self._listed: dict[Path, tuple[Path, ...]] = {}

    def of(self, scan: Path) -> Iterator[Path]:
        """Files that may belong to a scan: in its folder, in the other folders of its session, and, where it lies in a
        folder ``sub-X`` as BIDS has it, in the person's folders of the derivatives."""
        yield from self._nifti(scan.parent)
        name = file_name(scan)
        above = next((folder for folder in scan.parents if name is not None and folder.name == name.person), None)
        if above is None:
            return
        if scan.parent != above:
            for folder in sorted(scan.parent.parent.iterdir()):
                if folder.is_dir() and folder != scan.parent:
                    yield from self._nifti(folder)
        for pattern in DERIVED:
            for root in sorted((above.parent / DERIVATIVES).glob(pattern.format(above.name))):
                for folder in (root, *sorted(root.glob("**/"))):
                    yield from self._nifti(folder)

    def _nifti(self, folder: Path) -> tuple[Path, ...]:
        if folder not in self._listed:
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            self._listed[folder] = tuple(folder / name for name in names if NIFTI.search(name) and name[0] != ".")
        return self._listed[folder]


def below(folder: Path) -> list[Path]:
    """The scans and brain masks anywhere in a folder, in the order of their paths; nothing hidden, and no scan that
    lies in derivatives."""
    found = []
    for path in sorted(folder.rglob("*.nii*")):
        parts = path.relative_to(folder).parts
        name = file_name(path)
        if name is None or any(part.startswith(".") for part in parts):
            continue
        if name.modality is None or DERIVATIVES not in parts:
            found.append(path)
    return found
