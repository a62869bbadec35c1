"""Nothing runs until a person said so: what people at a hospital decided of each study that was asked for.

Decisions are only ever added. The file is written anew as a whole, with a digest of all of them: one that is damaged,
or that others may read or write, approves nothing. One that is missing is made again from the audit, which has every
decision too: what was refused stays refused, and what was approved waits for a person again. In the same way an older
copy catches up with the audit (`Approvals.catch_up`).
"""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal, NoReturn

from pydantic import Field, ValidationError

from normfed_client.consent.asked import DIGEST, AskedStudies, AskedStudy
from normfed_client.recording.audit import FILE as AUDIT
from normfed_common.chain.files import Chain
from normfed_common.chain.kinds.site import Decided, StudyWithdrawn
from normfed_common.chain.records import Record
from normfed_common.foundation import digests
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import atomic
from normfed_common.foundation.locks import exclusive
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig, StudyName
from normfed_common.wire.head import Head

MOST_WAITING, MOST_RUNS = 50, 1000
FILE, LOCK = "decisions.json", "decisions.lock"
DECIDED, WITHDRAWN = b'"kind":"decided"', b'"kind":"study-withdrawn"'
SAME_DECISION = timedelta(minutes=1)  # between the audit's record and the file, which are written one after the other
Verdict = Literal["approved", "refused", "taken back"]
Recorded = Verdict | Literal["withdrawn"]


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
    runs
        How many runs an approval is for that begin after it; one that began before, or is resumed, is none of them.
    """

    study: str = Field(pattern=DIGEST)
    name: StudyName
    manifest: str = Field("", pattern=r"^([0-9a-f]{32,64})?$")
    rules: str = Field(pattern=DIGEST)
    verdict: Recorded
    by: str = Field(min_length=1, max_length=200)
    at: str
    until: date | None = None
    why: str = Field("", max_length=1000)
    runs: int = Field(1, ge=1, le=MOST_RUNS)

    def lapsed(self, rules: str, today: date) -> str:
        """Why an approval holds no more under the rules as they are now; nothing while it does."""
        if self.until is not None and today > self.until:
            return f"the approval of {self.by} was until {self.until}"
        if self.rules != rules:
            return f"rules of site.yaml that change what leaves were changed since {self.by} approved on {self.day}"
        return ""

    @property
    def withdrawal(self) -> str:
        """When the hospital withdrew from the study, in words; empty where this is another decision."""
        return f"this hospital withdrew on {self.day} ({self.by})" if self.verdict == "withdrawn" else ""

    @property
    def day(self) -> str:
        """When it was made."""
        return self.at[:10]


class Begun(Frozen):
    """A run of a study that began here.

    Parameters
    ----------
    under
        What let it in and counts it: an approval's place among all decisions, or the digest of a rule.
    """

    study: str = Field(pattern=DIGEST)
    run: str = Field(min_length=1, max_length=200)
    under: str = Field(max_length=64)


class DecisionRecord(Frozen):
    """The file: every decision, and the runs that began under them."""

    decisions: tuple[Decision, ...] = ()
    begun: tuple[Begun, ...] = ()
    digest: str = ""

    def content(self) -> str:
        """What `digest` is of all the rest; what an earlier version did not write is left out where it says nothing."""
        written = self.model_dump(mode="json", exclude={"digest"})
        decisions = [{k: v for k, v in one.items() if (k, v) != ("runs", 1)} for one in written["decisions"]]
        return digests.of_json([decisions, written["begun"]] if self.begun else decisions)

    def last(self, study: str) -> tuple[int, Decision | None]:
        """The last decision about a study, by its digest, and its place; None where nobody decided."""
        places = [place for place, found in enumerate(self.decisions) if found.study == study]
        return (places[-1], self.decisions[places[-1]]) if places else (-1, None)

    def under(self, what: str) -> list[Begun]:
        """Runs that are counted under an approval, or a rule."""
        return [one for one in self.begun if one.under == what]

    def has_begun(self, study: str, run: str) -> bool:
        """Whether a run of a study is counted already."""
        return any((one.study, one.run) == (study, run) for one in self.begun)


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

    def record(self) -> DecisionRecord:
        """All that was decided, and which runs began; the first first.

        Raises
        ------
        UserError
            If the file is damaged, or not its owner's alone; or if it is missing, and the audit cannot be read either.
        """
        if not (self.folder / FILE).exists():
            with exclusive(self.folder / LOCK):
                if not (self.folder / FILE).exists():
                    self._write(DecisionRecord(decisions=_told(_audit(self.folder).records(), self.studies)))
        return self._read()

    def decisions(self) -> tuple[Decision, ...]:
        """Every decision, the first first; raises as `record`."""
        return self.record().decisions

    def begin(self, study: str, run: str, under: str, most: int) -> None:
        """A run of a study leaves its first answer: it is counted, once.

        Raises
        ------
        UserError
            If there are as many under this approval or rule; and as `record`.
        """
        if self.record().has_begun(study, run):
            return
        with exclusive(self.folder / LOCK):
            found = self._read()
            if len(found.under(under)) >= most:
                raise UserError(
                    f"{run}: {most} runs began under what lets study {study} in, and it is for no more. Approve "
                    "it again, or raise most_runs of the rule."
                )
            self._write(found.model_copy(update={"begun": (*found.begun, Begun(study=study, run=run, under=under))}))

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
        return self.record().last(study)[1]

    def decide(self, decision: Decision) -> None:
        """Add a decision; it counts from the next request on.

        Raises
        ------
        UserError
            See `decisions`; then nothing is written.
        """
        self.record()
        with exclusive(self.folder / LOCK):
            found = self._read()
            self._write(found.model_copy(update={"decisions": (*found.decisions, decision)}))

    def catch_up(self) -> tuple[Decision, ...]:
        """Add what the audit says that was decided and that this file, an older copy, lacks; never an approval.

        Returns
        -------
        What was added.

        Raises
        ------
        UserError
            As `record`, or if the audit cannot be read.
        """
        with exclusive(self.folder / LOCK):
            if not (self.folder / FILE).exists():
                return ()  # it is made of the audit when first read
            found = self._read()
            audit = _audit(self.folder)
            decided = _in_order([*audit.containing(DECIDED), *audit.containing(WITHDRAWN)], audit.head())
            lacking = tuple(
                one for one in _told(decided, self.studies) if not _has(found.last(one.study)[1], one, decided)
            )
            if lacking:
                self._write(found.model_copy(update={"decisions": (*found.decisions, *lacking)}))
        return lacking

    def _read(self) -> DecisionRecord:
        path = self.folder / FILE
        try:
            text = path.read_text(encoding="utf-8")
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise UserError(f"{path}: not only its owner may read or write it, so that nothing is approved.")
            found = DecisionRecord.model_validate_json(text)
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise _damaged(path, " ".join(str(error).split())[:200]) from error
        if found.digest != found.content():
            raise _damaged(path, "its digest differs")
        return found

    def _write(self, record: DecisionRecord) -> None:
        whole = record.model_copy(update={"digest": record.content()})
        with atomic(self.folder / FILE) as temporary:
            temporary.chmod(0o600)
            temporary.write_text(json.dumps(whole.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")

    def _decided(self) -> set[str]:
        with contextlib.suppress(UserError):
            return {decision.study for decision in self.decisions()}
        return set()


def now() -> str:
    """The time of a decision."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _audit(folder: Path) -> Chain:
    return Chain(folder / AUDIT, lambda: _no_key(folder), "")


def _told(records: Iterable[Record], studies: AskedStudies) -> tuple[Decision, ...]:
    """What records of the audit say of decisions: of each study the last, but no approval. A withdrawal is for good."""
    last = dict[str, Decision]()
    for record in records:
        content = record.content
        if not isinstance(content, StudyWithdrawn | Decided):
            continue
        before = last.pop(content.study, None)
        last[content.study] = (
            before
            if before is not None and before.withdrawal
            else Decision(
                study=content.study,
                name=studies.read(content.study).name if studies.has(content.study) else "unknown",
                rules="0" * 32,
                verdict=_known(content),
                by=content.by,
                at=record.time,
                why="its file of decisions was lost, or an older copy; this is what the audit says",
            )
        )
    return tuple(last.values())


def _known(content: StudyWithdrawn | Decided) -> Recorded:
    if isinstance(content, StudyWithdrawn):
        return "withdrawn"
    return "refused" if content.decision == "refused" else "taken back"


def _in_order(records: Iterable[Record], head: Head | None) -> list[Record]:
    """As they were written: by number, for clocks are set back; the chain that is gone on with behind earlier ones."""
    found, began = sorted(records, key=lambda record: record.number), dict[str, str]()
    for record in found:
        began.setdefault(record.chain, record.time)
    now = "" if head is None else head.chain
    return sorted(found, key=lambda record: (record.chain == now, began[record.chain]))


def _has(decision: Decision | None, told: Decision, records: Iterable[Record]) -> bool:
    """Whether the last decision on a study is the one that the audit tells of, or a later one that the audit lacks."""
    if decision is None:
        return False
    if told.withdrawal or decision.withdrawal:
        return bool(decision.withdrawal)
    same = [_is_of(record, decision) for record in records if _study_of(record) == told.study]
    return same[-1] if any(same) else datetime.fromisoformat(told.at) <= datetime.fromisoformat(decision.at)


def _study_of(record: Record) -> str:
    return record.content.study if isinstance(record.content, StudyWithdrawn | Decided) else ""


def _is_of(record: Record, decision: Decision) -> bool:
    """Whether a record of the audit is of a decision, or the decision was made of it."""
    said = record.content
    if not isinstance(said, Decided) or said.by != decision.by:
        return False
    apart = abs(datetime.fromisoformat(record.time) - datetime.fromisoformat(decision.at))
    return record.time == decision.at or (said.decision == decision.verdict and apart <= SAME_DECISION)


def _no_key(folder: Path) -> NoReturn:
    raise UserError(f"{folder / AUDIT}: is only read here.")


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"{path}: damaged ({why}), so that nothing is approved. Restore it from a backup, or move it away and approve "
        "each study again."
    )
