"""How much of a person's brain is lesion, by the masks as they are."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.nifti import volume_ml


def lesion_ml(visit: Visit) -> float:
    """Volume of all lesion masks of a visit, in ml; 0 without any.

    Raises
    ------
    ScanError
        If a mask cannot be read.
    """
    return sum(lesion_ml_by_kind(visit).values())


def lesion_ml_by_kind(visit: Visit) -> dict[str, float]:
    """The same by kind of lesion; those of which there is a mask.

    Raises
    ------
    ScanError
        If a mask cannot be read.
    """
    found: dict[str, float] = {}
    for mask in visit.lesions:
        found[mask.label] = found.get(mask.label, 0.0) + _of_mask(mask)
    return found


def _of_mask(mask: Mask) -> float:
    """Read once per process while the file's size and time stay the same."""
    path = mask.path.resolve()
    if not path.exists():
        return volume_ml(path, mask.values)  # which says so
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns, mask.values)


@lru_cache(maxsize=65_536)
def _read(path: Path, _size: int, _mtime_ns: int, values: tuple[int, ...] | None) -> float:
    return volume_ml(path, values)
