"""Sums that leave with noise, so that nobody who sees them learns whether a person was among those learnt from.

The noise replaces what else hides people in sums per place: every person counts, and no place is left out, for which
are told and which are not depends on people's scans. The minimum cohort stays.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from normfed_client.answering.job import Job
from normfed_client.imaging.cohort import PreparedCohort
from normfed_common.foundation import digests, seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.noise import SecretNoise, derived_key
from normfed_common.privacy.releases import released
from normfed_common.wire.requests import Sums


def private_sums(
    job: Job[Sums],
    model: NormativeModel,
    cohort: PreparedCohort,
    received: Arrays,
    names: tuple[str | int, ...],
    multiplier: float,
) -> Arrays:
    """The sums of the phase that is asked for; the same request about the same scans has the same noise.

    Parameters
    ----------
    names
        What draws that are no secret are for; each person has draws of their own.
    multiplier
        See `released`.

    Raises
    ------
    SiteError
        If nothing bounds how much of the sums is one person's.
    """
    asked = job.request.model_dump(mode="json", exclude={"run"})
    release = digests.of_arrays(digests.of_json(asked), received)
    noise = SecretNoise(derived_key(job.site.noise_secret, "sums", release, job.site.config.name, cohort.content()))
    bounded = model.bounded(job.payload.phase)
    if bounded is None:
        raise SiteError(SiteCode.STUDY_REFUSED, f"nobody's part in the sums {job.payload.phase} is bounded")
    return released(bounded, cohort, partial(_draws, job.seed, names), noise, multiplier)


def _draws(seed: int, names: tuple[str | int, ...], person: int) -> np.random.Generator:
    return seeds.generator(seed, *names, "person", person)
