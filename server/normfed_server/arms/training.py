"""Train one arm: rounds, perhaps a last step at each site, then stages of sums; a checkpoint after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message

from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.algorithms.table import configure
from normfed_common.foundation import arrays as named
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, WireError
from normfed_common.models.base import NETWORK, NormativeModel
from normfed_common.study.config import StudyConfig
from normfed_common.wire import messages as wire
from normfed_common.wire.messages import Answer, Request
from normfed_server.arms.plan import Arm
from normfed_server.arms.strategy import RoundStrategy
from normfed_server.arms.virtual_clock import Pace
from normfed_server.events.damage import put_aside
from normfed_server.events.kinds import Event, Joined, Missing, Noted, RoundDone, StageDone, Waiting
from normfed_server.events.log import EventLog
from normfed_server.sites import claims
from normfed_server.sites.asking import Asker
from normfed_server.sites.claims import MOST_SCANS
from normfed_server.sites.closing import Closing, Outcome, indispensable
from normfed_server.sites.collecting import Collection, Reminder
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_server.steps import progress as checkpoints
from normfed_server.steps.catalogue import make_step
from normfed_server.steps.progress import Progress
from normfed_server.steps.shares import DOMINANT

MEGABYTE = 1e6

Layout = tuple[tuple[str, tuple[int, ...], str], ...]


@dataclass(frozen=True)
class RunContext:
    """What every arm of a run is trained with; ``wall_clock``: see `Collection`, ``excused``: see `Closing`."""

    letterhead: Letterhead
    roster: Roster
    asker: Asker
    events: EventLog
    pace: Pace | None = None
    initial: Arrays | None = None
    wall_clock: bool = True
    excused: Callable[[], frozenset[str]] = frozenset

    @property
    def study(self) -> StudyConfig:
        """What is studied."""
        return self.letterhead.study


class ArmTraining:
    """Trains one arm from its last checkpoint to the end.

    Parameters
    ----------
    model
        A fresh model: gives the first weights, and says which parts and stages there are.
    another
        First weights from another draw, by number.
    path
        Of the checkpoint.
    """

    def __init__(
        self, arm: Arm, model: NormativeModel, another: Callable[[int], Arrays], context: RunContext, path: Path
    ) -> None:
        self.arm, self.model, self.context, self.path = arm, model, context, path
        self.study = context.study
        self.row, _ = configure(arm.strategy)
        self.personal = personal_arrays(model, arm.strategy) if model.network is not None else frozenset()
        step = make_step(arm.strategy, self.study.federation)
        found = checkpoints.recover(path, self.study.digest, partial(put_aside, context.events, arm.name))
        if found is None:
            found = Progress([_first(model, context.initial)])
            step.prepare(found, another)
        self.progress = found
        self.strategy = RoundStrategy(context.letterhead, arm, found, self.personal, step, self._most_steps)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to train."""
        rounds = self.study.federation.rounds if self.model.network is not None else 0
        tuned = self.progress.fine_tuned or not self.row.fine_tuned
        return self.progress.round >= rounds and tuned and self.progress.stages >= len(self.model.stages)

    def run(self) -> Progress:
        """Train to the end.

        Raises
        ------
        RunError
            If too few sites answer a round.
        """
        outgoing: ArrayRecord | None = None
        while self.model.network is not None and self.progress.round < self.study.federation.rounds:
            outgoing = self._round(outgoing)
        if self.row.fine_tuned and not self.progress.fine_tuned:
            self._fine_tune()
        while self.progress.stages < len(self.model.stages):
            stage = self.model.stages[self.progress.stages]
            self._sum(stage)
            self.progress.stages += 1
            self._save()
            self._say(StageDone(arm=self.arm.name, stage=self.progress.stages, stages=len(self.model.stages)))
        return self.progress

    def _round(self, outgoing: ArrayRecord | None) -> ArrayRecord:
        begin = time.perf_counter()
        current = self.progress.round + 1
        asked, people, outcomes = self._asked(current)
        arrivals = self._arrivals(current, asked, people)
        closing = Closing.of(
            self.study.federation,
            {site: people[site] for site in asked},
            self.strategy.step.minimum,
            self.context.excused,
        )
        self.strategy.people = people
        barred: dict[str, str] = {}
        while True:
            self.strategy.asked = {site: node for site, node in asked.items() if site not in barred}
            next_outgoing, losses, collection = self._collect(current, outgoing, closing, arrivals)
            for site, why in (self.strategy.refused | barred).items():
                collection.set_aside(site, why)
            found = outcomes | collection.outcomes
            reasons = collection.reasons | self._absences(found)
            used = {site for site, outcome in found.items() if outcome is Outcome.TOOK_PART}
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
        self.progress.round = current
        entry: dict[str, Any] = {
            "round": current,
            "loss": losses,
            "seconds": time.perf_counter() - begin,
            "outcomes": {site: str(outcome) for site, outcome in sorted(found.items())},
            "reasons": dict(sorted(reasons.items())),
            "share": sum(people[site] for site in used) / sum(people.values()),
            "shares": dict(sorted(self.strategy.shares.items())),
            "site_seconds": self.strategy.seconds,
            "megabytes": {"out": self.strategy.sent / MEGABYTE, "back": collection.bytes / MEGABYTE},
        }
        if self.row.clustered:
            entry["clusters"] = dict(sorted(self.progress.clusters.items()))
        if arrivals is not None:
            entry["hospital_time"] = {"arrivals": arrivals, "end": closing.at(arrivals)}
        self.progress.history.append(entry)
        self._save()
        self._tell(entry)
        return next_outgoing

    def _collect(
        self, round: int, outgoing: ArrayRecord | None, closing: Closing, arrivals: dict[str, float] | None
    ) -> tuple[ArrayRecord | None, dict[str, Any], Collection]:
        """Ask the strategy's sites, and let it make the next models of what they answer."""
        asked = self.strategy.asked
        messages = self.strategy.configure_train(
            round, outgoing or self.strategy.outgoing(), ConfigRecord(), self.context.asker.grid
        )
        requests = dict(zip(sorted(asked), messages, strict=True))
        collection = Collection(
            self.context.asker, requests, closing, arrivals, self.context.wall_clock, partial(self._waiting, round)
        )
        found, losses = self.strategy.aggregate(round, collection)
        return found, dict(losses or {}), collection

    @staticmethod
    def _set_aside(outcomes: dict[str, Outcome]) -> set[str]:
        return {site for site, outcome in outcomes.items() if outcome is Outcome.SET_ASIDE}

    def _most_steps(self, people: int) -> int:
        """Of the optimiser in a round, over so many people."""
        return self.study.federation.local_epochs * self.model.most_batches(people * MOST_SCANS)

    def _absences(self, outcomes: dict[str, Outcome]) -> dict[str, str]:
        """Since when those are away who were not even asked."""
        away, now = self.context.roster.away(), datetime.now(UTC)
        since = {site: now - timedelta(seconds=seconds) for site, seconds in away.items()}
        return {
            site: f"not connected since {since[site]:%d %b %H:%M} UTC" if site in since else "not connected"
            for site, outcome in outcomes.items()
            if outcome is Outcome.ABSENT
        }

    def _waiting(self, round: int, sites: dict[str, bool], seconds: float) -> None:
        if self.arm.federated:
            self._say(Waiting(arm=self.arm.name, round=round, sites=sites, seconds=int(seconds)))

    def _asked(self, round: int) -> tuple[dict[str, int], dict[str, int], dict[str, Outcome]]:
        """Sites to ask and their nodes; all that train this arm and their people; what is known of the others."""
        roster, federation = self.context.roster, self.study.federation
        present = self._gather(round, self._trainers)
        people = self._trainers()
        for site in people.keys() - set(self.arm.train) - self.progress.used.keys():
            self._say(Joined(arm=self.arm.name, site=site, round=round))
        outcomes = {site: Outcome.ABSENT for site in people if site not in present}
        there = sorted(site for site in people if site in present)
        size = math.ceil(federation.sample * len(there)) if self.arm.federated else len(there)
        rng = seeds.generator(self.study.seed, "participation", round)
        drawn = {there[i] for i in rng.permutation(len(there))[:size]}
        outcomes |= {site: Outcome.NOT_SAMPLED for site in there if site not in drawn}
        if not drawn:
            raise RunError(f"Round {round} of {self.arm.name}: no training site is connected.")
        return {site: roster.nodes[site] for site in sorted(drawn)}, people, outcomes

    def _trainers(self) -> dict[str, int]:
        """Sites that train this arm, and their people."""
        roster = self.context.roster
        people = {site: roster.sites[site].train for site in self.arm.train}
        return roster.trainers(self.study.federation.minimum_cohort) | people if self.arm.open else people

    def _gather(self, round: int, people: Callable[[], Mapping[str, int]]) -> set[str]:
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
                self._waiting(round, dict.fromkeys(sorted(missing), False), reminder.seconds())
            self.context.asker.pause()

    def _arrivals(self, round: int, asked: dict[str, int], people: dict[str, int]) -> dict[str, float] | None:
        if self.context.pace is None or not self.arm.federated:
            return None
        epochs = self.study.federation.local_epochs
        return self.context.pace.arrivals(round, {site: people[site] for site in asked}, epochs)

    def _too_few(self, round: int, used: set[str], closing: Closing, reasons: dict[str, str]) -> str:
        share = f" and {closing.share:.0%} of their people" if closing.share else ""
        largest = f", {closing.largest}, the largest, among them" if closing.largest else ""
        return (
            f"Round {round} of {self.arm.name}: {len(used)} of {len(closing.people)} sites sent an update that could "
            f"be used; {closing.sites}{share} are needed{largest}. {_listed(reasons)}. Mend that, or lower "
            "federation.quorum, and resume."
        )

    def _no_model(self, round: int, what: str) -> str:
        return (
            f"Round {round} of {self.arm.name}: {what}, and no site says anything that stands out. The last model is "
            "kept. Lower federation.learning_rate or the strategy's server_learning_rate, or raise "
            "federation.largest_update, in a new run."
        )

    def _tell(self, entry: dict[str, Any]) -> None:
        for site, texts in sorted(self.strategy.notes.items()):
            self._note(site, texts)
        for site, share in entry["shares"].items():
            if self.arm.federated and share > DOMINANT and len(entry["outcomes"]) > 1 and not self._told(site):
                text = f"has {share:.0%} of the weight; federation.largest_share bounds it"
                self._say(Noted(arm=self.arm.name, site=site, text=text))
        for site, why in entry["reasons"].items():
            outcome = entry["outcomes"][site]
            self._say(Missing(arm=self.arm.name, site=site, round=entry["round"], outcome=outcome, why=why))
        self._say(RoundDone.of(self.arm.name, self.study.federation.rounds, entry))

    def _note(self, site: str, texts: Sequence[str]) -> None:
        """What a site says of the method: kept with the model, and said once."""
        known = self.progress.notes.setdefault(site, [])
        for text in [text for text in texts if text not in known]:
            known.append(text)
            self._say(Noted(arm=self.arm.name, site=site, text=text))

    def _told(self, site: str) -> bool:
        """Whether the round before was dominated by the same site."""
        before = self.progress.history[-2:-1]
        return any(entry.get("shares", {}).get(site, 0.0) > DOMINANT for entry in before)

    def _fine_tune(self) -> None:
        """Every training site trains the model it would be served on, for itself."""
        messages: dict[str, Message] = {}
        roster, used = self.context.roster, self.progress.used
        trained = {site: roster.sites[site].train for site in used.keys() & roster.sites.keys()}
        present = self._gather(self.progress.round + 1, lambda: trained)
        missed = self._absences({site: Outcome.ABSENT for site in used if site not in present})
        for site in sorted(used.keys() & present):
            header = self._header(round=self.progress.round + 1)
            node = {site: roster.nodes[site]}
            messages |= wire.requests("train.personal", node, header, self.progress.model_of(site))
        for _ in self.context.asker.heard(messages, lambda *_: None, missed=missed):
            pass  # nothing is made of the answers: each site keeps its model
        self._missed(missed, "not trained on")
        self.progress.fine_tuned = True
        self._save()

    def _sum(self, stage: str) -> None:
        """Add up one stage's sums; the sites whose sums are laid out otherwise than most sites' are set aside.

        Raises
        ------
        RunError
            If nobody sent any, as many sites have one layout as another, or nothing can be made of the total.
        """
        nodes = {site: self.context.roster.nodes[site] for site in self.arm.train}
        messages = wire.requests("train.sums", nodes, self._header(stage=stage), self.progress.models[0])
        missed: dict[str, str] = {}
        totals: dict[Layout, tuple[list[str], Arrays]] = {}
        for site, sums in self.context.asker.heard(messages, partial(self._claimed_sums, stage), missed=missed):
            sites, total = totals.setdefault(_layout(sums), ([], {}))
            sites.append(site)
            totals[_layout(sums)] = sites, named.add([total, sums] if total else [sums])
        ranked = sorted(totals.values(), key=lambda entry: -len(entry[0]))
        if not ranked:
            raise RunError(f"{self.arm.name}: no site sent sums of {stage}. {_listed(missed)}. Mend that, and resume.")
        if len(ranked) > 1 and len(ranked[0][0]) == len(ranked[1][0]):
            raise RunError(
                f"{self.arm.name}: the sums of {stage} have other names or shapes at {', '.join(ranked[0][0])} than at "
                f"{', '.join(ranked[1][0])}, and the server cannot know who is right. Mend that, and resume."
            )
        for sites, _ in ranked[1:]:
            missed |= dict.fromkeys(sites, "its sums have other names or shapes than those of most sites")
        self._absorb(stage, ranked[0][1])
        for name, value in ranked[0][1].items():
            self.progress.models[0][f"sums.{stage}.{name}"] = value
        self._missed(missed, "not in the sums")

    def _absorb(self, stage: str, total: Arrays) -> None:
        """Make of the total what every site will make of it, before it is kept.

        Raises
        ------
        RunError
            If a site could not.
        """
        try:
            self.model.absorb(stage, total)
        except WireError as error:
            raise RunError(
                f"{self.arm.name}: of the sums of {stage} of all sites no model can be made ({error}), though each "
                "site's alone are possible. Look at what the sites measure, excuse one, and begin a new run."
            ) from error

    def _claimed_sums(self, stage: str, site: str, answer: Answer, arrays: Arrays) -> Arrays:
        self._note(site, answer.notes)
        return claims.sums(arrays, self.model, stage, self.context.roster.sites[site].train)

    def _missed(self, missed: dict[str, str], outcome: str) -> None:
        """A site whose part is not in this model."""
        self.progress.missed |= missed
        for site, why in sorted(missed.items()):
            self._say(Missing(arm=self.arm.name, site=site, round=0, outcome=outcome, why=why))

    def _header(self, **fields: Any) -> Request:
        return self.context.letterhead.request(self.arm, **fields)

    def _save(self) -> None:
        checkpoints.save(self.path, self.progress, self.study.digest)

    def _say(self, event: Event) -> None:
        self.context.events.say(event)


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{site}: {reason}" for site, reason in sorted(reasons.items())) or "no reasons given"


def _layout(arrays: Arrays) -> Layout:
    """Names, shapes and types: what can be added up has the same."""
    return tuple((name, array.shape, str(array.dtype)) for name, array in sorted(arrays.items()))


def _first(model: NormativeModel, initial: Arrays | None) -> Arrays:
    """The first weights: the model's own draw, or those of the initial model.

    Raises
    ------
    RunError
        If the initial model is not one of this architecture.
    """
    found = model.share()
    if initial is None or model.network is None:
        return found
    given = {name: array for name, array in initial.items() if name.startswith(NETWORK)}
    differ = sorted(
        name
        for name in found.keys() | given.keys()
        if name not in found
        or name not in given
        or found[name].shape != given[name].shape
        or found[name].dtype != given[name].dtype
    )
    if differ:
        raise RunError(
            f"initial_model: is of another network than the study's; {len(differ)} arrays differ, such as {differ[0]}. "
            "Give a model.safetensors of the same model and parameters."
        )
    return given
