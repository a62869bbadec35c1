"""Is it a time at which the hospital's machine works for studies?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_client.hospital.hours import within
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.wire.secure import ShareSecrets, SignSurvivors, Unmask

BEGUN = (ShareSecrets, SignSurvivors, Unmask)  # of a secure sum: a moment's work, without which other sites' is lost


class Working(HospitalGuard):
    """Refuses work outside the hospital's hours; what was worked out within them may still be fetched."""

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`."""
        hours = self.hospital.config.hours
        if not hours or isinstance(job.payload, BEGUN) or within(hours, datetime.now()):
            return
        if job.kept is None:
            raise SiteError(SiteCode.OUT_OF_HOURS, f"hours of site.yaml are {', '.join(hours)}")
