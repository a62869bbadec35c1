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
from functools import lru_cache
from pathlib import Path

import torch
from flwr.app import Context, Message
from threadpoolctl import ThreadpoolController

from normfed_client.operation import installed
from normfed_client.operation.home import HOME_VARIABLE, Hospital, of_environment
from normfed_client.operation.outbox import Outbox, digest
from normfed_client.site import SITES_VARIABLE, open_site, site_for
from normfed_client.tasks import Job
from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_common.arrays import Arrays
from normfed_common.errors import DatasetError, SiteCode, SiteError, StudyError, WireError
from normfed_common.files import is_full
from normfed_common.wire.messages import Answer, Request, answer, decode_request, refusal

LOG = "site.log"
KEPT = ("train.round", "train.personal", "train.sums", "evaluate.score", "evaluate.count", "evaluate.measure")


def guarded(message: Message, context: Context, work: Callable[[Job], tuple[Answer, Arrays]]) -> Message:
    """Run one task; turn every error into a refusal."""
    folder: Path | None = None
    try:
        request, arrays = decode_request(message)
        hospital = of_environment()
        if hospital is None:
            site = open_site(int(context.node_config["partition-id"]), request.study)
            folder = site.config.output
            return answer(message, *_limited(Job(site, request, arrays), work))
        folder = hospital.site_config(request.run).output
        return answer(message, *_kept(message.metadata.message_type, hospital, request, arrays, work))
    except Exception as error:  # noqa: BLE001  (the gate: nothing may pass)
        code = _code(error)
        _log(folder or _fallback(), message.metadata.message_type, code, error)
        return refusal(message, code)


def _kept(
    task: str, hospital: Hospital, request: Request, arrays: Arrays, work: Callable[[Job], tuple[Answer, Arrays]]
) -> tuple[Answer, Arrays]:
    """A hospital's answer: what is in its outbox, or else worked out and put there before it is sent."""
    installed.check(request.version)
    hospital.prepare(request.run)
    key, outbox = digest(task, request, arrays), Outbox(hospital.outbox(request.run))
    kept = outbox.get(key, request) if task in KEPT else None
    if kept is not None:
        _note(hospital, request, task, "answered from the outbox")
        return kept
    begin = time.perf_counter()
    site = site_for(hospital.site_config(request.run), request.study)
    minutes = hospital.config.checkpoint_minutes
    checkpoints = TrainingCheckpoints(hospital.checkpoints(request.run) / key, 60 * minutes)
    found = _limited(Job(site, request, arrays, checkpoints), work)
    if task in KEPT:
        outbox.put(key, request, *found)
        _note(hospital, request, task, f"worked {time.perf_counter() - begin:.1f} s")
    checkpoints.clear()
    return found


def _limited(job: Job, work: Callable[[Job], tuple[Answer, Arrays]]) -> tuple[Answer, Arrays]:
    """Work with as many threads as the study says."""
    threads = job.site.study.federation.threads_per_site
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _controller().limit(limits=threads):
            return work(job)
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Looking for the libraries that have threads takes 20 ms: done once."""
    return ThreadpoolController()


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
