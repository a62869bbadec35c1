"""What the audit says that people decided of studies, where the file of decisions was lost or is an older copy."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from normfed_client.consent.asked import AskedStudies
from normfed_client.consent.decisions import Decision, DecisionRecord, Recorded
from normfed_client.recording.audit import FILE
from normfed_common.chain.files import Chain
from normfed_common.chain.kinds.site import Decided, StudyWithdrawn
from normfed_common.chain.records import Record
from normfed_common.foundation.errors import UserError

DECIDED, WITHDRAWN = b'"kind":"decided"', b'"kind":"study-withdrawn"'
LOST = "its file of decisions was lost, or an older copy; this is what the audit says"


class AuditedDecisions:
    """Decisions as a hospital's audit has them, which is only read.

    Parameters
    ----------
    folder
        The hospital's.
    studies
        Those that were asked for, by which a decision is named.
    """

    def __init__(self, folder: Path, studies: AskedStudies) -> None:
        self._studies = studies
        self._chain = Chain(folder / FILE, lambda: _no_key(folder), "")

    def told(self) -> tuple[Decision, ...]:
        """Of each study the last, but no approval; a withdrawal is for good.

        Raises
        ------
        UserError
            If the audit cannot be read.
        """
        return self._last(self._chain.records())

    def lacking(self, known: DecisionRecord) -> tuple[Decision, ...]:
        """The same, without those that a file of decisions has, or has gone on from; raises as `told`."""
        records = self._in_order()
        return tuple(one for one in self._last(records) if not _has(known.last(one.study)[1], one, records))

    def _in_order(self) -> list[Record]:
        """As they were written: by number, for clocks are set back; the chain that goes on now behind earlier ones."""
        found = [*self._chain.containing(DECIDED), *self._chain.containing(WITHDRAWN)]
        found.sort(key=lambda record: record.number)
        head, began = self._chain.head(), dict[str, str]()
        for record in found:
            began.setdefault(record.chain, record.time)
        now = "" if head is None else head.chain
        return sorted(found, key=lambda record: (record.chain == now, began[record.chain]))

    def _last(self, records: Iterable[Record]) -> tuple[Decision, ...]:
        """Of each study."""
        found = dict[str, Decision]()
        for record in records:
            content = record.content
            if not isinstance(content, StudyWithdrawn | Decided):
                continue
            before = found.pop(content.study, None)  # whatever was decided last comes last
            if before is not None and before.withdrawal:
                found[content.study] = before
                continue
            found[content.study] = self._decision(record, content)
        return tuple(found.values())

    def _decision(self, record: Record, content: StudyWithdrawn | Decided) -> Decision:
        return Decision(
            study=content.study,
            name=self._studies.read(content.study).name if self._studies.has(content.study) else "unknown",
            rules="0" * 32,
            verdict=_verdict(content),
            by=content.by,
            at=record.time,
            record=record.digest,
            why=LOST,
        )


def _verdict(content: StudyWithdrawn | Decided) -> Recorded:
    if isinstance(content, StudyWithdrawn):
        return "withdrawn"
    return "refused" if content.decision == "refused" else "taken back"


def _has(decision: Decision | None, told: Decision, records: Collection[Record]) -> bool:
    """Whether the last decision on a study is the one that the audit's records tell of, or a later one they lack."""
    if decision is None:
        return False
    if told.withdrawal or decision.withdrawal:
        return bool(decision.withdrawal)
    if any(record.digest == decision.record for record in records):
        return decision.record == told.record
    return datetime.fromisoformat(told.at) <= datetime.fromisoformat(decision.at)


def _no_key(folder: Path) -> NoReturn:
    raise UserError(f"{folder / FILE}: is only read here.")
