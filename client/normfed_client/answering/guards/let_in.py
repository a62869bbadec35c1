"""Are the plug-ins that the study uses those that the hospital lets in?"""

from __future__ import annotations

from typing import Any

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_client.hospital import plugins


class LetIn(HospitalGuard):
    """Refuses a study with plug-ins that are not here, not let in, or of another version than the server's."""

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`."""
        plugins.check(self.hospital.config.plugins, job.request.plugins)
