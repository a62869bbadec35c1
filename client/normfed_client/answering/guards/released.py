"""Is it on record whom an answer is about?"""

from __future__ import annotations

from typing import Any

from normfed_client.answering.guards.base import Guard
from normfed_client.answering.job import Job
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.wire.answers import Answer, Described
from normfed_common.wire.secure import SecureTold


class Released(Guard):
    """Stops an answer for which no release was put on record (`Job.release`): our own fault, found here."""

    def outbound(self, job: Job[Any], answer: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
        """See `Guard`; a description may be about nobody, and keys are."""
        if not job.released and not isinstance(answer.payload, Described | SecureTold):
            raise SiteError(SiteCode.INTERNAL, "an answer about people who are not on record")
        return answer, arrays
