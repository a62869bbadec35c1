"""Is a message as small as the hospital takes or sends?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.units import MEGABYTE
from normfed_common.wire.answers import Answer


class Size(HospitalGuard):
    """Refuses larger messages, either way."""

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`."""
        self._check(job.arrays)

    def outbound(self, job: Job[Any], answer: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
        """See `Guard`."""
        self._check(arrays)
        return answer, arrays

    def _check(self, arrays: Mapping[str, np.ndarray]) -> None:
        size, most = sum(array.nbytes for array in arrays.values()) / MEGABYTE, self.hospital.config.largest_message_mb
        if size > most:
            detail = f"largest_message_mb: {size:,.0f} MB, site.yaml allows {most:,.0f}"
            raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)
