"""What a hospital's own people can read of what was asked of it: `site.log`, a line per request."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from normfed_client.answering.job import Job
from normfed_client.hospital.site import people_of
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.study.roles import ROLES
from normfed_common.wire.requests import Describe, Request
from normfed_common.wording.exceptions import story, text_of
from normfed_common.wording.terminal_text import printable

LOG = "site.log"


class Journal:
    """The log in a folder, which is made with the first line.

    Parameters
    ----------
    folder
        None: nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def refused(self, task: str, code: SiteCode, error: Exception) -> None:
        """A refusal, with what is not told to the server: the detail, and of our own faults the whole story."""
        if isinstance(error, SiteError) and error.detail:
            detail = error.detail
        else:
            detail = story(error) if code is SiteCode.INTERNAL else text_of(error)
        text = f"{task} {code.name} ({int(code)}): {detail}"
        if code in (SiteCode.INTERNAL, SiteCode.NOT_SAID):
            text += "\n" + "".join(traceback.format_exception(error)).rstrip("\n")
        self._append(text)

    def damaged(self, task: str, text: str) -> None:
        """A file that was found damaged, and what is done about it."""
        self._append(f"{task}: {text}")

    def repeated(self, request: Request) -> None:
        """An answer that lay in the outbox."""
        self._append(f"{_about(request)}: answered from the outbox")

    def answered(self, job: Job[Any], seconds: float) -> None:
        """An answer; the first of a study says what it is and who takes part."""
        text = f"{_about(job.request)}: worked {seconds:.1f} s"
        self._append(f"{text}; {_study(job)}" if isinstance(job.payload, Describe) else text)

    def _append(self, text: str) -> None:
        if self.folder is None:
            return
        # What was asked may be in it: no line of theirs begins as one of ours does.
        text = printable(text).replace("\n", "\n    ")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A name on the disk may be no text.
            with open(self.folder / LOG, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")
        except OSError:
            return  # a full disk must not hide the code that the server is told


def _about(request: Request) -> str:
    return f"{request.task} {request.arm}" + (f" round {request.round}" if request.round else "")


def _study(job: Job[Any]) -> str:
    site, study = job.site, job.site.study
    found = [
        f"study {study.name} ({study.digest}), model {study.model['name']}, strategy {study.strategy['name']}, "
        f"{study.federation.rounds} rounds of {study.federation.local_epochs} epochs, seed {study.seed}",
        "take part: " + ", ".join(f"{len(people_of(getattr(site, role)))} {role.replace('_', ' ')}" for role in ROLES),
    ]
    if site.custody is not None:
        waiting = [f"{people} {role.replace('_', ' ')}" for role, people in site.custody.waiting.items() if people]
        found.append(f"wait: {', '.join(waiting) or 'nobody'}")
        found.append(f"limits of site.yaml: {site.custody.rules.model_dump_json(exclude={'exclude'})}")
    return "; ".join(found)
