"""Is what is asked part of the study that it claims to be?"""

from __future__ import annotations

from typing import Any

from normfed_client.answering.guards.base import Guard
from normfed_client.answering.job import Job
from normfed_common.algorithms.table import configure
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.statistics.names import ARM
from normfed_common.study.federation import PLAIN
from normfed_common.wire.requests import Canary, FineTune, Sums, TrainRound
from normfed_common.wire.secure import OfStep


class Contents(Guard):
    """Refuses what the study does not contain. Opening the site for it holds the study itself against site.yaml."""

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`."""
        request, study = job.request, job.site.study
        beside, payload = study.comparisons, request.payload
        if job.of_cohorts:
            self._check_statistics(job)
            return
        if request.model not in (study.model, *beside.baselines):
            raise SiteError(SiteCode.BAD_REQUEST, "the study has no such model")
        if request.strategy not in (study.strategy, *beside.strategies, PLAIN):
            raise SiteError(SiteCode.BAD_REQUEST, "the study has no such strategy")
        if isinstance(payload, FineTune) and not configure(request.strategy)[0].fine_tuned:
            raise SiteError(SiteCode.BAD_REQUEST, f"strategy {request.strategy['name']} has no fine-tuning")
        kinds = (study.federation.compression, *beside.compressions, "none")
        if isinstance(payload, Canary | TrainRound) and payload.compression not in kinds:
            raise SiteError(SiteCode.BAD_REQUEST, f"the study has no compression {payload.compression}")
        since = payload.since if isinstance(payload, TrainRound) else 0
        if since > request.round or request.repeat >= beside.repeats:
            detail = f"round {request.round}, repeat {request.repeat} are beyond the study"
            raise SiteError(SiteCode.BAD_REQUEST, detail)

    def _check_statistics(self, job: Job[Any]) -> None:
        """Statistics of cohorts belong to every study, under one name, where the hospital lets them leave."""
        request, custody = job.request, job.site.custody
        if not isinstance(job.payload, Sums | OfStep) or (request.arm, request.repeat) != (ARM, 0):
            raise SiteError(SiteCode.BAD_REQUEST, f"statistics of cohorts are sums of the arm {ARM}, and nothing else")
        if request.strategy != PLAIN:
            raise SiteError(SiteCode.BAD_REQUEST, "statistics of cohorts have no strategy")
        if custody is not None and not custody.rules.statistics:
            raise SiteError(SiteCode.NO_STATISTICS, "statistics: false in site.yaml")
