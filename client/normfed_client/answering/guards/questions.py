"""How much may be asked about the same, and about how many models?"""

from __future__ import annotations

from typing import Any

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_client.hospital.asked import Asked
from normfed_common.foundation.errors import SiteCode, SiteError

MOST_OF_A_ROUND = 10  # a round that is begun again after a fault starts from another model at most a few times


class Questions(HospitalGuard):
    """Counts the different requests of a run, and refuses more models or questions than the hospital allows."""

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`; what was answered before is no other question."""
        if job.kept is not None:
            return
        request, rules = job.request, self.hospital.config
        same, models = Asked(job.config.output).note(request.task, request.arm, request.turn, job.key)
        if models > rules.most_models:
            raise SiteError(SiteCode.TOO_MUCH_ASKED, f"most_models: {models} models were asked about")
        most = MOST_OF_A_ROUND if request.turn else rules.most_requests_per_model
        if same > most:
            detail = f"{request.task} of {request.arm} was asked in {same} ways; at most {most}"
            raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)
