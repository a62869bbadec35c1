"""What the page knows of a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from normfed_client.imaging.bids import Dataset, Problem, Visit
from normfed_client.imaging.lesion_load import lesion_ml_by_kind
from normfed_common.foundation.errors import ScanError


@dataclass(frozen=True)
class Row:
    """One person.

    Parameters
    ----------
    came_from
        The site before the people were divided anew.
    lesions_ml
        Kind of lesion to its volume at the first visit; 0 where somebody looked and found none.
    modalities
        Of any visit.
    """

    site: str
    came_from: str
    group: str
    age: float | None
    sex: str | None
    scanner: str | None
    visits: int
    modalities: frozenset[str]
    lesions_ml: Mapping[str, float]


def rows(dataset: Dataset, before: Dataset) -> tuple[list[Row], list[Problem]]:
    """Everybody of a dataset, and whose masks cannot be read.

    Parameters
    ----------
    before
        The same people at the sites where they were.
    """
    came_from = {visit.participant.subject: visit.participant for visit in before.visits}
    visits: dict[str, list[Visit]] = {}
    for visit in dataset.visits:
        visits.setdefault(visit.participant.subject, []).append(visit)
    found, problems = [], []
    for subject, of in sorted(visits.items()):
        try:
            lesions = lesion_ml_by_kind(of[0])
        except ScanError as error:
            lesions = {}
            problems.append(Problem(subject, str(error)))
        whose, origin = of[0].participant, came_from[subject]
        found.append(
            Row(
                whose.site,
                origin.site,
                whose.group,
                whose.age,
                whose.sex,
                origin.scanner,
                len(of),
                frozenset(modality for visit in of for modality in visit.images),
                lesions,
            )
        )
    return found, problems
