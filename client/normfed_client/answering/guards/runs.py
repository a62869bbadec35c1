"""A run that is new here: is there room for it, and is it known over whom something was released?"""

from __future__ import annotations

from typing import Any

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.foundation.units import GIGABYTE


class Runs(HospitalGuard):
    """Admits a run, and makes its folders."""

    def inbound(self, job: Job[Any]) -> None:
        """Refuse a new run where the hospital keeps as many, or as much, as it allows, or on the word of an old record.

        Raises
        ------
        SiteError
            If so.
        """
        if not job.config.output.exists():
            self._check_record()
            self._check_room()
        self.hospital.prepare(job.request.run)

    def _check_record(self) -> None:
        try:
            self.hospital.check_record()
        except UserError as error:
            raise SiteError(SiteCode.RECORD_UNUSABLE, str(error)) from error

    def _check_room(self) -> None:
        rules, state, cache = self.hospital.config, self.hospital.state, self.hospital.cache
        kept = sum(1 for _ in state.glob("*"))
        if kept >= rules.most_runs:
            detail = f"most_runs: {kept} runs are kept in {state}. Delete those that are not needed any more."
            raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)
        # Every way of preparing scans adds all people's.
        size = sum(path.stat().st_size for path in cache.glob("*/*.npy")) / GIGABYTE
        if size > rules.largest_cache_gb:
            detail = f"largest_cache_gb: {cache} holds {size:,.0f} GB. Delete it; what is needed is made again."
            raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)
