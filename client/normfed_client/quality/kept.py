"""What is kept of looks in a hospital's folder: the latest, and every decision. None of it ever leaves.

A decision is about a person's scans as they are: exported anew, or counted to another group, somebody looks again. It
is kept whatever later looks find, and covers what was known when it was made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from normfed_client.hospital.custody import content_of
from normfed_client.hospital.folder import Hospital
from normfed_client.hospital.withdrawn import dataset_of
from normfed_client.imaging.bids import Visit
from normfed_client.quality.doubts import Doubt, Kind
from normfed_common.foundation import digests, private
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_text
from normfed_common.study.base import Frozen

LOOK, DECISIONS = "look.json", "decisions.jsonl"


class Seen(Frozen):
    """A person as they were looked at.

    Parameters
    ----------
    content
        A digest of all their scans and masks, and of what is said of them.
    files
        The same of names, sizes and times of the files: while these stay, nothing is read again.
    """

    content: str
    files: str


class KeptLook(Frozen):
    """The latest look.

    Parameters
    ----------
    digest
        Of all the rest, so that a bit that flips is noticed.
    """

    time: str
    modalities: tuple[str, ...]
    healthy: tuple[str, ...]
    people: dict[str, Seen]
    doubts: tuple[Doubt, ...]
    digest: str = ""

    def worked_out(self) -> str:
        """What `digest` is of all the rest."""
        return digests.of_json(self.model_dump(mode="json", exclude={"digest"}))


class Decision(Frozen):
    """What somebody decided of a person."""

    time: str
    what: Literal["keep", "exclude"]
    subject: str
    content: str
    kinds: tuple[Kind, ...]
    by: str = Field(min_length=1, max_length=200)
    why: str = Field(min_length=1, max_length=2000)


class Records:
    """The files in a hospital's folder, for their owner only."""

    def __init__(self, folder: Path) -> None:
        self._look, self._decisions = folder / LOOK, folder / DECISIONS

    def keep(self, look: KeptLook) -> None:
        """Put a look in the place of the one before."""
        private.make_folder(self._look.parent)
        whole = look.model_copy(update={"digest": look.worked_out()})
        write_text(self._look, whole.model_dump_json(indent=1) + "\n")
        self._look.chmod(0o600)

    def latest(self) -> KeptLook | None:
        """The latest look; None where nobody looked.

        Raises
        ------
        UserError
            If it is damaged.
        """
        try:
            found = KeptLook.model_validate_json(self._look.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise self._damaged(self._look, " ".join(str(error).split())[:200]) from error
        if found.digest != found.worked_out():
            raise self._damaged(self._look, "its digest differs")
        return found

    def decide(self, decision: Decision) -> None:
        """Add a decision; none is ever taken away."""
        private.make_folder(self._decisions.parent)
        handle = os.open(self._decisions, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(decision.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def decisions(self) -> list[Decision]:
        """All of them, oldest first.

        Raises
        ------
        UserError
            If a line is damaged.
        """
        try:
            text = self._decisions.read_bytes().decode()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(self._decisions, str(error)) from error
        try:
            # A reason may hold what is an end of a line to others.
            return [Decision.model_validate_json(line) for line in text.removesuffix("\n").split("\n")]
        except ValidationError as error:
            raise self._damaged(self._decisions, " ".join(str(error).split())[:200]) from error

    def _damaged(self, path: Path, why: str) -> UserError:
        return UserError(f"{path}: damaged ({why}). Restore it from a backup, or move it away and look again.")


def people_of(hospital: Hospital) -> dict[str, list[Visit]]:
    """The hospital's people who are not excluded and did not withdraw, by name.

    Raises
    ------
    DatasetError
        If the dataset cannot be read.
    """
    config, found = hospital.site_config(""), dict[str, list[Visit]]()
    for visit in dataset_of(hospital).visits:
        who = visit.participant
        if (not config.owns or who.site in config.owns) and who.subject not in hospital.config.exclude:
            found.setdefault(who.subject, []).append(visit)
    return found


def seen(visits: Sequence[Visit], before: Seen | None = None) -> Seen:
    """A person as they are now.

    Parameters
    ----------
    before
        As they were: what has the same files is not read again.
    """
    stats: list[object] = []
    for visit in sorted(visits, key=lambda visit: visit.name):
        stats.append(repr(visit.participant))
        for path in sorted({*visit.images.values(), *(mask.path for mask in visit.masks)}):
            stat = path.stat()
            stats.append([str(path), stat.st_size, stat.st_mtime_ns])
    files = digests.of_json(stats)
    if before is not None and before.files == files:
        return before
    groups = sorted(visit.participant.group for visit in visits)
    return Seen(content=digests.of_json([content_of(visits), groups]), files=files)


def changed(look: KeptLook, people: Mapping[str, Sequence[Visit]]) -> list[str]:
    """Who is new, or not as they were looked at."""
    found = []
    for name, visits in people.items():
        before = look.people.get(name)
        if before is None or seen(visits, before).content != before.content:
            found.append(name)
    return found


def undecided(look: KeptLook, decisions: Iterable[Decision], excluded: Iterable[str]) -> list[Doubt]:
    """Serious doubts about people who take part, that nobody has decided on."""
    settled = {(d.subject, d.content, kind) for d in decisions if d.what == "keep" for kind in d.kinds}
    gone = set(excluded)
    return [
        doubt
        for doubt in look.doubts
        if doubt.serious
        and doubt.subject not in gone
        and (doubt.subject, look.people[doubt.subject].content, doubt.kind) not in settled
    ]


def decision(
    look: KeptLook, what: Literal["keep", "exclude"], subject: str, by: str, why: str, visits: Sequence[Visit]
) -> Decision:
    """What somebody decides of a person by the latest look.

    Raises
    ------
    UserError
        If the look knows nobody of the name, or not as they are now.
    """
    if subject not in look.people:
        raise UserError(f"{subject}: not in the latest look. Correct the name, or look again: normfed site quality")
    before = look.people[subject]
    if seen(visits, before).content != before.content:
        raise UserError(f"{subject}: the scans are others than at the latest look. Look again: normfed site quality")
    kinds = tuple(sorted({doubt.kind for doubt in look.doubts if doubt.subject == subject and doubt.serious}))
    if what == "keep" and not kinds:
        raise UserError(f"{subject}: nothing was found that somebody has to decide on.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        raw = {"time": now, "what": what, "subject": subject, "content": before.content, "kinds": kinds}
        return Decision.model_validate_json(json.dumps(raw | {"by": by.strip(), "why": why.strip()}))
    except ValidationError as error:
        raise UserError("A decision needs who made it and why: --by NAME --why TEXT (both of some length).") from error
