"""Prepared scans in the cache that nobody needs any more.

An entry is found by what is in the scans, and does not say whose it is. So it is worked out which entries belong to the
people who take part, in the ways in which known studies and the latest look prepare scans; all others go, those of
people whose files were deleted before too. What goes and is needed after all is made again from the scans.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from normfed_client.consent.asked import AskedStudies
from normfed_client.hospital.folder import Hospital
from normfed_client.hospital.withdrawn import withdrawn
from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.quality.kept import Records
from normfed_common.foundation.errors import ScanError, UserError
from normfed_common.study.preprocessing import PreprocessingConfig

if TYPE_CHECKING:
    from normfed_client.imaging.preprocessing import Recipe

ENTRY = re.compile(r"^(\.building-|\.gone-)?[0-9a-f]{32}(\.damaged-.*)?$")


def unneeded(hospital: Hospital, subject: str = "", but_studies: Container[str] = ()) -> list[Path]:
    """Entries of nobody who takes part.

    Parameters
    ----------
    subject
        Somebody who does not take part any more, beside those who withdrew.
    but_studies
        Digests of studies that do not count.
    """
    there = sorted(path for path in hospital.cache.glob("*") if ENTRY.match(path.name))
    if not there:
        return []
    needed = {key for recipe in _recipes(hospital, but_studies) for key in _keys(recipe, _others(hospital, subject))}
    return [path for path in there if path.name not in needed]


def _others(hospital: Hospital, subject: str) -> list[Visit]:
    """Visits of everybody else; of nobody where the dataset cannot be read."""
    gone = withdrawn(hospital)
    with suppress(UserError):
        visits = read_dataset(hospital.site_config("").data, _Without(gone, subject)).visits
        owned = hospital.config.owns
        return [visit for visit in visits if not owned or visit.participant.site in owned]
    return []


class _Without:
    def __init__(self, gone: Container[str], subject: str) -> None:
        self._gone, self._subject = gone, subject

    def __contains__(self, name: object) -> bool:
        return name == self._subject or name in self._gone


def _recipes(hospital: Hospital, but_studies: Container[str]) -> list[Recipe]:
    from normfed_client.imaging.preprocessing import Recipe  # seconds of imports, for whoever erases alone

    studies = [asked for asked in AskedStudies(hospital.folder).all() if asked.digest not in but_studies]
    found = [Recipe.of(asked.config()) for asked in studies]
    with suppress(UserError):
        look = Records(hospital.quality).latest()
        found += [] if look is None else [Recipe(PreprocessingConfig(), look.modalities, None)]
    return found


def _keys(recipe: Recipe, visits: Iterable[Visit]) -> list[str]:
    """Of the visits that can be prepared so."""
    found = []
    for visit in visits:
        if recipe.reference(visit) in visit.images:
            with suppress(ScanError):
                found.append(recipe.key(visit))
    return found
