"""What a guard is."""

from __future__ import annotations

from typing import Any, Protocol

from normfed_client.answering.job import Job
from normfed_client.hospital.folder import Hospital
from normfed_common.foundation.arrays import Arrays
from normfed_common.wire.answers import Answer


class Guard(Protocol):
    """Sees every request before it is worked on, and every answer before it is kept and sent.

    An answer that waits in the outbox passed the guards when it was made: when it is asked for again, `inbound` sees
    the request, and `outbound` nothing. So noise is drawn once, and a budget is spent once.
    """

    def inbound(self, job: Job[Any]) -> None:
        """Refuse a request by raising.

        Raises
        ------
        SiteError
            With the code that the server is told, and a detail for the hospital's own log.
        """

    def outbound(self, job: Job[Any], answer: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
        """What leaves in the place of an answer; nothing leaves, and nothing is kept, if this raises.

        Raises
        ------
        SiteError
            As `inbound`.
        """
        return answer, arrays


class HospitalGuard(Guard):
    """A guard by what a hospital decided; a simulation has none, because the researcher holds all scans anyway."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital = hospital
