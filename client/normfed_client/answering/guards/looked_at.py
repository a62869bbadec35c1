"""Has somebody at the hospital looked at the people whom a study would learn from?"""

from __future__ import annotations

from typing import Any

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_client.quality.standing import why_not
from normfed_common.foundation import damage
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.wire.requests import Canary, FineTune, Sums, TrainRound
from normfed_common.wire.secure import MakeKeys

LEARNING = (MakeKeys, Canary, TrainRound, FineTune, Sums)


class LookedAt(HospitalGuard):
    """Refuses to learn from a cohort before its look (`quality_gate` of site.yaml).

    That it refuses tells that the hospital has not looked, or not decided; not of whom, nor why, and the same to every
    study of these modalities.
    """

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`; what was answered before may leave once more."""
        rule = self.hospital.config.quality_gate
        if rule == "off" or not isinstance(job.payload, LEARNING) or job.kept is not None:
            return
        data = job.site.study.data
        healthy = data.control_groups if data.normal == "controls" else ()
        try:
            why = why_not(self.hospital, data.modalities, healthy)
        except UserError as error:
            why = str(error)
        if why and rule == "required":
            raise SiteError(SiteCode.COHORT_NOT_LOOKED_AT, f"quality_gate: {why}")
        if why:
            damage.say(f"quality_gate is only to warn: {why}")
