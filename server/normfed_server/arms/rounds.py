"""A round of an averaged phase: the sites train, and the strategy makes the next model of what they send."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord

from normfed_common.algorithms.table import configure
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.units import MEGABYTE
from normfed_common.learning.phase import Phase, averaged_rounds
from normfed_common.privacy.spending import steps_of
from normfed_server.arms.in_training import ArmInTraining, listed
from normfed_server.arms.strategy import RoundStrategy
from normfed_server.events.kinds import Joined, Missing, Noted, RoundDone
from normfed_server.sites.claims import MOST_SCANS
from normfed_server.sites.closing import Closing, Outcome
from normfed_server.sites.collecting import Collected, Collection
from normfed_server.steps.base import Step
from normfed_server.steps.shares import DOMINANT


class AveragedRounds:
    """Those of an arm, over all its averaged phases.

    Parameters
    ----------
    personal
        Names of the arrays that stay at the sites.
    """

    def __init__(self, job: ArmInTraining, personal: frozenset[str], step: Step) -> None:
        self.job, self.personal, self.study = job, personal, job.study
        self.row, _ = configure(job.arm.strategy)
        self.total = averaged_rounds(job.model.phases(), job.study.federation.rounds)
        self.strategy: RoundStrategy = RoundStrategy(job.context.letterhead, job.arm, job.progress, personal, step)
        self._outgoing: ArrayRecord | None = None

    def run(self, phase: Phase) -> dict[str, Any]:
        """Run one round of a phase; returns what is to be told of it, when it is safe.

        Raises
        ------
        RunError
            If too few sites answer, or no model can be made of what they say.
        """
        begin = time.perf_counter()
        current = self.job.progress.round + 1
        trains = self.job.model.arrays_of(phase)
        self.strategy.begin(trains - self.personal, partial(self._most_steps, phase))
        asked, people, outcomes = self._asked(current)
        arrivals = self._arrivals(current, asked, people)
        closing = Closing.of(
            self.study.federation,
            {site: people[site] for site in asked},
            self.strategy.step.minimum,
            self.job.context.excused,
        )
        self.strategy.people = people
        barred: dict[str, str] = {}
        while True:
            self.strategy.asked = {site: node for site, node in asked.items() if site not in barred}
            next_outgoing, losses, collection = self._collect(current, closing, arrivals)
            for site, why in (self.strategy.refused | barred).items():
                collection.set_aside(site, why)
            refusals = self.job.refusals()
            found = outcomes | dict.fromkeys(refusals, Outcome.REFUSED) | collection.outcomes
            reasons = refusals | collection.reasons | self.job.absences(found)
            used = {site for site, outcome in found.items() if outcome is Outcome.TOOK_PART}
            closing = closing.apart_from({site for site, outcome in found.items() if outcome is Outcome.NO_PART})
            enough = closing.without(self._set_aside(found)).quorum(used)
            fault = self.strategy.fault
            if fault is None or not enough:
                break
            if fault.site is None:
                raise RunError(self._no_model(current, fault.what))
            # The others are asked again for the same: they have their answers in hand.
            barred[fault.site] = f"with its update {fault.what}; {fault.why}"
        if next_outgoing is None or not enough:
            raise RunError(self._too_few(current, used, closing, reasons))
        self._outgoing = next_outgoing
        self.job.progress.round = current
        entry: dict[str, Any] = {
            "round": current,
            "loss": losses,
            "seconds": time.perf_counter() - begin,
            "outcomes": {site: str(outcome) for site, outcome in sorted(found.items())},
            "reasons": dict(sorted(reasons.items())),
            "share": sum(people[site] for site in used) / sum(people.values()),
            "shares": dict(sorted(self.strategy.shares.items())),
            "update_norms": dict(sorted(self.strategy.update_norms.items())),
            "site_seconds": self.strategy.seconds,
            "megabytes": {"out": self.strategy.sent / MEGABYTE, "back": collection.bytes / MEGABYTE},
        }
        reference = self.job.model.reference_loss(phase.name)
        if reference is not None:
            entry["reference"] = reference
        if self.row.clustered:
            entry["clusters"] = dict(sorted(self.job.progress.clusters.items()))
        if arrivals is not None:
            entry["hospital_time"] = {"arrivals": arrivals, "end": closing.at(arrivals)}
        self.job.progress.history.append(entry)
        return entry

    def end_phase(self) -> None:
        """Other phases follow, or none: forget the models as they were to go out."""
        self._outgoing = None

    def tell(self, entry: dict[str, Any]) -> None:
        """Say what a round came to."""
        for site, texts in sorted(self.strategy.notes.items()):
            self.job.note(site, texts)
        for site, share in entry["shares"].items():
            if self.job.arm.federated and share > DOMINANT and len(entry["outcomes"]) > 1 and not self._told(site):
                text = f"has {share:.0%} of the weight; federation.largest_share bounds it"
                self.job.say(Noted(arm=self.job.arm.name, site=site, text=text))
        for site, why in entry["reasons"].items():
            outcome = entry["outcomes"][site]
            if outcome == Outcome.NO_PART and self._before(site) == outcome:
                continue
            self.job.say(Missing(arm=self.job.arm.name, site=site, round=entry["round"], outcome=outcome, why=why))
        self.job.say(RoundDone.of(self.job.arm.name, self.total, entry))

    def _collect(
        self, round: int, closing: Closing, arrivals: dict[str, float] | None
    ) -> tuple[ArrayRecord | None, dict[str, Any], Collected]:
        """Ask the strategy's sites, and let it make the next models of what they answer."""
        asked = self.strategy.asked
        messages = self.strategy.configure_train(
            round, self._outgoing or self.strategy.outgoing(), ConfigRecord(), self.job.context.asker.grid
        )
        requests = dict(zip(sorted(asked), messages, strict=True))
        collection = Collection(
            self.job.context.asker,
            requests,
            closing,
            arrivals,
            self.job.context.wall_clock,
            partial(self.job.waiting, round),
        )
        found, losses = self.strategy.aggregate(round, collection)
        return found, dict(losses or {}), collection

    @staticmethod
    def _set_aside(outcomes: dict[str, Outcome]) -> set[str]:
        return {site for site, outcome in outcomes.items() if outcome is Outcome.SET_ASIDE}

    def _asked(self, round: int) -> tuple[dict[str, int], dict[str, int], dict[str, Outcome]]:
        """Sites to ask and their nodes; all that train this arm and their people; what is known of the others."""
        roster, federation = self.job.context.roster, self.study.federation
        present = self.job.gather(round, self.job.trainers)
        people = self.job.trainers()
        for site in people.keys() - set(self.job.arm.train) - self.job.progress.used.keys():
            self.job.say(Joined(arm=self.job.arm.name, site=site, round=round))
        outcomes = {site: Outcome.ABSENT for site in people if site not in present}
        there = sorted(site for site in people if site in present)
        size = math.ceil(federation.sample * len(there)) if self.job.arm.federated else len(there)
        seed = seeds.of_repeat(self.study.seed, self.job.arm.repeat)
        rng = seeds.generator(seed, "participation", round)
        drawn = {there[i] for i in rng.permutation(len(there))[:size]}
        outcomes |= {site: Outcome.NOT_SAMPLED for site in there if site not in drawn}
        if not drawn:
            raise RunError(f"Round {round} of {self.job.arm.name}: no training site is connected.")
        return {site: roster.nodes[site] for site in sorted(drawn)}, people, outcomes

    def _arrivals(self, round: int, asked: dict[str, int], people: dict[str, int]) -> dict[str, float] | None:
        if self.job.context.pace is None or not self.job.arm.federated:
            return None
        epochs = self.study.federation.local_epochs
        return self.job.context.pace.arrivals(round, {site: people[site] for site in asked}, epochs)

    def _too_few(self, round: int, used: set[str], closing: Closing, reasons: dict[str, str]) -> str:
        if not closing.people:
            return (
                f"Round {round} of {self.job.arm.name}: no site has a part in it. {listed(reasons)}. "
                "Correct the study, or train where there are such people, in a new run."
            )
        share = f" and {closing.share:.0%} of their people" if closing.share else ""
        largest = f", {closing.largest}, the largest, among them" if closing.largest else ""
        return (
            f"Round {round} of {self.job.arm.name}: {len(used)} of {len(closing.people)} sites sent an update that "
            f"could be used; {closing.sites}{share} are needed{largest}. {listed(reasons)}. "
            f"Fix that{', or lower federation.quorum,' if used else ''} and resume."
        )

    def _no_model(self, round: int, what: str) -> str:
        return (
            f"Round {round} of {self.job.arm.name}: {what}, and no site says anything that stands out. The last model "
            "is kept. Lower federation.learning_rate or the strategy's server_learning_rate, or raise "
            "federation.largest_update, in a new run."
        )

    def _before(self, site: str) -> str | None:
        """What became of a site in the round before the last."""
        before = self.job.progress.history[-2:-1]
        return next((entry["outcomes"].get(site) for entry in before), None)

    def _told(self, site: str) -> bool:
        """Whether the round before was dominated by the same site."""
        before = self.job.progress.history[-2:-1]
        return any(entry.get("shares", {}).get(site, 0.0) > DOMINANT for entry in before)

    def _most_steps(self, phase: Phase, people: int) -> int:
        """Of the optimiser in a round, over so many people; where they are protected, the study says how many."""
        if self.study.privacy.epsilon is not None:
            return steps_of(self.study.privacy, self.study.federation.local_epochs)
        return self.study.federation.local_epochs * self.job.model.most_batches(phase.name, people * MOST_SCANS)
