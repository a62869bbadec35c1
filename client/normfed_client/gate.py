"""The gate of a site: what comes in is checked, what goes out is an answer or a code. Nothing else passes.

Flower sends an exception's type and text to the server; both may hold a path or a name. So no exception leaves here:
the site's own log gets the whole story, the server a code.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import torch
from flwr.app import Context, Message
from threadpoolctl import ThreadpoolController

from normfed_client.site import SITES_VARIABLE, Site, open_site
from normfed_common.arrays import Arrays
from normfed_common.errors import DatasetError, SiteCode, SiteError, StudyError, WireError
from normfed_common.files import is_full
from normfed_common.wire.messages import Answer, Request, answer, decode_request, refusal

LOG = "site.log"


def guarded(
    message: Message, context: Context, work: Callable[[Site, Request, Arrays], tuple[Answer, Arrays]]
) -> Message:
    """Run one task; turn every error into a refusal."""
    site: Site | None = None
    try:
        request, arrays = decode_request(message)
        site = open_site(int(context.node_config["partition-id"]), request.study)
        threads = site.study.federation.threads_per_site
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with _controller().limit(limits=threads):
                return answer(message, *work(site, request, arrays))
        finally:
            torch.set_num_threads(before)
    except Exception as error:  # noqa: BLE001  (the gate: nothing may pass)
        code = _code(error)
        _log(site, message.metadata.message_type, code, error)
        return refusal(message, code)


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


def _log(site: Site | None, task: str, code: SiteCode, error: Exception) -> None:
    folder = site.config.output if site else _fallback()
    if folder is None:
        return
    detail = error.detail if isinstance(error, SiteError) and error.detail else str(error)
    text = f"{datetime.now(UTC).isoformat(timespec='seconds')} {task} {code.name} ({int(code)}): {detail}\n"
    if code is SiteCode.INTERNAL:
        text += "".join(traceback.format_exception(error))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / LOG, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        return  # a full disk must not hide the code that the server is told


def _fallback() -> Path | None:
    """Where to log when the site itself could not be opened: beside the list of sites."""
    listed = os.environ.get(SITES_VARIABLE)
    return Path(listed).parent / "sites" if listed else None
