"""Brain masks that somebody named: whose they are, and on which scan they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from normfed_client.imaging.bids import Mask, Visit, grid_of
from normfed_client.scoring.asked import Gathered
from normfed_client.scoring.file_names import NIFTI, file_name, label_of
from normfed_common.foundation.errors import DatasetError


def give_masks(masks: Sequence[Path], found: Gathered) -> None:
    """Give each mask to whom it is of: to the only person, or by its name."""
    taken: dict[int, Path] = {}
    for mask in masks:
        for number in _owners(mask, found):
            if number in taken:
                whose = found.asked[number].visit.name
                raise DatasetError(
                    f"{mask}: a second brain mask of {whose}, beside {taken[number]}. Give one of the two."
                )
            taken[number] = mask
            asked = found.asked[number]
            found.asked[number] = replace(asked, visit=replace(asked.visit, brain=_on_scan(mask, asked.visit)))


def _owners(mask: Path, found: Gathered) -> list[int]:
    """Whose a mask is, as places in the list of those who were asked for."""
    if len(found.asked) == 1 and not found.refused:
        return [0]
    name = file_name(mask)
    person, session = (name.person, name.session) if name else (NIFTI.sub("", mask.name), None)
    whose = [
        number
        for number, asked in enumerate(found.asked)
        if asked.participant_id == label_of(person) and session in (None, asked.visit.session)
    ]
    refused = any(row.participant_id == label_of(person) for row in found.refused)
    if not whose and not refused:
        example = found.asked[0].visit.name if found.asked else "sub-01"
        raise DatasetError(
            f"{mask}: a brain mask of nobody who is given, by its name. Call it as its person's scans, such as "
            f"{example}_desc-brain_mask.nii.gz, or give one person at a time."
        )
    return whose


def _on_scan(mask: Path, visit: Visit) -> Mask:
    """A mask with the modality on whose grid it lies; where it lies on none, the first, which then says so."""
    name = file_name(mask)
    grid = grid_of(mask, name.entities if name else {}, visit.images, dict.fromkeys(visit.images, ""))
    return Mask(mask, grid or next(m for m in ("T1w", *visit.images) if m in visit.images), "brain")
