"""The audit as a hospital's people read it: verified as a whole, and each record in words."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from normfed_client.consent.sheet import WHEN, size
from normfed_client.hospital.folder import Hospital
from normfed_client.recording.audit import Audit
from normfed_common.chain.keys import VerifyingKey
from normfed_common.chain.kinds.content import Content
from normfed_common.chain.kinds.shared import Asked
from normfed_common.chain.kinds.site import (
    Answered,
    Contradicted,
    Decided,
    LookDecided,
    PersonWithdrew,
    Refused,
    ServerWentBack,
    StudyWithdrawn,
)
from normfed_common.chain.records import Record
from normfed_common.chain.verifying import Verified, verify
from normfed_common.foundation.errors import SiteCode
from normfed_common.wire.head import Head
from normfed_common.wording.terminal_text import some

PAGE = 50  # records
SIDES = ("all", "sent", "refused", "decided")
ASKED = WHEN | {"query.describe": "who takes part, and on what machine"}
OF_KIND = {
    "opened": "a file of the audit begins",
    "closed": "a file of the audit was closed and archived",
    "repaired": "what a crash left of a record was set apart",
    "loss-accepted": "a person said that the audit goes on without records that are lost",
    "started": "the client started",
    "stopped": "the client stopped",
    "key-made": "a new key was made",
    "rules-changed": "site.yaml was changed",
    "look-decided": "somebody decided on a person whom the look at the cohort lists",
    "person-withdrew": "a person withdrew, and what is kept of them alone is erased",
    "study-withdrawn": "this hospital withdrew from a study, and what is kept of it is erased",
    "expired": "what was kept for as long as site.yaml says was erased",
    "server-went-back": "the server's own record is shorter than it was, or another",
    "contradicted": "the server knows records of this audit that are not here",
}


@dataclass(frozen=True)
class Told:
    """A record in words.

    Parameters
    ----------
    side
        One of `SIDES`; empty where it is none of them.
    facts
        What and how much, with their names.
    """

    number: int
    time: str
    side: str
    what: str
    facts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """What the audit says of a run.

    Parameters
    ----------
    last, answered
        When anything was asked for last, and when something left last; UTC, empty if nothing did.
    """

    name: str
    study: str
    sent: int
    refused: int
    bytes: int
    last: str
    answered: str


class Kept:
    """The audit of a hospital; of what was verified before, and is the same to the byte, no signature is looked at
    again: of 10,000 records that takes seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mark = self._mark_of("", [])
        self._found = Verified()

    def verified(self, hospital: Hospital) -> Verified:
        """Every record that lies here, and whether they are what was written.

        Raises
        ------
        UserError
            If the site's key is missing.
        """
        chain = Audit(hospital).chain
        with self._lock:
            key, lines = chain.key_line(), list(chain.lines())
            known = len(self._found.records) if self._found.good else 0
            if not known or self._mark_of(key, lines[:known]) != self._mark:
                self._found = verify(lines, VerifyingKey(key))
            elif lines[known:]:
                self._found = verify(lines[known:], VerifyingKey(key), so_far=self._found)
            self._mark = self._mark_of(key, lines)
            return self._found

    @staticmethod
    def _mark_of(key: str, lines: Sequence[bytes]) -> str:
        found = hashlib.sha256(key.encode())
        for line in lines:
            found.update(line)
        return found.hexdigest()


def page_of(records: Sequence[Record], side: str, end: int) -> tuple[list[Told], int]:
    """Those of a side before position ``end``, newest first; and where those before them end, 0 where none is left."""
    found: list[Told] = []
    for place in range(min(end, len(records)) - 1, -1, -1):
        content = records[place].content
        if side not in ("all", _side(content)):
            continue
        if len(found) == PAGE:
            return found, place + 1
        found.append(told(records[place]))
    return found, 0


def told(record: Record) -> Told:
    """A record in words."""
    content, when = record.content, shown_time(record.time)
    side = _side(content)
    if isinstance(content, Answered):
        return Told(record.number, when, side, _asked(content.asked), _of_answer(content))
    if isinstance(content, Refused):
        facts = [("because", code_in_words(content.code)), *_of_run(content.asked)]
        if content.unwritten:
            facts.append(("and", f"{content.unwritten:,} more refusals before it, too many to be written one by one"))
        return Told(record.number, when, side, _asked(content.asked), facts)
    if isinstance(content, Decided):
        return Told(record.number, when, side, f"{content.by}: {content.decision}", [("study", content.study)])
    return Told(record.number, when, side, OF_KIND.get(content.kind, content.kind))


def runs(records: Sequence[Record]) -> list[Run]:
    """Of which something was asked for, the latest first."""
    found: dict[str, Run] = {}
    for record in records:
        content = record.content
        if not isinstance(content, Answered | Refused) or not content.asked.run:
            continue
        name, answered = content.asked.run, isinstance(content, Answered)
        before = found.pop(name, Run(name, "", 0, 0, 0, "", ""))
        found[name] = Run(
            name,
            content.asked.study or before.study,
            before.sent + answered,
            before.refused + (not answered),
            before.bytes + (content.bytes if isinstance(content, Answered) else 0),
            record.time,
            record.time if answered else before.answered,
        )
    return list(found.values())[::-1]


def heard_of_server(records: Sequence[Record]) -> tuple[Head | None, str]:
    """The newest head of the server's own chain, and when it came; None where none came."""
    for record in reversed(records):
        content = record.content
        if isinstance(content, ServerWentBack):
            return content.told, record.time
        if isinstance(content, Answered | Refused) and content.server is not None:
            return content.server, record.time
    return None, ""


def alarms(records: Sequence[Record]) -> list[str]:
    """What either side's chain does not fit the other's in, each in a sentence."""
    return [
        f"Record {record.number} of {shown_time(record.time)}: {OF_KIND[record.content.kind]}."
        for record in records
        if isinstance(record.content, ServerWentBack | Contradicted)
    ]


def code_in_words(code: int) -> str:
    """A site's code, as the server heard it."""
    return f"{SiteCode(code).sentence} (code {code})"


def shown_time(time: str) -> str:
    """UTC, ISO 8601, by the clock of the machine."""
    return datetime.fromisoformat(time).astimezone().strftime("%d %b %Y %H:%M")


def _side(content: Content) -> str:
    if isinstance(content, Answered):
        return "sent"
    if isinstance(content, Refused):
        return "refused"
    decided = Decided | LookDecided | PersonWithdrew | StudyWithdrawn
    return "decided" if isinstance(content, decided) else ""


def _asked(asked: Asked) -> str:
    if asked.task == "unknown":
        return "a request that could not be read"
    of = f" of {asked.arm}" if asked.arm else ""
    turn = f", turn {asked.turn}" if asked.turn else ""
    return f"{ASKED.get(asked.task, asked.task)}{of}{turn}"


def _of_answer(content: Answered) -> list[tuple[str, str]]:
    cost = "left without noise" if content.epsilon is None else f"{content.epsilon:.3g}"
    found = [
        ("size", size(content.bytes)),
        ("people", content.people),
        ("epsilon by itself", cost),
        ("arrays", f"{len(content.arrays)}: {some(one.name for one in content.arrays)}" if content.arrays else "none"),
        *_of_run(content.asked),
    ]
    return [*found, ("again", "the same answer once more, from the outbox")] if content.kept else found


def _of_run(asked: Asked) -> list[tuple[str, str]]:
    return [("run", asked.run)] if asked.run else []
