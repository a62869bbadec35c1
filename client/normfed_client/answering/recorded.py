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
from normfed_common.chain.kinds import Answered, PeopleClass, Sent, ServerWentBack, people_class
from normfed_common.chain.requests import asked
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.privacy import accounting
from normfed_common.wire.answers import Answer, Described
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_common.wire.content import content_digest, rows
from normfed_common.wire.requests import Request

_few = Few()


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

    Raises
    ------
    SiteError
        If that cannot be written: nothing leaves then.
    """
    kept = job.kept is not None
    try:
        found = rows(arrays)
        entry = Answered(
            by=asker(hospital),
            asked=asked(job.request),
            people=_people(job, answer),
            epsilon=0.0 if kept else _epsilon(hospital, job),
            kept=kept,
            arrays=tuple(
                Sent(name=name, dtype=dtype, shape=shape, bytes=size, sha256=sha256)
                for name, dtype, shape, size, sha256 in found
            ),
            bytes=sum(array.nbytes for array in arrays.values()),
            content=content_digest(answer.model_dump_json(), found),
            server=server_head(hospital, job.request),
        )
        return answer.model_copy(update={"head": Audit(hospital).append(entry).head})
    except (OSError, UserError, ValueError) as error:
        raise SiteError(SiteCode.AUDIT_UNUSABLE, f"the audit: {error}") from error


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
