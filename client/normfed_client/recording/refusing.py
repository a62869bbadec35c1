"""Refusals in the audit, of the gate and of the runner before it; and who asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from normfed_client.hospital.folder import Hospital
from normfed_client.recording.audit import Audit
from normfed_common.chain.kinds.site import Asker, Refused
from normfed_common.chain.requests import UNKNOWN, asked
from normfed_common.deployment.enrolment import certificate_fingerprint
from normfed_common.foundation.errors import SiteCode
from normfed_common.wire.head import Head
from normfed_common.wire.requests import Request

WINDOW_S, WRITTEN = 3600.0, 200  # refusals that are written one by one in a window: a flood of requests fills no disk


class Few:
    """At most so many within a window; the others are counted.

    Parameters
    ----------
    clock
        In seconds.
    """

    def __init__(self, most: int = WRITTEN, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._since, self._written, self._left_out = clock(), 0, 0

    def note(self, size: int = 1) -> int | None:
        """How many were left out since the last that was not; None for one that is left out.

        Parameters
        ----------
        size
            That it counts.
        """
        now = self._clock()
        if now - self._since > WINDOW_S:
            self._since, self._written = now, 0
        if self._written + size > self._most:
            self._left_out += 1
            return None
        self._written += size
        left_out, self._left_out = self._left_out, 0
        return left_out


_few = Few()


def refused(hospital: Hospital | None, request: Request | None, code: SiteCode) -> SiteCode:
    """Write down a refusal; returns the code that leaves.

    Parameters
    ----------
    hospital
        None in a simulation, and where site.yaml cannot be read: then nothing is written.
    request
        None where it could not be read.
    """
    if hospital is None:
        return code
    unwritten = _few.note()
    if unwritten is None:
        return code
    try:
        what, server = (UNKNOWN, None) if request is None else (asked(request), server_head(hospital, request))
        entry = Refused(by=asker(hospital), asked=what, code=int(code), unwritten=unwritten, server=server)
        Audit(hospital).append(entry)
    except Exception:  # noqa: BLE001  (whatever it is: a code leaves, and this one says that the audit lacks it)
        return SiteCode.AUDIT_UNUSABLE
    return code


def asker(hospital: Hospital) -> Asker:
    """Who asks a hospital: the one server that it calls."""
    return Asker(server=hospital.config.server, authority=_authority(hospital.ca, hospital.ca.stat().st_mtime_ns))


def server_head(hospital: Hospital, request: Request) -> Head | None:
    """Of the server's chain, as it came with a request; None where there is none, or the server did not sign it."""
    head = None if request.heads is None else request.heads.server
    key = hospital.server_key()
    return head if head is None or key is None or key.made_head(head) else None


@lru_cache(maxsize=4)
def _authority(path: Path, _mtime_ns: int) -> str:
    return certificate_fingerprint(path.read_bytes())
