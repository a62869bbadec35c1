"""The gate of a site: guards look at what comes in and at what goes out; an answer or a code leaves. Nothing else does.

Flower sends an exception's type and text to the server; both may hold a path or a name. So no exception leaves here:
the site's own log gets the whole story, the server a code.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import Context, Message

from normfed_client.answering import departure, recorded
from normfed_client.answering.guards import order
from normfed_client.answering.job import Job
from normfed_client.answering.journal import Journal
from normfed_client.hospital.folder import HOME_VARIABLE, Hospital, of_environment
from normfed_client.hospital.machine import bound_gpu, computing
from normfed_client.hospital.outbox import Outbox, digest
from normfed_client.hospital.simulated import SITES_VARIABLE, playing
from normfed_client.recording.refusing import refused
from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import told
from normfed_common.foundation.errors import (
    DatasetError,
    PluginError,
    ProtocolError,
    SiteCode,
    SiteError,
    StudyError,
    UserError,
    WireError,
)
from normfed_common.foundation.files import is_full
from normfed_common.foundation.registry import admitting
from normfed_common.wire.answers import Answer
from normfed_common.wire.messages import answer, decode_request, refusal, restated
from normfed_common.wire.requests import Canary, FineTune, Request, Sums, TrainRound
from normfed_common.wire.secure import MakeKeys
from normfed_common.wording.exceptions import story

Work = Callable[[Job[Any]], tuple[Answer, Arrays]]

LEARNING = (MakeKeys, Canary, TrainRound, FineTune, Sums)
SAID = (  # of work that failed, where people are protected
    SiteCode.BAD_REQUEST,
    SiteCode.COHORT_TOO_SMALL,
    SiteCode.NO_TRAINING_SUBJECTS,
    SiteCode.TOO_MUCH_ASKED,
    SiteCode.TOO_CLOSE_TO_EARLIER,
    SiteCode.RECORD_UNUSABLE,
    SiteCode.SECURE_SUM_REFUSED,
    SiteCode.PERSONAL_PART_MISSING,
)


def guarded(message: Message, context: Context, work: Work) -> Message:
    """Run one task; turn every error into a refusal."""
    hospital: Hospital | None = None
    request: Request | None = None
    job: Job[Any] | None = None
    try:
        hospital = of_environment()
        request, arrays = decode_request(message)
        job = _asked_of(hospital, context, request, arrays)
        recorded.check_heads(hospital, request, partial(Journal(job.config.output).damaged, request.task))
        with told(partial(Journal(job.config.output).damaged, request.task)), _plugins_of(hospital):
            found, sent = _counted(hospital, *_answered(job, hospital, work))
            reply = answer(message, found, sent)
            if hospital is None:
                return reply
            departure.check(hospital, message, reply)
            return restated(message, reply, recorded.answered(hospital, job, found, sent))
    except Exception as error:  # noqa: BLE001  (the gate: nothing may pass)
        code = SiteCode.INTERNAL
        with suppress(Exception):  # an error that cannot even be looked at, or written down, is refused as well
            code = _code(error)
            _journal(job, hospital).refused(message.metadata.message_type, code, error)
        return refusal(message, refused(hospital, request, code))


def turned_away(message: Message, code: SiteCode) -> Message:
    """Refuse a message that nobody works on."""
    hospital: Hospital | None = None
    with suppress(Exception):
        hospital = of_environment()
    return refusal(message, refused(hospital, None, code))


def _plugins_of(hospital: Hospital | None) -> AbstractContextManager[None]:
    """Within: no plug-in is imported that the hospital does not let in."""
    return nullcontext() if hospital is None else admitting(hospital.config.plugins)


def _asked_of(hospital: Hospital | None, context: Context, request: Request, arrays: Arrays) -> Job[Any]:
    """A request at the site that this process works for, or in a simulation plays.

    Raises
    ------
    SiteError
        If there is no such site, or nothing says to which of a hospital's runs a request belongs.
    """
    if hospital is None:
        return Job(request, request.payload, arrays, playing(int(context.node_config["partition-id"])))
    if not request.run:
        raise SiteError(SiteCode.BAD_REQUEST, "a request that belongs to no run")
    config = hospital.site_config(request.run)
    received = digests.of_arrays("", arrays)
    key = digest(request, received, hospital.custody(request.run).rules)
    outbox = None if isinstance(request.payload, recorded.LOOKING) else Outbox(hospital.outbox(request.run))
    minutes = hospital.config.checkpoint_minutes
    checkpoints = TrainingCheckpoints(hospital.checkpoints(request.run) / key, 60 * minutes)
    let_in = tuple(hospital.config.plugins.items())
    return Job(request, request.payload, arrays, config, key, outbox, checkpoints, let_in, received)


def _answered(job: Job[Any], hospital: Hospital | None, work: Work) -> tuple[Answer, Arrays]:
    """What leaves: the answer that is kept, or else what the guards let pass of what is made now.

    Raises
    ------
    SiteError
        If a guard refuses; nothing is kept then.
    """
    guards, journal = order.guards(hospital), Journal(job.config.output)
    with _quiet(job, set(SiteCode) - {SiteCode.INTERNAL}):
        for guard in guards:
            guard.inbound(job)
    if job.kept is not None:
        journal.repeated(job.request)
        return job.kept
    begin = time.perf_counter()
    if hospital is not None:
        bound_gpu(job.site.device, hospital.config.gpu_memory_share)
    with computing(job.site.study, job.site.device), _quiet(job, SAID):
        found = work(job)
    for guard in reversed(guards):
        found = guard.outbound(job, *found)
    job.keep(*found)
    if hospital is not None:
        journal.answered(job, time.perf_counter() - begin)
    return found


@contextmanager
def _quiet(job: Job[Any], said: Container[SiteCode]) -> Iterator[None]:
    """Within: where people are protected, why learning fails may be about one of them, and is not told; but for codes
    that follow from the study, the request and how many people there are.

    Raises
    ------
    SiteError
        In the place of any other error.
    """
    try:
        yield
    except Exception as error:
        code, opened = _code(error), "site" in job.__dict__
        if code in said or not (opened and isinstance(job.payload, LEARNING) and job.site.study.privacy.epsilon):
            raise
        raise SiteError(SiteCode.NOT_SAID, f"{code.name} ({int(code)}): {story(error)}") from error


def _counted(hospital: Hospital | None, found: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
    """An answer with how long the hospital's ledger is now: one from the outbox as well."""
    if hospital is None:
        return found, arrays
    try:
        return found.model_copy(update={"ledger": hospital.ledger_counter()}), arrays
    except UserError as error:
        raise SiteError(SiteCode.RECORD_UNUSABLE, str(error)) from error


def _code(error: Exception) -> SiteCode:
    if isinstance(error, SiteError):
        return error.code
    if isinstance(error, ProtocolError):
        return SiteCode.PROTOCOL_DIFFERS
    if isinstance(error, WireError):
        return SiteCode.BAD_REQUEST
    if isinstance(error, StudyError):
        return SiteCode.STUDY_REFUSED
    if isinstance(error, PluginError):
        return SiteCode.PLUGIN_REFUSED
    if isinstance(error, DatasetError):
        return SiteCode.DATA_UNUSABLE
    if isinstance(error, OSError) and is_full(error):
        return SiteCode.OUT_OF_SPACE
    return SiteCode.INTERNAL


def _journal(job: Job[Any] | None, hospital: Hospital | None) -> Journal:
    """Where a refusal is written: with the run; of a run that a hospital does not keep, with the hospital's logs."""
    if job is not None and (hospital is None or os.path.exists(job.config.output)):
        return Journal(job.config.output)
    home, listed = os.environ.get(HOME_VARIABLE), os.environ.get(SITES_VARIABLE)
    if home is not None:
        return Journal(Path(home) / "log")
    return Journal(Path(listed).parent / "sites" if listed else None)
