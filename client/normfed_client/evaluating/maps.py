"""A site's anomaly maps: one way to make them, for the evaluation of a run, for `score` and for the report."""

from __future__ import annotations

import numpy as np

from normfed_client.hospital.site import Site
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import SiteError
from normfed_common.learning.cohort import Volume
from normfed_common.models.base import NormativeModel
from normfed_common.study.config import StudyConfig


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
    model.personalise(cohort, seeds.generator(site.study.seed, "personalise", site.config.name))


def anomaly_map(model: NormativeModel, volume: Volume, study: StudyConfig, visit: str) -> np.ndarray:
    """The map of one visit, float32 (X, Y, Z): the same wherever and whenever it is made."""
    return model.score(volume, seeds.generator(study.seed, "score", visit))
