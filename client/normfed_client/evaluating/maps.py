"""A site's anomaly maps: one way to make them, for the evaluation of a run, for `score` and for the report."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from normfed_client.hospital.site import Case, Site
from normfed_common.foundation import seeds
from normfed_common.foundation.damage import say
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.cohort import Visits
from normfed_common.learning.score import ANOMALY, UNCERTAINTY, Score
from normfed_common.metrics.calibration import NormalVoxels
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.study.evaluation import ThresholdBy

P_VALUE = "pvalue"  # the map of how many normal voxels are at least as abnormal
NOBODY_TO_LEARN_FROM = (SiteCode.NO_TRAINING_SUBJECTS, SiteCode.COHORT_TOO_SMALL)


def personalise(model: NormativeModel, site: Site) -> None:
    """Let the model learn what stays at the site, from the people who train there.

    It is learnt anew from the scans whenever maps are made: support vectors are latents of people, and what is never
    written cannot leak. A site that only tests has nobody to learn from, and the model scores with what all share; but
    its transforms adapt to the people whom it has, if the study says so (``data.adapt_unseen``).
    What leaves of the maps is about these people as well, so they are put on record.

    Raises
    ------
    SiteError
        If the site refuses to say who trains there (its maps would be another model's), or must not release anything
        about them.
    """
    if not model.keeps_to_site:
        return
    try:
        cohort = site.training_cohort(openable=True)
    except SiteError as error:
        if error.code not in NOBODY_TO_LEARN_FROM:
            raise
        _adapt(model, site)
        return
    site.release("learning", site.train, "figures of maps made with what stays here")
    model.personalise(cohort, seeds.generator(model.setting.seed, "personalise", site.config.name))


def _adapt(model: NormativeModel, site: Site) -> None:
    """Let the transforms learn from people who do not train; where they are too few for it, nothing is learnt."""
    if not isinstance(model, Pipeline):
        return
    cohort, cases = site.unseen_cohort()
    if not cases:
        return
    try:
        model.adapt(cohort)
    except SiteError as error:
        if not error.code.of_the_study:
            raise
        say(f"the transforms did not adapt to this site ({error.detail})")
        return
    site.release("figures", cases, "figures of maps made with what stays here")


def until(case: Case, cases: Iterable[Case]) -> Visits:
    """A person's visits up to one, of all cases in the order of the visits."""
    whose = [other for other in cases if other.visit.participant.subject == case.visit.participant.subject]
    return Visits([other.scan for other in whose[: whose.index(case) + 1]])


def score(model: NormativeModel, visits: Visits, name: str) -> Score:
    """The maps of the visit of that name, the last: the same wherever and whenever they are made.

    Raises
    ------
    SiteError
        If they are not what a model promises (see `Score`).
    """
    found = model.score(visits, seeds.generator(model.setting.seed, "score", name))
    if not isinstance(found, Score):
        raise SiteError(SiteCode.MAP_UNUSABLE, f"{name}: the model returned a {type(found).__name__}, not a Score")
    outside = ~visits[-1].mask
    for which, values in found.maps().items():
        wrong = _wrong(which, values, outside)
        if wrong:
            raise SiteError(SiteCode.MAP_UNUSABLE, f"{name}: the {which} map {wrong}")
    return found


def p_map(
    scores: np.ndarray, mask: np.ndarray, classes: np.ndarray, normal: NormalVoxels, by: ThresholdBy
) -> np.ndarray:
    """p-values (X, Y, Z), float32, 1 outside the brain.

    Parameters
    ----------
    scores, classes
        Of the brain's voxels, (n,): the anomaly, and the class of place.
    mask
        bool (X, Y, Z): the brain.
    normal
        Of held-out people, who have some.
    by
        Whether a voxel is compared with those of its class, or with the whole brain's.
    """
    shown = np.ones(mask.shape, np.float32)
    shown[mask] = (normal.whole() if by == "whole-brain" else normal).p_values(scores, classes)
    return shown


def _wrong(which: str, values: np.ndarray, outside: np.ndarray) -> str:
    """What is wrong with a map; empty where nothing is."""
    if values.shape != outside.shape:
        return f"has shape {values.shape}, the scan {outside.shape}"
    if not np.isfinite(values).all():
        return "is not finite"
    if values[outside].any():
        return "is not 0 outside the brain"
    if which in (ANOMALY, UNCERTAINTY) and values.min(initial=0) < 0:
        return f"is negative, {values.min():.3g} at the lowest"
    return ""
