"""What the gate writes into the hospital's audit of an answer, and what it holds the audit against."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from normfed_client.answering.guards.budget import LEARNING, spent_by
from normfed_client.answering.job import Job
from normfed_client.hospital.folder import Hospital
from normfed_client.recording.audit import Audit
from normfed_client.recording.refusing import Few, asker, server_head
from normfed_common.chain.kinds.people import PeopleClass, people_class
from normfed_common.chain.kinds.site import Answered, Repeated, Sent, ServerWentBack
from normfed_common.chain.records import Record
from normfed_common.chain.requests import asked
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.privacy import accounting
from normfed_common.wire.answers import Answer, Described
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_common.wire.content import Row, content_digest
from normfed_common.wire.head import Head
from normfed_common.wire.requests import Canary, Describe, Request

LOOKING = (Describe, Canary)  # who is there, and whether all works, is looked at anew, and no answer kept

_few = Few()
_repeats = Few(20)
_looks = Few(600)
_kibibytes = Few(256 * 2**10)  # of records: a thousand arrays every five seconds


def check_heads(hospital: Hospital | None, request: Request, say: Callable[[str], None]) -> None:
    """Hold the audit against what the server knows of it, and the server's own chain against what it was.

    Raises
    ------
    SiteError
        If the audit is an old copy, or cannot be used.
    """
    if hospital is None:
        return
    try:
        audit, head = Audit(hospital), server_head(hospital, request)
        if head is None and request.heads is not None and request.heads.server is not None:
            raise SiteError(
                SiteCode.HEAD_NOT_SIGNED,
                f"what came as the end of the server's audit is not signed with {hospital.server_audit_key}. Ask the "
                "operator for audit.pub, and compare its fingerprint by telephone before you replace the file.",
            )
        back = audit.went_back(head)
        if back is not None and _few.note() is not None:
            audit.append(back)
            say(_went_back(back))
        why = audit.contradiction(request.heads.site) if request.heads and request.heads.site else ""
    except (OSError, UserError) as error:
        raise SiteError(SiteCode.AUDIT_UNUSABLE, str(error)) from error
    if why:
        raise SiteError(SiteCode.AUDIT_UNUSABLE, why)


def answered(hospital: Hospital, job: Job[Any], answer: Answer, arrays: Arrays) -> Answer:
    """Write down what is about to leave; returns the answer with the head of the audit then.

    The same bytes to the same question are one record: repeats of any answer are counted, and few an hour written.

    Raises
    ------
    SiteError
        If that cannot be written, nothing leaves; nor where a server has the site write too much.
    """
    try:
        found, audit = job.rows_of(arrays), Audit(hospital)
        content = content_digest(answer.model_dump_json(), found)
        if job.kept is not None or isinstance(job.payload, LOOKING):
            before = audit.answered(asked(job.request), content)
            if before is not None:
                return answer.model_copy(update={"head": _again(hospital, job, before, content)})
        entry = _entry(hospital, job, answer, found, content)
        _bound(job, len(entry.model_dump_json()))
        return answer.model_copy(update={"head": audit.append(entry).head})
    except (OSError, UserError, ValueError) as error:
        raise SiteError(SiteCode.AUDIT_UNUSABLE, f"the audit: {error}") from error


def _entry(hospital: Hospital, job: Job[Any], answer: Answer, found: list[Row], content: str) -> Answered:
    kept = job.kept is not None
    return Answered(
        by=asker(hospital),
        asked=asked(job.request),
        people=_people(job, answer),
        epsilon=0.0 if kept else _epsilon(hospital, job),
        kept=kept,
        arrays=tuple(
            Sent(name=name, dtype=dtype, shape=shape, bytes=size, sha256=sha256)
            for name, dtype, shape, size, sha256 in found
        ),
        bytes=sum(size for _, _, _, size, _ in found),
        content=content,
        server=server_head(hospital, job.request),
    )


def _again(hospital: Hospital, job: Job[Any], before: Record, content: str) -> Head | None:
    """Count a repeat; returns the head of the audit then."""
    audit, unwritten = Audit(hospital), _repeats.note()
    if unwritten is None:
        return audit.chain.head()
    server = server_head(hospital, job.request)
    entry = Repeated(
        asked=asked(job.request), content=content, number=before.number, unwritten=unwritten, server=server
    )
    return audit.append(entry).head


def _bound(job: Job[Any], size: int) -> None:
    """A server cannot fill the disk with records, by asking who is there again and again or for ever new answers.

    Raises
    ------
    SiteError
        If more was asked within an hour than any honest server asks.
    """
    looked = isinstance(job.payload, LOOKING) and _looks.note() is None
    if looked or _kibibytes.note(-(-size // 2**10)) is None:
        raise SiteError(
            SiteCode.TOO_MUCH_ASKED, "the audit: more answers within an hour than any honest server asks for"
        )


def _people(job: Job[Any], answer: Answer) -> PeopleClass:
    """How many people an answer is about: the site knows also what it does not tell the server."""
    if answer.subjects:
        return people_class(answer.subjects)
    if isinstance(answer.payload, Described):
        told = [count for count in answer.payload.counts.values() if count != BELOW_MINIMUM]
        return people_class(sum(told) if told else BELOW_MINIMUM)
    return people_class(len(job.people)) if isinstance(job.payload, LEARNING) else "not told"


def _epsilon(hospital: Hospital, job: Job[Any]) -> float | None:
    """That an answer costs, at the hospital's own delta; None where it leaves without noise."""
    found = accounting.epsilon(spent_by(job), hospital.config.budget_delta)
    return None if math.isinf(found) else found


def _went_back(back: ServerWentBack) -> str:
    now = "none" if back.told is None else f"{back.told.records}"
    return (
        f"the server's own chain went back, or is another: it had {back.known.records} records, and now says {now}. It "
        "was restored from a backup, or hides something. Ask its operator, and compare the two chains (normfed audit "
        "compare)."
    )
