"""Nothing runs until a person said so: what people at a hospital decided of each study that was asked for.

Decisions are only ever added. The file is written anew as a whole, with a digest of all of them: one that is damaged,
or that others may read or write, approves nothing.
"""

from __future__ import annotations

import contextlib
import json
import stat
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from normfed_client.consent.asked import DIGEST, AskedStudies, AskedStudy
from normfed_common.foundation import digests
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import atomic
from normfed_common.foundation.locks import exclusive
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig, StudyName

MOST_WAITING = 50
FILE, LOCK = "decisions.json", "decisions.lock"
Verdict = Literal["approved", "refused", "taken back"]


class Decision(Frozen):
    """What a person decided of a study.

    Parameters
    ----------
    study
        Digest of the study.
    manifest
        Digest of the list of what would leave that the person saw; empty where there was none.
    rules
        Digest of the hospital's rules of what leaves, as they were (see `digest_of_rules`).
    verdict
        "taken back": as if nobody had decided, but that no rule lets the study in either; "withdrawn": the hospital
        withdrew for good (`normfed_client.withdrawal.studies`), and nothing else is decided after it.
    at
        UTC, ISO 8601.
    until
        The last day on which an approval holds, by the hospital's clock.
    """

    study: str = Field(pattern=DIGEST)
    name: StudyName
    manifest: str = Field("", pattern=r"^([0-9a-f]{32,64})?$")
    rules: str = Field(pattern=DIGEST)
    verdict: Verdict | Literal["withdrawn"]
    by: str = Field(min_length=1, max_length=200)
    at: str
    until: date | None = None
    why: str = Field("", max_length=1000)

    def lapsed(self, rules: str, today: date, manifest: str = "") -> str:
        """Why an approval holds no more; nothing while it does.

        Parameters
        ----------
        rules, manifest
            As they are now; an approval that was given without a manifest is held against the rules alone.
        """
        if self.until is not None and today > self.until:
            return f"the approval of {self.by} was until {self.until}"
        if self.rules != rules:
            return f"rules of site.yaml that change what leaves were changed since {self.by} approved on {self.day}"
        if self.manifest and manifest and self.manifest != manifest:
            return f"what would leave is not what {self.by} saw and approved on {self.day}"
        return ""

    @property
    def day(self) -> str:
        """When it was made."""
        return self.at[:10]


class Decisions(Frozen):
    """The file."""

    decisions: tuple[Decision, ...] = ()
    digest: str = ""

    def content(self) -> str:
        """What `digest` is of all decisions."""
        return digests.of_json([decision.model_dump(mode="json") for decision in self.decisions])


class Approvals:
    """What was asked of a hospital, and what its people decided.

    Parameters
    ----------
    folder
        The hospital's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.studies = AskedStudies(folder)

    def asked(self) -> list[AskedStudy]:
        """Studies that were asked for, decided on or not, the first first."""
        return self.studies.all()

    def note(self, study: StudyConfig, run: str) -> str:
        """Keep a study for the people here to look at.

        Returns
        -------
        Why it is not kept; nothing where it is.
        """
        if self.studies.has(study.digest):
            return ""
        waiting = set(self.studies.digests()) - self._decided()
        if len(waiting) >= MOST_WAITING:
            return f"{len(waiting)} studies wait already; refuse those that nobody knows of"
        return "" if self.studies.keep(study, run) else "it is too large to be shown"

    def decisions(self) -> tuple[Decision, ...]:
        """All of them, the first first.

        Raises
        ------
        UserError
            If the file is damaged, or not its owner's alone.
        """
        path = self.folder / FILE
        try:
            text = path.read_text(encoding="utf-8")
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise UserError(f"{path}: not only its owner may read or write it, so that nothing is approved.")
            found = Decisions.model_validate_json(text)
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise _damaged(path, " ".join(str(error).split())[:200]) from error
        if found.digest != found.content():
            raise _damaged(path, "its digest differs")
        return found.decisions

    def of(self, study: str) -> tuple[Decision, ...]:
        """All about a study, by its digest, the first first.

        Raises
        ------
        UserError
            See `decisions`.
        """
        return tuple(found for found in self.decisions() if found.study == study)

    def decision(self, study: str) -> Decision | None:
        """The last about a study, by its digest; None where nobody decided.

        Raises
        ------
        UserError
            See `decisions`.
        """
        return next(reversed(self.of(study)), None)

    def decide(self, decision: Decision) -> None:
        """Add a decision; it counts from the next request on.

        Raises
        ------
        UserError
            See `decisions`; then nothing is written.
        """
        with exclusive(self.folder / LOCK):
            found = Decisions(decisions=(*self.decisions(), decision))
            found = found.model_copy(update={"digest": found.content()})
            with atomic(self.folder / FILE) as temporary:
                temporary.chmod(0o600)
                temporary.write_text(json.dumps(found.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")

    def _decided(self) -> set[str]:
        with contextlib.suppress(UserError):
            return {decision.study for decision in self.decisions()}
        return set()


def now() -> str:
    """The time of a decision."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"{path}: damaged ({why}), so that nothing is approved. Restore it from a backup, or move it away and approve "
        "each study again."
    )
