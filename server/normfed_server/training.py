"""Train one arm: rounds, perhaps a last step at each site, then stages of sums; a checkpoint after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message

from normfed_common import arrays as named
from normfed_common import seeds
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.algorithms.table import configure
from normfed_common.arrays import Arrays
from normfed_common.errors import RunError
from normfed_common.models.base import NETWORK, NormativeModel
from normfed_common.study.config import StudyConfig
from normfed_common.wire import messages as wire
from normfed_common.wire.messages import Request, decode_answer
from normfed_server import checkpoints
from normfed_server.asking import Asker
from normfed_server.checkpoints import Progress
from normfed_server.collecting import Collection
from normfed_server.damage import put_aside
from normfed_server.events import EventLog
from normfed_server.letterhead import Letterhead
from normfed_server.pace import Pace
from normfed_server.participation import Closing, Outcome
from normfed_server.plan import Arm
from normfed_server.roster import Roster
from normfed_server.steps.catalogue import make_step
from normfed_server.strategy import RoundStrategy

MEGABYTE = 1e6


@dataclass(frozen=True)
class Bench:
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
        self, arm: Arm, model: NormativeModel, another: Callable[[int], Arrays], bench: Bench, path: Path
    ) -> None:
        self.arm, self.model, self.bench, self.path = arm, model, bench, path
        self.study = bench.study
        self.row, _ = configure(arm.strategy)
        self.personal = personal_arrays(model, arm.strategy) if model.network is not None else frozenset()
        step = make_step(arm.strategy, self.study.federation)
        found = checkpoints.recover(path, self.study.digest, partial(put_aside, bench.events, arm.name))
        if found is None:
            found = Progress([_first(model, bench.initial)])
            step.prepare(found, another)
        self.progress = found
        self._noted: set[tuple[str, str]] = set()
        self.strategy = RoundStrategy(bench.letterhead, arm, found, self.personal, step)

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
            self._say("stage", stage=self.progress.stages, stages=len(self.model.stages))
        return self.progress

    def _round(self, outgoing: ArrayRecord | None) -> ArrayRecord:
        begin = time.perf_counter()
        current = self.progress.round + 1
        asked, people, outcomes = self._asked(current)
        asked_people = {site: people[site] for site in asked}
        closing = Closing.of(self.study.federation, asked_people, self.strategy.step.minimum, self.bench.excused)
        self.strategy.asked, self.strategy.people = asked, people
        messages = self.strategy.configure_train(
            current, outgoing or self.strategy.outgoing(), ConfigRecord(), self.bench.asker.grid
        )
        arrivals = self._arrivals(current, asked, people)
        requests = dict(zip(sorted(asked), messages, strict=True))
        collection = Collection(
            self.bench.asker, requests, closing, arrivals, self.bench.wall_clock, partial(self._waiting, current)
        )
        outgoing, losses = self.strategy.aggregate_train(current, (reply for _, reply in collection))
        for site, why in self.strategy.refused.items():
            collection.set_aside(site, why)
        outcomes |= collection.outcomes
        reasons = collection.reasons | self._absences(outcomes)
        used = {site for site, outcome in outcomes.items() if outcome is Outcome.TOOK_PART}
        if outgoing is None or losses is None or not closing.quorum(used):
            raise RunError(self._too_few(current, used, closing, reasons))
        self.progress.round = current
        entry: dict[str, Any] = {
            "round": current,
            "loss": dict(losses),
            "seconds": time.perf_counter() - begin,
            "outcomes": {site: str(outcome) for site, outcome in sorted(outcomes.items())},
            "reasons": dict(sorted(reasons.items())),
            "share": sum(people[site] for site in used) / sum(people.values()),
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
        return outgoing

    def _absences(self, outcomes: dict[str, Outcome]) -> dict[str, str]:
        """Since when those are away who were not even asked."""
        away = self.bench.roster.away
        return {
            site: f"not connected since {away[site]:%d %b %H:%M} UTC" if site in away else "not connected"
            for site, outcome in outcomes.items()
            if outcome is Outcome.ABSENT
        }

    def _waiting(self, round: int, sites: dict[str, bool], seconds: float) -> None:
        if self.arm.federated:
            self._say("waiting", round=round, sites=sites, seconds=int(seconds))

    def _asked(self, round: int) -> tuple[dict[str, int], dict[str, int], dict[str, Outcome]]:
        """Sites to ask and their nodes; all that train this arm and their people; what is known of the others."""
        roster, federation = self.bench.roster, self.study.federation
        present = roster.refresh()
        people = {site: roster.sites[site].train for site in self.arm.train}
        if self.arm.open:
            joined = {s: n for s, n in roster.trainers(federation.minimum_cohort).items() if s not in people}
            for site in joined.keys() - self.progress.used.keys():
                self._say("joined", site=site, round=round)
            people |= joined
        outcomes = {site: Outcome.ABSENT for site in people if site not in present}
        there = sorted(site for site in people if site in present)
        size = math.ceil(federation.sample * len(there)) if self.arm.federated else len(there)
        rng = seeds.generator(self.study.seed, "participation", round)
        drawn = {there[i] for i in rng.permutation(len(there))[:size]}
        outcomes |= {site: Outcome.NOT_SAMPLED for site in there if site not in drawn}
        if not drawn:
            raise RunError(f"Round {round} of {self.arm.name}: no training site is connected.")
        return {site: roster.nodes[site] for site in sorted(drawn)}, people, outcomes

    def _arrivals(self, round: int, asked: dict[str, int], people: dict[str, int]) -> dict[str, float] | None:
        if self.bench.pace is None or not self.arm.federated:
            return None
        epochs = self.study.federation.local_epochs
        return self.bench.pace.arrivals(round, {site: people[site] for site in asked}, epochs)

    def _too_few(self, round: int, used: set[str], closing: Closing, reasons: dict[str, str]) -> str:
        why = "; ".join(f"{site}: {reason}" for site, reason in sorted(reasons.items())) or "no reasons given"
        share = f" and {closing.share:.0%} of their people" if closing.share else ""
        largest = f", {closing.largest}, the largest, among them" if closing.largest else ""
        return (
            f"Round {round} of {self.arm.name}: {len(used)} of {len(closing.people)} sites sent an update that could "
            f"be used; {closing.sites}{share} are needed{largest}. {why}. Mend that, or lower federation.quorum, and "
            "resume."
        )

    def _tell(self, entry: dict[str, Any]) -> None:
        found = {(site, text) for site, texts in self.strategy.notes.items() for text in texts}
        for site, text in sorted(found - self._noted):
            self._say("note", site=site, text=text)
        self._noted |= found
        for site, why in entry["reasons"].items():
            self._say("missing", site=site, round=entry["round"], outcome=entry["outcomes"][site], why=why)
        self._say("round", **entry, rounds=self.study.federation.rounds)

    def _fine_tune(self) -> None:
        """Every training site trains the model it would be served on, for itself."""
        messages: dict[str, Message] = {}
        present = self.bench.roster.refresh()
        for site in sorted(set(self.progress.used) & present):
            header = self._header(round=self.progress.round + 1)
            node = {site: self.bench.roster.nodes[site]}
            messages |= wire.requests("train.personal", node, header, self.progress.model_of(site))
        missed: dict[str, str] = {}
        self.bench.asker.ask(messages, missed=missed)
        self._missed(missed, "not trained on")
        self.progress.fine_tuned = True
        self._save()

    def _sum(self, stage: str) -> None:
        nodes = {site: self.bench.roster.nodes[site] for site in self.arm.train}
        model = self.progress.models[0]
        messages = wire.requests("train.sums", nodes, self._header(stage=stage), model)
        missed: dict[str, str] = {}
        answers = self.bench.asker.answers(messages, missed=missed)
        for name, value in named.add(decode_answer(reply)[1] for _, reply in answers).items():
            model[f"sums.{stage}.{name}"] = value
        self._missed(missed, "not in the sums")

    def _missed(self, missed: dict[str, str], outcome: str) -> None:
        """A site whose part is not in this model."""
        self.progress.missed |= missed
        for site, why in sorted(missed.items()):
            self._say("missing", site=site, round=0, outcome=outcome, why=why)

    def _header(self, **fields: Any) -> Request:
        return self.bench.letterhead.request(self.arm, **fields)

    def _save(self) -> None:
        checkpoints.save(self.path, self.progress, self.study.digest)

    def _say(self, kind: str, **fields: Any) -> None:
        self.bench.events.say(kind, arm=self.arm.name, **fields)


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
