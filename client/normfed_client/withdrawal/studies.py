"""A hospital withdraws from a study for good: what it keeps of its runs is erased, and its requests are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from normfed_client.consent.approvals import Approvals
from normfed_client.consent.deciding import LOCK, SHORTEST_PREFIX
from normfed_client.consent.decisions import Decision, now
from normfed_client.consent.manifest import kept
from normfed_client.consent.policy import digest_of_rules
from normfed_client.hospital.custody import MEMBERS, Members
from normfed_client.hospital.folder import Hospital
from normfed_client.hospital.secure_sums import forget_all_secrets
from normfed_client.recording.audit import Audit
from normfed_client.withdrawal.erasing import Erased, erase, of_run, runs
from normfed_client.withdrawal.prepared import unneeded
from normfed_common.chain.kinds.people import people_class
from normfed_common.chain.kinds.site import Answered, Refused, StudyWithdrawn
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.locks import exclusive


@dataclass(frozen=True)
class StudyToForget:
    """A study, and what is kept of it.

    Parameters
    ----------
    again
        When and by whom the hospital had withdrawn before; empty where it had not.
    runs
        Of which anything is kept that is not for the accounts.
    """

    digest: str
    name: str
    again: str
    runs: tuple[str, ...]
    erased: tuple[Erased, ...]

    @property
    def files(self) -> int:
        """How many are erased."""
        return sum(len(found.files) for found in self.erased)


def look_up(hospital: Hospital, which: str) -> StudyToForget:
    """A study by one of its runs, or by its digest's first digits, and what is kept of it; nothing is changed.

    Raises
    ------
    UserError
        If there is no such study, or more than one.
    """
    of_runs = dict(_studies_of_runs(hospital))
    approvals = Approvals(hospital.folder)
    known = {*approvals.studies.digests(), *(d.study for d in approvals.decisions()), *of_runs.values()}
    digests = {of_runs[which]} if which in of_runs else {digest for digest in known if digest.startswith(which)}
    if len(digests) != 1 or (which not in of_runs and len(which) < SHORTEST_PREFIX):
        what = "several studies" if len(digests) > 1 else "no run and no study that is known here"
        raise UserError(f"{which}: {what}. Give a run, or a study's digest as normfed site asked lists it.")
    (digest,) = digests
    its = tuple(run for run in runs(hospital) if of_runs.get(run) == digest)
    files = [path for run in its for path in of_run(hospital, run)]
    erased = (
        Erased("of its runs: answers, training, maps, own models, logs", tuple(files)),
        Erased("scans that were prepared for it alone", tuple(unneeded(hospital, but_studies={digest}))),
    )
    last = approvals.decision(digest)
    return StudyToForget(digest, _name(hospital, digest), "" if last is None else last.withdrawal, its, erased)


def withdraw(hospital: Hospital, found: StudyToForget, by: str) -> None:
    """Refuse the study from the next request on (code 254), and erase what `look_up` found.

    What protects people stays: of each run who took part, what was asked and signed; the decisions on the study.

    Raises
    ------
    UserError
        If it cannot be written down; then nothing is erased.
    """
    audit, files = Audit(hospital), people_class(found.files)
    if found.again and not found.files and not _unfinished(audit, found.digest):
        return
    audit.append(StudyWithdrawn(step="begun", by=by, study=found.digest, files=files))
    approvals = Approvals(hospital.folder)
    with exclusive(hospital.folder / LOCK):
        last = approvals.decision(found.digest)
        if last is None or not last.withdrawal:
            rules = digest_of_rules(hospital.config)
            made = Decision(study=found.digest, name=found.name, rules=rules, verdict="withdrawn", by=by, at=now())
            approvals.decide(made)
    for run in found.runs:
        forget_all_secrets(hospital.state / run)
    for of in found.erased:
        erase(hospital, of.files)
    audit.append(StudyWithdrawn(step="done", by=by, study=found.digest, files=files))


def _studies_of_runs(hospital: Hospital) -> Iterator[tuple[str, str]]:
    """The digest of each run's study: as the audit has it, and as a run was settled."""
    with suppress(UserError):
        for record in Audit(hospital).chain.records():
            if isinstance(record.content, Answered | Refused) and record.content.asked.study:
                yield record.content.asked.run, record.content.asked.study
    for path in hospital.state.glob(f"*/{MEMBERS}"):
        with suppress(OSError, ValidationError, UnicodeDecodeError):
            yield path.parent.name, Members.model_validate_json(path.read_text(encoding="utf-8")).study


def _name(hospital: Hospital, digest: str) -> str:
    with suppress(UserError):
        return Approvals(hospital.folder).studies.read(digest).name
    with suppress(UserError):
        manifest = kept(hospital, digest)
        if manifest is not None:
            return manifest.study
    return f"study-{digest[:12]}"


def _unfinished(audit: Audit, study: str) -> bool:
    """Whether the withdrawal was broken off."""
    said = (r.content for r in audit.chain.containing(f'"study":"{study}"'.encode()))
    steps = (content.step for content in said if isinstance(content, StudyWithdrawn))
    return next(steps, "begun") == "begun"
