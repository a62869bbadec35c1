"""One arm in training: how far it is, who trains it, and how that is told; what its phases have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from normfed_common.learning.learner import Learner
from normfed_common.statistics.names import ENTRY
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import SumsBy
from normfed_common.study.roles import ROLES
from normfed_common.wire.requests import Payload, Request
from normfed_server.arms.context import RunContext
from normfed_server.arms.plan import Arm
from normfed_server.events.kinds import Event, Missing, Noted, Waiting
from normfed_server.sites.closing import Outcome, indispensable
from normfed_server.sites.collecting import Reminder
from normfed_server.steps.progress import Progress


@dataclass(frozen=True)
class ArmInTraining:
    """See the module.

    Parameters
    ----------
    model
        A model of the arm that learns what the sites' models learn, sums that is; its weights stay the first.
    """

    arm: Arm
    model: Learner
    context: RunContext
    progress: Progress

    @property
    def study(self) -> StudyConfig:
        """What is studied."""
        return self.context.study

    @property
    def sums_by(self) -> SumsBy:
        """How the sites' sums are weighted; people who are counted are never."""
        return "by-people" if self.arm.model == ENTRY else self.study.federation.sums

    def people(self, site: str) -> int:
        """How many of a site's people sums are about."""
        described = self.context.roster.sites[site]
        if self.arm.model == ENTRY:
            return sum(max(getattr(described, role), 0) for role in ROLES)
        return described.train

    def trainers(self) -> dict[str, int]:
        """Sites that train this arm, and their people."""
        roster = self.context.roster
        people = {site: roster.sites[site].train for site in self.arm.train}
        return roster.trainers(self.study.federation.minimum_cohort) | people if self.arm.open else people

    def gather(self, round: int, people: Callable[[], Mapping[str, int]]) -> set[str]:
        """The connected sites, once nobody is missing of ``people`` who was connected a moment ago.

        A link that is cut between two rounds is no other fault than one that is cut within a round. Members are waited
        for until they have been away for the study's patience; of an arm that sites train together, the largest is
        waited for until the operator excuses it.

        Raises
        ------
        Interrupted
            If the run is asked to stop meanwhile.
        """
        reminder = Reminder()
        while True:
            present, among = self.context.roster.refresh(), people()
            never = indispensable(self.study.federation, among) if self.arm.federated else None
            missing = {
                site
                for site, seconds in self.context.roster.may_return().items()
                if site in among and (seconds < self.study.federation.patience_s or site == never)
            } - self.context.excused()
            if not missing:
                return present
            if reminder.due():
                self.waiting(round, dict.fromkeys(sorted(missing), False), reminder.seconds())
            self.context.asker.pause()

    def absences(self, outcomes: dict[str, Outcome]) -> dict[str, str]:
        """Since when those are away who were not even asked."""
        away, now = self.context.roster.away(), datetime.now(UTC)
        since = {site: now - timedelta(seconds=seconds) for site, seconds in away.items()}
        return {
            site: f"not connected since {since[site]:%d %b %H:%M} UTC" if site in since else "not connected"
            for site, outcome in outcomes.items()
            if outcome is Outcome.ABSENT
        }

    def refusals(self) -> dict[str, str]:
        """Sites that would train this arm, but that their hospitals did not let the study in; and why."""
        return self.context.roster.not_let_in() if self.arm.open else {}

    def note(self, site: str, texts: Sequence[str]) -> None:
        """What a site says of the method: kept with the model, and said once."""
        known = self.progress.notes.setdefault(site, [])
        for text in [text for text in texts if text not in known]:
            known.append(text)
            self.say(Noted(arm=self.arm.name, site=site, text=text))

    def missed(self, missed: dict[str, str], outcome: str) -> None:
        """A site whose part is not in this model."""
        self.progress.missed |= missed
        for site, why in sorted(missed.items()):
            self.say(Missing(arm=self.arm.name, site=site, round=0, outcome=outcome, why=why))

    def waiting(self, round: int, sites: dict[str, bool], seconds: float) -> None:
        if self.arm.federated:
            self.say(Waiting(arm=self.arm.name, round=round, sites=sites, seconds=int(seconds)))

    def request(self, payload: Payload) -> Request:
        """What is asked of a site about this arm."""
        return self.arm.request(self.context.letterhead, payload)

    def say(self, event: Event) -> None:
        """Write an event of this arm."""
        self.context.events.say(event)


def listed(reasons: Mapping[str, str]) -> str:
    """Why each site is missing, in one sentence."""
    return "; ".join(f"{site}: {reason}" for site, reason in sorted(reasons.items())) or "no reasons given"
