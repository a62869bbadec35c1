"""How a study stands at a hospital: whether it is let in, by whom, and to which list of what may leave it is held.

One answer for all who ask: the guard before a request is worked on, the last look before an answer leaves, and people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from normfed_client.consent.approvals import Approvals
from normfed_client.consent.decisions import Decision, DecisionRecord
from normfed_client.consent.manifest import Manifest, kept
from normfed_client.consent.policy import digest_of_rules, misfits, never_allowed
from normfed_client.hospital.folder import Hospital
from normfed_client.hospital.policy import ApprovalRule
from normfed_common.foundation import digests
from normfed_common.study.config import StudyConfig

State = Literal["over", "never", "refused", "waits", "approved", "by rule"]
NOBODY = "nobody here decided on it, and no rule of approve_by_rule lets it in"


@dataclass(frozen=True)
class Count:
    """Under what the runs of a study are counted.

    Parameters
    ----------
    under
        The place of an approval among all decisions, or the digest of a rule.
    most
        Runs.
    """

    under: str
    most: int


@dataclass(frozen=True)
class Standing:
    """See the module.

    Parameters
    ----------
    state
        "over": the hospital withdrew; "never": site.yaml refuses it, whoever approves; "waits": for a person.
    words
        For the people here, without the study's name: "was approved on ...".
    rule
        That lets the study in without a person.
    manifest
        What it is held to; None where it is not let in, or a rule lets it in that asks for none or before it is made.
    count
        Under what the run that was asked about is counted; None where it may go on uncounted.
    why
        It waits; empty where it does not.
    """

    state: State
    words: str
    rule: ApprovalRule | None = None
    manifest: Manifest | None = None
    count: Count | None = None
    why: str = ""

    @property
    def let_in(self) -> bool:
        """Whether it may run now."""
        return self.state in ("approved", "by rule")


def standing_of(
    hospital: Hospital, study: StudyConfig, today: date, statistics: bool = False, run: str = ""
) -> Standing:
    """How a study stands.

    Parameters
    ----------
    statistics
        Whether it is asked who is there, or for statistics of cohorts, and nothing of a model.
    run
        That asks; empty where people look.

    Raises
    ------
    UserError
        If what was decided, or the list of what may leave, cannot be read: then nothing is let in.
    """
    record = Approvals(hospital.folder).record()
    place, decision = record.last(study.digest)
    if decision is not None and decision.withdrawal:
        return Standing("over", f"is over here: {decision.withdrawal}")
    strange = never_allowed(hospital.config, study)
    if strange:
        return Standing("never", f"is refused by site.yaml, whoever approves: {strange}")
    if decision is not None and decision.verdict == "refused":
        reason = f": {decision.why}" if decision.why else ""
        return Standing("refused", f"was refused on {decision.day} by {decision.by}{reason}")
    if decision is not None and decision.verdict == "taken back":
        return _waits(f"{decision.by} took back on {decision.day} what was decided")
    manifest, why = kept(hospital, study.digest), NOBODY
    if decision is not None:
        if decision.manifest and (manifest is None or manifest.digest != decision.manifest):
            return _waits(f"what would leave is not what {decision.by} saw and approved on {decision.day}")
        why = decision.lapsed(digest_of_rules(hospital.config), today)
        why = why or ("" if decision.manifest else f"{decision.by} approved no list of what would leave")
        why = why or _no_room(record, study.digest, decision, str(place), run)
        if not why:
            known = not run or record.has_begun(study.digest, run)
            count = None if known else Count(str(place), decision.runs)
            return Standing("approved", _approved(record, study, decision, str(place)), None, manifest, count)
    for rule, count in _rules(hospital, record, study, statistics, run):
        words = "runs without a person: a rule of approve_by_rule lets it in"
        return Standing("by rule", words, rule, manifest if rule.manifest else None, count)
    beside = next(_rules(hospital, record, study, True, run), None) if not statistics else None
    if beside is not None and decision is None:
        words = "waits, but for numbers of people and statistics of cohorts, which a rule lets out"
        return Standing("waits", words, why=why)
    return _waits(why)


def digest_of_rule(rule: ApprovalRule) -> str:
    """Under which runs are counted; whoever raises its `most_runs` has the same rule."""
    return digests.of_json(rule.model_dump(mode="json", exclude={"most_runs"}))


def _rules(
    hospital: Hospital, record: DecisionRecord, study: StudyConfig, statistics: bool, run: str
) -> Iterator[tuple[ApprovalRule, Count | None]]:
    """Rules that let the study in, and have room for the run."""
    for rule in hospital.config.approve_by_rule:
        if misfits(rule, study, statistics):
            continue
        if rule.most_runs is None or record.has_begun(study.digest, run):
            yield rule, None
        elif len(record.under(digest_of_rule(rule))) < rule.most_runs:
            yield rule, Count(digest_of_rule(rule), rule.most_runs) if run else None


def _no_room(record: DecisionRecord, study: str, decision: Decision, place: str, run: str) -> str:
    """Why a run is one too many for an approval; of people who look, whether one waits that is."""
    begun = [one.run for one in record.under(place)]
    new = run if run and not record.has_begun(study, run) else ""
    if not new or len(begun) < decision.runs:
        return ""
    return (
        f"the approval of {decision.by} on {decision.day} was for {_runs(decision.runs)}, which began "
        f"({', '.join(begun[:3])}); {run} is one more, and needs an approval of its own"
    )


def _approved(record: DecisionRecord, study: StudyConfig, decision: Decision, place: str) -> str:
    until = f", until {decision.until}" if decision.until else ""
    begun = len(record.under(place))
    left = f", for {_runs(decision.runs)}, of which {begun} began"
    if begun >= decision.runs:
        left += "; another needs an approval of its own"
    return f"was approved on {decision.day} by {decision.by}{until}{left}"


def _runs(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"


def _waits(why: str) -> Standing:
    return Standing("waits", "waits for a person" if why == NOBODY else f"waits: {why}", why=why)
