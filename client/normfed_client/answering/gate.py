"""The gate of a site: what comes in is checked, what goes out is an answer or a code. Nothing else passes.

Flower sends an exception's type and text to the server; both may hold a path or a name. So no exception leaves here:
the site's own log gets the whole story, the server a code.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from flwr.app import Context, Message

from normfed_client.answering import bounds
from normfed_client.answering.tasks import Job
from normfed_client.hospital import installed
from normfed_client.hospital.asked import Asked
from normfed_client.hospital.folder import HOME_VARIABLE, Hospital, of_environment
from normfed_client.hospital.machine import threads_of
from normfed_client.hospital.outbox import Outbox, digest
from normfed_client.hospital.site import SITES_VARIABLE, Site, open_site, people_of, site_for
from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import told
from normfed_common.foundation.errors import DatasetError, SiteCode, SiteError, StudyError, UserError, WireError
from normfed_common.foundation.files import is_full
from normfed_common.study.roles import ROLES
from normfed_common.wire.messages import Answer, Request, answer, decode_request, refusal

LOG = "site.log"
DESCRIBE = "query.describe"
KEPT = ("train.round", "train.personal", "train.sums", "evaluate.score", "evaluate.count", "evaluate.measure")


def guarded(message: Message, context: Context, work: Callable[[Job], tuple[Answer, Arrays]]) -> Message:
    """Run one task; turn every error into a refusal."""
    folder: Path | None = None
    try:
        request, arrays = decode_request(message)
        hospital = of_environment()
        task = message.metadata.message_type
        if hospital is None:
            site = open_site(int(context.node_config["partition-id"]), request.study)
            folder = site.config.output
            with told(partial(_damaged, folder, task)):
                return answer(message, *_answered(task, Job(site, request, arrays), work))
        if not request.run:
            raise SiteError(SiteCode.BAD_REQUEST, "a request that belongs to no run")
        folder = hospital.site_config(request.run).output
        with told(partial(_damaged, folder, task)):
            return answer(message, *_kept(task, hospital, request, arrays, work))
    except Exception as error:  # noqa: BLE001  (the gate: nothing may pass)
        code = _code(error)
        _log(folder or _fallback(), message.metadata.message_type, code, error)
        return refusal(message, code)


def _kept(
    task: str, hospital: Hospital, request: Request, arrays: Arrays, work: Callable[[Job], tuple[Answer, Arrays]]
) -> tuple[Answer, Arrays]:
    """A hospital's answer: what is in its outbox, or else worked out and put there before it is sent."""
    installed.check(request.version)
    config = hospital.site_config(request.run)
    if not config.output.exists():
        _check_record(hospital)
        bounds.check_run(config.output, hospital.cache, hospital.config)
    hospital.prepare(request.run)
    site = site_for(config, request.study)  # its rules are checked, as they are now
    key = digest(task, request, arrays, hospital.custody(request.run).rules)
    outbox = Outbox(hospital.outbox(request.run))
    kept = outbox.get(key, request) if task in KEPT else None
    if kept is not None:
        _note(hospital, request, task, "answered from the outbox")
        return kept
    begin = time.perf_counter()
    bounds.check(task, key, request, site.study, hospital.config, Asked(config.output))
    bounds.check_size(arrays, hospital.config)
    minutes = hospital.config.checkpoint_minutes
    checkpoints = TrainingCheckpoints(hospital.checkpoints(request.run) / key, 60 * minutes)
    job = Job(site, request, arrays, checkpoints)
    found = _answered(task, job, work, lambda answer, sent: _keep(task, outbox, key, request, answer, sent))
    _note(hospital, request, task, _account(task, site, time.perf_counter() - begin))
    checkpoints.clear()
    return found


def _check_record(hospital: Hospital) -> None:
    try:
        hospital.check_record()
    except UserError as error:
        raise SiteError(SiteCode.RECORD_UNUSABLE, str(error)) from error


def _answered(
    task: str,
    job: Job,
    work: Callable[[Job], tuple[Answer, Arrays]],
    keep: Callable[[Answer, Arrays], None] = lambda _answer, _arrays: None,
) -> tuple[Answer, Arrays]:
    """Work; let pass what may leave; keep it; and only then throw away what it was made of.

    Raises
    ------
    SiteError
        If it must not leave.
    """
    with threads_of(job.site.study):
        found = work(job)
    if job.site.custody is not None:
        if not job.released and task != DESCRIBE:
            raise SiteError(SiteCode.INTERNAL, "an answer about people who are not on record")
        bounds.check_size(found[1], job.site.custody.rules)
    keep(*found)
    for step in job.afterwards:
        step()
    return found


def _keep(task: str, outbox: Outbox, key: str, request: Request, answer: Answer, arrays: Arrays) -> None:
    if task in KEPT:
        outbox.put(key, request, answer, arrays)


def _account(task: str, site: Site, seconds: float) -> str:
    """What a hospital's own people want to know of an answer; of the first, what the study is and who takes part."""
    text = f"worked {seconds:.1f} s"
    if task != DESCRIBE or site.custody is None:
        return text
    study, rules = site.study, site.custody.rules
    taking_part = ", ".join(f"{len(people_of(getattr(site, role)))} {role.replace('_', ' ')}" for role in ROLES)
    waiting = ", ".join(f"{people} {role.replace('_', ' ')}" for role, people in site.custody.waiting.items() if people)
    return (
        f"{text}; study {study.name} ({study.digest}), model {study.model['name']}, strategy {study.strategy['name']}, "
        f"{study.federation.rounds} rounds of {study.federation.local_epochs} epochs, seed {study.seed}; take part: "
        f"{taking_part}; wait: {waiting or 'nobody'}; limits of site.yaml: {rules.model_dump_json(exclude={'exclude'})}"
    )


def _code(error: Exception) -> SiteCode:
    if isinstance(error, SiteError):
        return error.code
    if isinstance(error, WireError):
        return SiteCode.BAD_REQUEST
    if isinstance(error, StudyError):
        return SiteCode.STUDY_REFUSED
    if isinstance(error, DatasetError):
        return SiteCode.DATA_UNUSABLE
    if isinstance(error, OSError) and is_full(error):
        return SiteCode.OUT_OF_SPACE
    return SiteCode.INTERNAL


def _log(folder: Path | None, task: str, code: SiteCode, error: Exception) -> None:
    if folder is None:
        return
    detail = error.detail if isinstance(error, SiteError) and error.detail else str(error)
    text = f"{task} {code.name} ({int(code)}): {detail}\n"
    if code is SiteCode.INTERNAL:
        text += "".join(traceback.format_exception(error))
    _append(folder, text)


def _append(folder: Path, text: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / LOG, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")
    except OSError:
        return  # a full disk must not hide the code that the server is told


def _damaged(folder: Path, task: str, text: str) -> None:
    _append(folder, f"{task}: {text}\n")


def _note(hospital: Hospital, request: Request, task: str, what: str) -> None:
    """A line a request, so that a hospital's own people can see what was asked of it."""
    about = f"{task} {request.arm}" + (f" round {request.round}" if request.round else "")
    _append(hospital.site_config(request.run).output, f"{about}: {what}\n")


def _fallback() -> Path | None:
    """Where to log when the site itself could not be opened: in the hospital's logs, or beside the list of sites."""
    hospital = os.environ.get(HOME_VARIABLE)
    if hospital is not None:
        return Path(hospital) / "log"
    listed = os.environ.get(SITES_VARIABLE)
    return Path(listed).parent / "sites" if listed else None
