"""The look itself: measure every visit of a cohort, then ask every check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.preparation import prepare_all
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import anatomy
from normfed_client.quality import checks
from normfed_client.quality.atlas import Opened, RobustAtlas, opened, robust_atlas, tissue_of
from normfed_client.quality.doubts import Doubt
from normfed_client.quality.files import file_facts
from normfed_client.quality.measures import Measured, contrast_of, of_brain
from normfed_common.foundation.errors import ScanError
from normfed_common.learning.anatomy import Anatomy

DARK = ("T1w", "FA", "pet")  # in which lesions are darker than what is around them
Told = Callable[[Visit, str | None], None]


@dataclass(frozen=True)
class Look:
    """What was seen.

    Parameters
    ----------
    cohort
        Every visit that could be prepared.
    doubts
        Serious ones first.
    atlases
        By modality; none where too few people say what is usual.
    recipe
        By which the visits were prepared.
    """

    cohort: tuple[Measured, ...]
    doubts: tuple[Doubt, ...]
    atlases: dict[str, RobustAtlas]
    recipe: Recipe

    def open(self, one: Measured, modality: str) -> Opened:
        """A visit's scan in robust units, and its mask."""
        return _open(one, self.recipe, modality, tissue_of(_anatomy(self.recipe)))()


def look_at(
    visits: Sequence[Visit],
    recipe: Recipe,
    cache: Path,
    healthy: Sequence[str],
    workers: int = 1,
    told: Told = lambda _visit, _failure: None,
) -> Look:
    """Look at a cohort.

    Parameters
    ----------
    recipe
        A study's, or any: its modalities are looked at.
    healthy
        Values of `group` that mean healthy: these people are the atlas, and are compared with it. Where there are too
        few, everybody is, in tissue far from any lesion.
    told
        See `prepare_all`.
    """
    some = [visit for visit in visits if any(m in visit.images for m in recipe.modalities)]
    outcome = prepare_all(some, recipe, cache, workers, told)
    unusable = [
        Doubt(subject=v.participant.subject, visit=v.name, kind="unusable", text=f"takes part in nothing: {p.why}")
        for p in outcome.problems
        for v in some
        if v.name == p.what
    ]
    cohort = [one for visit in some if (one := _measured(visit, recipe, Cache(cache))) is not None]
    normal = [one for one in cohort if one.visit.participant.group in healthy]
    compared = normal if len(normal) >= checks.FEWEST else cohort
    atlases = dict(_atlases(compared, recipe))
    with_distances = {one.visit.name: _compared(one, recipe, atlases) for one in compared}
    cohort = [with_distances.get(one.visit.name, one) for one in cohort]
    found = [doubt for check in checks.CHECKS for doubt in check(cohort)] + unusable
    if len(compared) < checks.FEWEST:
        text = f"{len(compared)} scans are too few to say what is usual (at least {checks.FEWEST}): look at each."
        found.append(Doubt(subject="", visit="", kind="few", text=text))
    found.sort(key=lambda doubt: (not doubt.serious, doubt.visit))
    return Look(tuple(cohort), tuple(found), atlases, recipe)


def _measured(visit: Visit, recipe: Recipe, cache: Cache) -> Measured | None:
    try:
        entry = prepare(visit, recipe, cache)
        present = [m for m in recipe.modalities if m in visit.images]
        files = {modality: file_facts(visit.images[modality]) for modality in present}
    except ScanError:
        return None  # prepare_all has said so
    seen = _anatomy(recipe)
    contrasts = {m: contrast_of(entry, recipe.modalities.index(m), seen) for m in present}
    return Measured(visit, entry, *of_brain(entry, recipe.config.voxel_size_mm), files, contrasts, {})


def _atlases(compared: Sequence[Measured], recipe: Recipe) -> Iterator[tuple[str, RobustAtlas]]:
    """Of each modality that enough people have, over the first visit of each."""
    tissue = tissue_of(_anatomy(recipe))
    for modality in recipe.modalities:
        first: dict[str, Measured] = {}
        for one in compared:
            if modality in one.files:
                first.setdefault(one.visit.participant.subject, one)
        if len(first) >= checks.FEWEST:
            people = [_open(one, recipe, modality, tissue) for one in first.values()]
            yield modality, robust_atlas(people, tissue, -1 if modality.endswith(DARK) else 1)


def _compared(one: Measured, recipe: Recipe, atlases: dict[str, RobustAtlas]) -> Measured:
    tissue = tissue_of(_anatomy(recipe))
    distances = {
        modality: atlas.distance(_open(one, recipe, modality, tissue)())
        for modality, atlas in atlases.items()
        if modality in one.files
    }
    return replace(one, distances=distances)


def _open(one: Measured, recipe: Recipe, modality: str, tissue: np.ndarray) -> Callable[[], Opened]:
    return partial(opened, one.entry, recipe.modalities.index(modality), tissue)


def _anatomy(recipe: Recipe) -> Anatomy:
    return anatomy(recipe.config.voxel_size_mm)
