"""The look as one page with pictures of everybody listed, for a person in the hospital."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from normfed_client.imaging.mosaic import mosaic
from normfed_client.quality.checks import UNUSUAL_ALARMS, unusual_scores
from normfed_client.quality.doubts import Doubt
from normfed_client.quality.look import Look
from normfed_client.quality.measures import Measured
from normfed_client.quality.robust import limit
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_text

SHOWN = 60  # people with pictures: a page of more cannot be opened


@dataclass(frozen=True)
class Picture:
    """Of one modality of a visit, as a data URI."""

    visit: str
    modality: str
    data: str


@dataclass(frozen=True)
class Listed:
    """One person."""

    subject: str
    doubts: list[Doubt]
    pictures: list[Picture]

    @property
    def decide(self) -> bool:
        """Whether somebody has to."""
        return any(doubt.serious for doubt in self.doubts)


def write_page(path: Path, look: Look, title: str, time: str) -> None:
    """Write one page that needs no network, for its owner only.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    people: dict[str, list[Doubt]] = {}
    for doubt in look.doubts:
        people.setdefault(doubt.subject or "Everybody", []).append(doubt)
    listed = [
        Listed(who, doubts, _pictures(look, who) if number < SHOWN else [])
        for number, (who, doubts) in enumerate(people.items())
    ]
    scores = unusual_scores(look.cohort)
    ranked = sorted(scores.items(), key=lambda item: -item[1][0])
    environment = Environment(
        loader=PackageLoader("normfed_client.quality"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("page.html.jinja").render(
        title=title,
        time=time,
        modalities=look.recipe.modalities,
        people=len({one.visit.participant.subject for one in look.cohort}),
        listed=listed,
        scores=[(name, modality, f"{z:.1f}") for name, (z, modality) in ranked],
        limit=f"{limit(len(scores), UNUSUAL_ALARMS):.1f}",
    )
    try:
        write_text(path, page)
        path.chmod(0o600)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}). Choose another file.") from error


def _pictures(look: Look, subject: str) -> list[Picture]:
    mine = [one for one in look.cohort if one.visit.participant.subject == subject]
    return [Picture(one.visit.name, modality, _drawn(look, one, modality)) for one in mine for modality in one.files]


def _drawn(look: Look, one: Measured, modality: str) -> str:
    """Scan above and map below, at the slices where the map is highest; without an atlas the scan alone."""
    index = look.recipe.modalities.index(modality)
    image = np.load(one.entry.folder / "images.npy", mmap_mode="r")[index].transpose(1, 2, 0)
    mask, lesion = one.entry.mask(), one.entry.lesion()
    distance = np.zeros(mask.shape, np.float32)
    if modality in look.atlases:
        distance = np.maximum(look.atlases[modality].map(look.open(one, modality)), 0)
    if not lesion.any() and distance.any():  # its outline is what is farthest
        lesion = distance > max(3.0, float(np.percentile(distance[mask], 99.5)))
    return mosaic(np.asarray(image), distance, lesion, mask)
