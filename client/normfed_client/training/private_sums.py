"""Sums that leave with noise, so that nobody who sees them learns whether a person was among those learnt from.

The noise replaces what else hides people in sums per place: every person counts, and no place is left out, for which
are told and which are not depends on people's scans. The minimum cohort stays.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.learner import Learner
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released


def private_sums(
    model: Learner, phase: str, cohort: Cohort, noise: SecretNoise, seed: int, multiplier: float | NoiseShare
) -> Arrays:
    """The sums of a phase over a site's training people.

    Parameters
    ----------
    model
        With all that it received.
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
    return released(bounded, cohort, partial(_draws, seed), noise, multiplier)


def _draws(seed: int, person: int) -> np.random.Generator:
    return seeds.generator(seed, "person", person)
