"""Did a person at the hospital approve the study, or a rule of the hospital's let it in without one?"""

from __future__ import annotations

from datetime import date
from typing import Any, NoReturn

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_client.consent.approvals import Approvals
from normfed_client.consent.making import manifest_of
from normfed_client.consent.manifest import keep
from normfed_client.consent.policy import study_of_request
from normfed_client.consent.standing import standing_of
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.requests import Count, Describe, Measure, ScorePeople

EVALUATING = (ScorePeople, Count, Measure)


class Approved(HospitalGuard):
    """Refuses a study that nobody here approved, and keeps it for the people here to look at."""

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`. The decision is read anew for each request: who changes it stops a run that is under way."""
        request, study = job.request, study_of_request(job.request.study)
        statistics = job.of_cohorts or isinstance(job.payload, Describe)
        try:
            found = standing_of(self.hospital, study, date.today(), statistics, request.run)
        except UserError as error:
            self._await(study, request.run, str(error))
        if found.state == "over":
            raise SiteError(SiteCode.WITHDRAWN, f"{_named(study)} {found.words}")
        if found.state == "never":
            raise SiteError(SiteCode.POLICY_REFUSED, f"{_named(study)} {found.words}")
        if self.hospital.config.metrics == () and isinstance(job.payload, EVALUATING):
            raise SiteError(SiteCode.POLICY_REFUSED, "metrics of site.yaml lists none: nothing is evaluated here")
        if found.state == "refused":
            raise SiteError(SiteCode.REFUSED_BY_HOSPITAL, f"{_named(study)} {found.words}")
        if not found.let_in:
            self._await(study, request.run, found.why)
        if found.rule is not None and found.rule.manifest and found.manifest is None:
            keep(self.hospital, manifest_of(self.hospital, study))  # it is held to this, though nobody looked at it

    def _await(self, study: StudyConfig, run: str, why: str) -> NoReturn:
        unkept = Approvals(self.hospital.folder).note(study, run)
        how = f"it is not kept, as {unkept}" if unkept else f"normfed site show {study.digest} shows it"
        raise SiteError(SiteCode.AWAITS_APPROVAL, f"{_named(study)} waits for a person: {why}; {how}")


def _named(study: StudyConfig) -> str:
    return f"study {study.name} ({study.digest})"
