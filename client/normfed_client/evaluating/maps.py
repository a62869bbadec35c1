"""A site's anomaly maps: one way to make them, for the evaluation of a run, for `score` and for the report."""

from __future__ import annotations

from collections.abc import Iterable

from normfed_client.hospital.site import Case, Site
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import SiteError
from normfed_common.learning.cohort import Visits
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel


def personalise(model: NormativeModel, site: Site) -> None:
    """Let the model learn what stays at the site, from the people who train there.

    It is learnt anew from the scans whenever maps are made: support vectors are latents of people, and what is never
    written cannot leak. A site that only tests has nobody to learn from, and the model scores with what all share.
    """
    if not model.keeps_to_site:
        return
    try:
        cohort = site.training_cohort()
    except SiteError:
        return
    model.personalise(cohort, seeds.generator(model.setting.seed, "personalise", site.config.name))


def until(case: Case, cases: Iterable[Case]) -> Visits:
    """A person's visits up to one, of all cases in the order of the visits."""
    whose = [other for other in cases if other.visit.participant.subject == case.visit.participant.subject]
    return Visits([other.scan for other in whose[: whose.index(case) + 1]])


def score(model: NormativeModel, visits: Visits, name: str) -> Score:
    """The maps of the visit of that name, the last: the same wherever and whenever they are made."""
    return model.score(visits, seeds.generator(model.setting.seed, "score", name))
