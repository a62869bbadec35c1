"""The last look before anything leaves: is it in the manifest of the study, and nothing else?

A message is held against the manifest as the bytes that it is, after every guard and handler, by code that neither
imports what computes nor knows what was worked out. The gate looks in the process that works, and says in the site's
own log what was wrong. The process that relays answers looks again (`normfed_client.operation.runner`): it has loaded
no model and no plug-in, so that nothing of theirs can pass over it.

Only a study that a rule of the hospital lets in with ``manifest: false`` is held to the form of answers alone, and to
the hospital's minimum of people. Of one that was refused, or taken back, while it was worked on nothing leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from flwr.app import Message

from normfed_client.answering import vocabulary
from normfed_client.consent.approvals import Approvals
from normfed_client.consent.manifest import AtMost, Leaving, Manifest, Row
from normfed_client.consent.policy import study_of_request
from normfed_client.consent.standing import standing_of
from normfed_client.hospital.folder import Hospital
from normfed_common.foundation import digests
from normfed_common.foundation.errors import SiteCode, SiteError, UserError, WireError
from normfed_common.statistics.names import ENTRY
from normfed_common.study.config import StudyConfig
from normfed_common.wire import messages
from normfed_common.wire.answers import Answer, Described
from normfed_common.wire.inspection import Seen, inspected
from normfed_common.wire.requests import Canary, Describe, Request, ScorePeople, Sums, TrainRound
from normfed_common.wire.secure import KeysMade, OfStep, SecureStep


def check(hospital: Hospital, request: Message, reply: Message) -> None:
    """Refuse to send what is not declared.

    Raises
    ------
    SiteError
        With code `UNDECLARED`; what it was, without any of its content, is in its detail.
    """
    if reply.has_error():
        _check_refusal(reply)
        return
    try:
        asked = messages.asked(request)
        answer, arrays = inspected(reply)
        study = study_of_request(asked.study)
        manifest = _let_in(hospital, asked, study)
    except SiteError as error:
        raise _undeclared(error.detail) from error
    except (WireError, UserError, ValueError, RecursionError) as error:
        raise _undeclared(str(error)) from error
    if answer.task != asked.task:
        raise _undeclared(f"it answers {answer.task}, and {asked.task} was asked")
    least = hospital.config.minimum_people if manifest is None else manifest.minimum
    _check_people(answer, least)
    if beyond := vocabulary.strange(hospital, study, answer):
        raise _undeclared(f"{answer.task}: its header says {beyond}")
    if manifest is not None:
        _check_header(manifest, answer)
        _check_arrays(declared(manifest, asked), arrays, least)


def declared(manifest: Manifest, asked: Request) -> Leaving:
    """What may leave in answer to a request.

    Raises
    ------
    SiteError
        If nothing may.
    """
    whose = digests.of_json([asked.model, asked.strategy])
    payload = asked.payload
    if isinstance(payload, OfStep):
        _declared_step(manifest, asked, whose, payload.step)
    found = [
        one
        for one in manifest.leaving
        if one.task == asked.task
        and one.whose in ("", whose)
        and one.is_of(asked.arm, asked.repeat)
        and _is_so(one, asked)
    ]
    if not found:
        turn = f", round or iteration {asked.turn}" if asked.turn else ""
        raise _undeclared(f"{asked.task} of {asked.arm}, training {asked.repeat + 1}{turn}: nothing may leave of it")
    return found[0]


def _let_in(hospital: Hospital, asked: Request, study: StudyConfig) -> Manifest | None:
    """What an answer is held to: the very list that a person approved; or what is kept, where a rule lets the study in.
    Its run is counted here, with the first answer that is about more than who is there.

    Raises
    ------
    UserError
        If the study is not let in now, or for no more runs, or the list is another, or is not there any more.
    """
    describes = isinstance(asked.payload, Describe)
    found = standing_of(hospital, study, date.today(), asked.model == ENTRY or describes, asked.run)
    if not found.let_in:
        raise UserError(f"study {study.digest} {found.words}")
    if found.manifest is None and (found.rule is None or found.rule.manifest):
        raise UserError(f"study {study.digest}: there is no list of what may leave that was approved")
    if found.count is not None and not describes:
        Approvals(hospital.folder).begin(study.digest, asked.run, found.count.under, found.count.most)
    return found.manifest


def _is_so(one: Leaving, asked: Request) -> bool:
    """Whether an answer is asked for in the round, and in the way, that is declared."""
    payload = asked.payload
    if isinstance(payload, Canary | TrainRound) and one.compression != payload.compression:
        return False
    if isinstance(payload, Sums | TrainRound) and one.masked != (payload.secure is not None):
        return False
    if isinstance(payload, Sums) and one.part != payload.phase:
        return False
    if isinstance(payload, ScorePeople) and one.part != payload.detail:
        return False
    return isinstance(payload, OfStep) or one.turns[0] <= asked.turn <= one.turns[1]


def _declared_step(manifest: Manifest, asked: Request, whose: str, step: SecureStep) -> None:
    """Whether there is the secure sum that keys or shares are asked for."""
    for one in manifest.leaving:
        of_it = one.masked and one.task == step.of and one.whose == whose and one.is_of(asked.arm, asked.repeat)
        if of_it and one.turns[0] <= step.turn <= one.turns[1] and step.phase in ("", one.part):
            return
    raise _undeclared(f"{asked.task} of {asked.arm}: there is no secure sum {step.name}")


def _check_refusal(reply: Message) -> None:
    """An error leaves as one of our codes with its own sentence."""
    code = messages.error_code(reply)
    if reply.error.code != code or reply.error.reason != code.sentence or reply.has_content():
        raise _undeclared("an error that is not one of ours, or says something else than its code does")


def _check_people(answer: Answer, least: int) -> None:
    """No number of people is told that is below the minimum."""
    told: list[int] = [answer.subjects]
    payload = answer.payload
    if isinstance(payload, Described):
        told += [max(count, 0) for count in payload.counts.values()]
    if isinstance(payload, KeysMade):
        told.append(payload.advert.people)
    if any(0 < people < least for people in told):
        raise _undeclared(f"{answer.task}: its header counts fewer than {least} people")


def _check_header(manifest: Manifest, answer: Answer) -> None:
    payload = answer.payload
    if {answer.site, payload.advert.site if isinstance(payload, KeysMade) else answer.site} != {manifest.site}:
        raise _undeclared(f"{answer.task}: it names another site")
    if not set(answer.notes) <= set(manifest.notes):
        raise _undeclared(f"{answer.task}: a note is none of the sentences that may leave")


def _check_arrays(leaving: Leaving, arrays: Mapping[str, Seen], least: int) -> None:
    rows = {row.array: row for row in leaving.rows}
    for name, seen in arrays.items():
        if name not in rows:
            raise _undeclared(f"{leaving.task}: an array that is not listed, {seen.dtype} of shape {seen.shape}")
        row = rows[name]
        if seen.dtype != row.dtype or not _fits(seen.shape, row):
            raise _undeclared(
                f"{leaving.task}: {name} is {seen.dtype} of shape {seen.shape}; {row.dtype} of {_said(row)} may leave"
            )
        if row.counts and _counts_few(row, seen, least):
            raise _undeclared(f"{leaving.task}: {name} has a number over fewer than {least} people")


def _fits(shape: tuple[int, ...], row: Row) -> bool:
    if len(shape) != len(row.shape):
        return False
    return all(
        length <= axis.most if isinstance(axis, AtMost) else length == axis
        for length, axis in zip(shape, row.shape, strict=True)
    )


def _counts_few(row: Row, seen: Seen, least: int) -> bool:
    counts = seen.values()
    if row.counts == "first":
        counts = counts[..., 0]
    return bool(((counts != 0) & ~(counts >= least)).any())


def _said(row: Row) -> str:
    lengths: Iterable[str] = (f"at most {a.most}" if isinstance(a, AtMost) else str(a) for a in row.shape)
    return f"({', '.join(lengths)})"


def _undeclared(detail: str) -> SiteError:
    return SiteError(SiteCode.UNDECLARED, detail)
