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
from pathlib import Path

from pydantic import ValidationError

from normfed_client.consent.asked import AskedStudies, AskedStudy
from normfed_client.consent.audited import AuditedDecisions
from normfed_client.consent.decisions import Begun, Decision, DecisionRecord
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import atomic
from normfed_common.foundation.locks import exclusive
from normfed_common.study.config import StudyConfig

MOST_WAITING = 50
FILE, LOCK = "decisions.json", "decisions.lock"


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
                    self._write(DecisionRecord(decisions=self._audited().told()))
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
            lacking = self._audited().lacking(found)
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

    def _audited(self) -> AuditedDecisions:
        return AuditedDecisions(self.folder, self.studies)

    def _decided(self) -> set[str]:
        with contextlib.suppress(UserError):
            return {decision.study for decision in self.decisions()}
        return set()


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"{path}: damaged ({why}), so that nothing is approved. Restore it from a backup, or move it away and approve "
        "each study again."
    )
