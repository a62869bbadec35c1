"""Did a person at the hospital approve the study, or a rule of the hospital's let it in without one?"""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from typing import Any

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_client.consent.approvals import Approvals, Decision
from normfed_client.consent.deciding import withdrawn_from
from normfed_client.consent.making import manifest_of
from normfed_client.consent.manifest import keep, kept
from normfed_client.consent.policy import digest_of_rules, never_allowed, rule_for, study_of_request
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.requests import Count, Describe, Measure, ScorePeople

EVALUATING = (ScorePeople, Count, Measure)


class Approved(HospitalGuard):
    """Refuses a study that nobody here approved, and keeps it for the people here to look at."""

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`. The decision is read anew for each request: who changes it stops a run that is under way."""
        config, study = self.hospital.config, study_of_request(job.request.study)
        approvals = Approvals(self.hospital.folder)
        with suppress(UserError):  # a file that cannot be read lets nothing in below
            if over := withdrawn_from(approvals, study.digest):
                raise SiteError(SiteCode.WITHDRAWN, f"{_named(study)}: {over}")
        strange = never_allowed(config, study)
        if strange:
            raise SiteError(SiteCode.POLICY_REFUSED, f"{_named(study)} is not let in by site.yaml: {strange}")
        if config.metrics == () and isinstance(job.payload, EVALUATING):
            raise SiteError(SiteCode.POLICY_REFUSED, "metrics of site.yaml lists none: nothing is evaluated here")
        statistics = job.of_cohorts or isinstance(job.payload, Describe)
        try:
            waits = self._waits(study, approvals.decision(study.digest), statistics)
        except UserError as error:
            waits = str(error)
        if not waits:
            return
        unkept = approvals.note(study, job.request.run)
        how = f"it is not kept, as {unkept}" if unkept else f"normfed site show {study.digest} shows it"
        raise SiteError(SiteCode.AWAITS_APPROVAL, f"{_named(study)} waits for a person: {waits}; {how}")

    def _waits(self, study: StudyConfig, decision: Decision | None, statistics: bool) -> str:
        """Why a study waits; nothing where it may run.

        Raises
        ------
        SiteError
            If a person refused it.
        """
        why = "nobody here decided on it, and no rule of approve_by_rule lets it in"
        if decision is not None and decision.verdict == "refused":
            reason = f": {decision.why}" if decision.why else ""
            text = f"{_named(study)} was refused on {decision.day} by {decision.by}{reason}"
            raise SiteError(SiteCode.REFUSED_BY_HOSPITAL, text)
        if decision is not None and decision.verdict == "taken back":
            return f"{decision.by} took back on {decision.day} what was decided"
        if decision is not None:
            now = kept(self.hospital, study.digest)
            why = decision.lapsed(digest_of_rules(self.hospital.config), date.today(), now.digest if now else "none")
            if not why:
                return ""
        rule = rule_for(self.hospital.config, study, statistics)
        if rule is None:
            return why
        if rule.manifest and kept(self.hospital, study.digest) is None:
            keep(self.hospital, manifest_of(self.hospital, study))  # it is held to this, though nobody looked at it
        return ""


def _named(study: StudyConfig) -> str:
    return f"study {study.name} ({study.digest})"
