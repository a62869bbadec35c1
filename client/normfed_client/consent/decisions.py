"""What people at a hospital decided of studies, as it is written down."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Literal

from pydantic import Field

from normfed_client.consent.asked import DIGEST
from normfed_common.foundation import digests
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyName

MOST_RUNS = 1000
UNSAID = (("runs", 1), ("record", ""))
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
    record
        Digest of the audit's record of it, which is written first.
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
    record: str = Field("", pattern=r"^([0-9a-f]{64})?$")

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
        decisions = [{k: v for k, v in one.items() if (k, v) not in UNSAID} for one in written["decisions"]]
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


def now() -> str:
    """The time of a decision."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
