"""Sums that leave with noise, so that nobody who sees them learns whether a person was among those learnt from.

The noise replaces what else hides people in sums per place: every person counts, and no place is left out, for which
are told and which are not depends on people's scans. The minimum cohort stays.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from normfed_client.hospital.site import Site
from normfed_client.imaging.cohort import PreparedCohort
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.noise import SecretNoise, derived_key
from normfed_common.privacy.releases import released


def private_sums(
    site: Site, model: NormativeModel, phase: str, cohort: PreparedCohort, release: str, seed: int, multiplier: float
) -> Arrays:
    """The sums of a phase over the site's training people.

    Parameters
    ----------
    model
        With all that it received.
    release
        A digest of all that was asked and received, but of no run: the same about the same scans has the same noise.
    seed
        Of what is drawn and is no secret; each person has draws of their own.
    multiplier
        See `released`.

    Raises
    ------
    SiteError
        If nothing bounds how much of the sums is one person's.
    """
    bounded = model.bounded(phase)
    if bounded is None:
        raise SiteError(SiteCode.STUDY_REFUSED, f"nobody's part in the sums {phase} is bounded")
    noise = SecretNoise(derived_key(site.noise_secret, "sums", release, site.config.name, cohort.content()))
    return released(bounded, cohort, partial(_draws, seed), noise, multiplier)


def _draws(seed: int, person: int) -> np.random.Generator:
    return seeds.generator(seed, "person", person)
