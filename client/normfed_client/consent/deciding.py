"""A person at the hospital finds a study, looks at how it stands, and decides on it."""

from __future__ import annotations

import re
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from normfed_client.consent.approvals import Approvals
from normfed_client.consent.decisions import MOST_RUNS, Decision, Verdict, now
from normfed_client.consent.making import manifest_of
from normfed_client.consent.manifest import keep
from normfed_client.consent.policy import digest_of_rules
from normfed_client.hospital.folder import Hospital
from normfed_client.recording.audit import Audit
from normfed_common.chain.kinds.site import Decided
from normfed_common.foundation import digests
from normfed_common.foundation.errors import SiteError, UserError
from normfed_common.foundation.locks import exclusive
from normfed_common.foundation.registry import admitting
from normfed_common.studies import DIGEST, load_study, resolve
from normfed_common.study.config import StudyConfig

SHORTEST_PREFIX = 6  # hex digits of a digest
LOCK = "deciding.lock"
LONGEST_NAME, LONGEST_REASON = 200, 1000  # characters
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Shown:
    """What a person had before them when they decided.

    Parameters
    ----------
    manifest
        Digest of the list of what would leave.
    decisions
        How many there were of the study.
    """

    manifest: str
    decisions: int


class OtherThanShown(UserError):
    """What is approved is not what the person was shown."""


def find(hospital: Hospital, which: str) -> StudyConfig:
    """A study by its file, or of those that were asked for by its digest's first digits.

    Raises
    ------
    UserError
        If there is no such study, or more than one.
    """
    path = Path(which)
    if path.is_file():
        with admitting(hospital.config.plugins):
            study = load_study(path)
        initial = study.initial_model
        if initial is not None and not initial.startswith(DIGEST):
            if not Path(initial).is_file():
                raise UserError(
                    f"initial_model: {initial} is not a file. Ask the operator for it; a run names its digest."
                )
            study = study.model_copy(update={"initial_model": DIGEST + digests.of_file(Path(initial))})
        return study
    approvals = Approvals(hospital.folder)
    found = [digest for digest in approvals.studies.digests() if digest.startswith(which)]
    if len(found) != 1 or len(which) < SHORTEST_PREFIX:
        what = "several studies" if len(found) > 1 else "no file, and no study that was asked for"
        raise UserError(f"{which}: {what}. Give a study's file, or its digest as normfed site asked lists them.")
    return approvals.studies.read(found[0]).config()


def decide(
    hospital: Hospital,
    study: StudyConfig,
    verdict: Verdict,
    by: str,
    until: date | None = None,
    why: str = "",
    shown: Shown | None = None,
    runs: int = 1,
) -> Decision:
    """Write down what a person decided; it counts from the next request on. Of several at once, one is after another.

    An approval is of the list of what would leave as it is now, which is kept (`normfed_client.consent.manifest`).

    Parameters
    ----------
    shown
        To what an approval is bound, where the person saw it some time ago. Whoever refuses or takes back lets nothing
        in, and is not held against it.
    runs
        How many runs that begin from now on an approval is for. A run under way goes on; a study that is trained again,
        as after a hospital left, is another run.

    Raises
    ------
    OtherThanShown
        If an approval would be of another list than was shown, or somebody decided meanwhile; nothing is written.
    UserError
        If it cannot be written down, or lacks a name.
    """
    by, why = by.strip(), why.strip()
    if not by or len(by) > LONGEST_NAME or CONTROL.search(by) or len(why) > LONGEST_REASON:
        raise UserError(
            f"A decision needs the name of who decides, of at most {LONGEST_NAME} characters on one line, and a reason "
            f"of at most {LONGEST_REASON:,}. Give both so."
        )
    if until is not None and until < date.today():
        raise UserError(f"{until} is over. Give a last day of the approval that is still to come.")
    if not 1 <= runs <= MOST_RUNS:
        raise UserError(f"{runs}: an approval is for 1 to {MOST_RUNS:,} runs. Give a number in between.")
    manifest = manifest_of(hospital, study) if verdict == "approved" else None
    approvals = Approvals(hospital.folder)
    with exclusive(hospital.folder / LOCK):
        with nullcontext() if verdict == "approved" else suppress(UserError):  # a damaged audit keeps nobody from a no
            approvals.catch_up()
        check_open(approvals, study)
        if manifest is not None:
            _hold(manifest.digest, len(approvals.of(study.digest)), shown)
            keep(hospital, manifest)
        listed, at = manifest.digest if manifest is not None else "", now()
        record = Audit(hospital).append(Decided(decision=verdict, study=study.digest, manifest=listed, by=by))
        made = Decision(
            study=study.digest,
            name=study.name,
            manifest=listed,
            rules=digest_of_rules(hospital.config),
            verdict=verdict,
            by=by,
            at=at,
            until=until if verdict == "approved" else None,
            why=why,
            runs=runs if verdict == "approved" else 1,
            record=record.digest,
        )
        approvals.decide(made)
        approvals.studies.keep(study, "")
    return made


def check_open(approvals: Approvals, study: StudyConfig) -> None:
    """Refuse to decide on a study that the hospital withdrew from."""
    last = approvals.decision(study.digest)
    if last is not None and last.withdrawal:
        raise UserError(f"{study.name}: {last.withdrawal}. That is for good: ask the operator for a new study.")


def _hold(manifest: str, decisions: int, shown: Shown | None) -> None:
    """Refuse to approve what is not what a person saw."""
    if shown is None:
        return
    if shown.manifest != manifest:
        raise OtherThanShown(
            "What would leave is another list by now than the one that was shown, so that nothing was approved. Read "
            "the new one below, then decide."
        )
    if shown.decisions != decisions:
        raise OtherThanShown(
            "Somebody else decided on this study since it was shown, so that nothing was approved. See below what they "
            "decided, then decide."
        )


def obstacle(hospital: Hospital, study: StudyConfig) -> str:
    """Why a study would be refused even if it were approved, by floors, limits or budget of site.yaml; nothing else."""
    config = hospital.config
    try:
        with admitting(config.plugins):
            if resolve(study.model_dump(mode="json"), study.name) != study:
                return "it leaves out what the defaults of its models fill in"
            config.check_privacy(study.privacy)
            config.check(study)
    except SiteError as error:
        return error.detail or error.code.sentence
    except UserError as error:
        return str(error)
    return ""
