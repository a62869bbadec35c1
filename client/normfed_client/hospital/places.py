"""Sums per place as a hospital may tell them: of tissue that enough people have there, or as means of cubes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from normfed_client.hospital.demographics import apart, parts
from normfed_client.hospital.site import Site
from normfed_client.imaging.cache import Entry
from normfed_client.imaging.cohort import PreparedCohort
from normfed_client.imaging.template import common_grid
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.setting import Places
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.cubes import averaged
from normfed_common.privacy.overlaps import in_common


def cohort_of_places(site: Site, age_and_sex: bool = False, places: Places | None = None) -> PreparedCohort:
    """The cohort to learn sums per place from: of tissue that enough people have at the same place.

    At a voxel that one person alone has tissue, the sum over all people is that person's. So is the difference of
    two sums, if of those who are in one of them alone, one has tissue there. Hence every block of people (see
    `Releases`) has nobody or at least the minimum with normal tissue at a voxel, or nothing of it is told. Where so
    few have brain, nobody's is shown: what a model makes of a voxel may be what is beside it. People whose scans
    are not at hand are taken to have all that the template has.

    Of two voxels at a place each may be enough people's, and both only one person's, whose difference between the
    two is then what sums of scans' means lack to those of voxels. So where there are such sums, at least the
    minimum of every block have all that is told of a place (see `in_common`).

    Parameters
    ----------
    age_and_sex
        Whether models are told any; those who are told alike are then such a block, too.
    places
        Of the sums; each voxel by itself when absent.
    """
    known = site.demographics()
    if site.custody is None or known is None:
        return site.training_cohort()
    known = known if age_and_sex else dict.fromkeys(known, (None, None))
    grid = common_grid(site.study.preprocessing.voxel_size_mm)
    at_hand: dict[str, list[Entry]] = {}
    for case in site.cases("train"):
        at_hand.setdefault(site.custody.digest(case.visit.participant.subject), []).append(case.entry)
    told = np.ones((2, grid.brain.size), bool)
    alike = [{site.custody.digest(name) for name in group} for group in apart(known)]
    blocks = [part for whole in site.custody.blocks() for part in parts(whole, alike)]
    for block in blocks:
        people = np.tile(np.where(grid.brain.ravel(), len(block - at_hand.keys()), 0), (2, 1))
        for person in block & at_hand.keys():
            has = np.zeros(told.shape, bool)
            for entry in at_hand[person]:
                has |= [entry.normal().ravel(), entry.mask().ravel()]
            people += has
        told &= (people == 0) | (people >= site.minimum)
    if places is not None and places.of_scans:
        place = places.of_voxels(grid.brain.shape, site.study.preprocessing.voxel_size_mm)
        for block in blocks:
            scans = [at_hand[person] for person in sorted(block & at_hand.keys())]
            absent = [grid.brain.reshape(1, -1)] * min(len(block - at_hand.keys()), site.minimum)
            told[0] &= in_common(partial(_tissue, scans, absent), told[0], place, site.minimum)
    return PreparedCohort([(case.visit, case.entry) for case in site.train], told[0], told[1], known=known)


def coarsened(site: Site, model: NormativeModel, phase: str, sums: Arrays) -> tuple[Arrays, tuple[str, ...]]:
    """Sums as they may leave: those per voxel over few people as means of cubes; and a note that says so."""
    places = model.places(phase)
    if site.custody is None or places is None:
        return sums, ()
    rules = site.custody.rules
    groups = site.groups(site.train).items()
    together = {frozenset(visit) for visits, _ in groups for visit in visits}  # what a sum may need at one visit
    having = [sum(len(people) for visits, people in groups if any(m.issubset(v) for v in visits)) for m in together]
    if model.age_and_sex:  # the sums with and those without a covariate make those of the people told alike
        having += map(len, apart(site.demographics() or {}))
    fewest = min((count for count in having if count), default=0)
    if fewest >= rules.minimum_people_per_voxel or places.edge_mm >= rules.cube_mm:
        return sums, ()
    note = note_of_cubes(rules.cube_mm, rules.minimum_people_per_voxel)
    return averaged(sums, places, rules.cube_mm), (note,)


def note_of_cubes(cube_mm: float, people: int) -> str:
    """What is said of sums per voxel that leave as means of cubes."""
    return (
        f"Sums per voxel left as means of cubes of {cube_mm:g} mm: they are over fewer people than the {people} asked "
        "for by the site."
    )


def _tissue(people: Sequence[Sequence[Entry]], beside: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Normal tissue (scans, voxels) of people, and of those beside them."""
    for entries in people:
        yield np.stack([entry.normal().ravel() for entry in entries])
    yield from beside
