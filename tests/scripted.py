"""A federation whose every answer is scripted, for tests of the server's side."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import DEFAULT_TTL, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from synthetic import People, setting

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.learning.entries import build
from normfed_common.learning.learner import SUMS
from normfed_common.models.catalogue import MODELS
from normfed_common.models.siamese import PATCHES
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.wire import offers
from normfed_common.wire.answers import (
    Answer,
    CanaryBack,
    Counted,
    Described,
    Figures,
    FineTuned,
    ScoredPeople,
    Summed,
    Told,
    Trained,
)
from normfed_common.wire.messages import answer, decode_request, encode, refusal
from normfed_common.wire.requests import Request, Sums
from normfed_server.arms.context import RunContext
from normfed_server.arms.plan import Arm
from normfed_server.arms.training import ArmTraining
from normfed_server.arms.virtual_clock import Pace
from normfed_server.events.log import EventLog
from normfed_server.sites.asking import Asker
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_server.steps.progress import Progress
from normfed_simulation.engines.local import identify

PEOPLE = {"a": 10, "b": 5, "c": 3, "d": 2}
TOLD: dict[str, Told] = {
    told.task: told
    for told in (
        *(CanaryBack(steps=2), Trained(loss=1.0, steps=2), FineTuned(loss=1.0), Summed()),
        *(ScoredPeople(), Counted(), Figures(groups=())),
    )
}
Behaviour = Callable[[str, int], Any]


class ScriptedGrid(Grid):
    """Sites whose every answer is scripted: how much each weight moves, a code, None for silence, or a message."""

    def __init__(self, behaviour: Behaviour, people: dict[str, int] = PEOPLE) -> None:
        self.behaviour, self.people = behaviour, people
        self.connected = {name: i + 1 for i, name in enumerate(people)}
        self.asked: list[tuple[str, int, Request, Arrays]] = []
        self._replies: dict[str, Message | None] = {}

    def set_run(self, run: Run) -> None: ...

    @property
    def run(self) -> Run:
        return Run.create_empty(run_id=1)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl or DEFAULT_TTL, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.connected.values())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            number = str(len(self._replies))
            message.metadata.__dict__["_message_id"] = number
            self._replies[number] = self._reply(message)
            ids.append(number)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        there = [(i, self._replies[i]) for i in message_ids]
        return [reply for _, reply in reversed(there) if reply is not None]  # the last asked answers first

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError

    def _reply(self, message: Message) -> Message | None:
        name = next(n for n, node in self.connected.items() if node == message.metadata.dst_node_id)
        request, arrays = decode_request(message)
        if message.metadata.message_type == "query.describe":
            counts = {"train": self.people[name], "held_out": 0, "test": 0}
            return answer(message, Answer(site=name, payload=Described(counts=counts)), {})
        if asks_for_patches(request):  # what comes before the rounds is nobody's script
            return answer(message, Answer(site=name, subjects=self.people[name], payload=Summed()), patches(request))
        arrays = trained_alone(offers.decode(arrays).models[0])
        self.asked.append((name, request.round, request, arrays))
        found = self.behaviour(name, request.round)
        if found is None:
            return None
        if isinstance(found, SiteCode):
            return refusal(message, found)
        if callable(found):
            header, arrays = found(name, arrays)
            return Message(encode(header, arrays), reply_to=message)
        moved = {n: (a + found).astype(np.float32) for n, a in arrays.items()}
        return answer(message, Answer(site=name, subjects=self.people[name], payload=TOLD[request.task]), moved)


def patches(request: Request) -> Arrays:
    """Sums of a person's patches, as the siamese model of the request has them."""
    return _patches(json.dumps(request.model))


@functools.cache
def _patches(model: str) -> Arrays:
    return build(MODELS, json.loads(model), setting()).statistics(PATCHES, People(1), np.random.default_rng(0))


def asks_for_patches(request: Request) -> bool:
    """Whether a request is for what comes before the rounds of a siamese model."""
    return request.payload == Sums(phase=PATCHES)


def trained_alone(model: Arrays) -> Arrays:
    """A model without the sums that came before its rounds, which go out with it and do not come back."""
    return {name: array for name, array in model.items() if not name.startswith(f"{SUMS}{PATCHES}.")}


def federation(study: StudyConfig, **changes: Any) -> StudyConfig:
    raw = study.model_dump(mode="json")
    raw["federation"] |= {"rounds": 1, "patience_s": 0.2, **changes}
    return resolve(raw, "test")


def run(
    study: StudyConfig,
    grid: ScriptedGrid,
    tmp_path: Path,
    pace: Pace | None = None,
    wall_clock: bool = True,
    sites: str = "abcd",
    secret: bytes = b"",
    members: dict[str, int] | None = None,
    **arm: Any,
) -> tuple[Progress, list[dict[str, Any]]]:
    identify()
    asker = Asker(grid, threading.Event(), forgiving=members is not None)
    roster = Roster(grid, asker, Letterhead(study), None if members is None else lambda: members)
    if members is None:
        roster.wait_for(len(grid.connected))
    else:
        roster.wait_for_members(frozenset, lambda sites: None)
    context = RunContext(
        Letterhead(study),
        roster,
        asker,
        EventLog(tmp_path / "events.jsonl"),
        pace,
        wall_clock=wall_clock,
        secret=secret,
    )
    model = build(MODELS, study.model, setting())
    described = Arm("federated", study.model, tuple(sites), {}, **{"federated": True, **arm})
    path = tmp_path / "arms" / "federated" / "progress.safetensors"
    progress = ArmTraining(described, model, lambda _: model.share(), context, path).run()
    return progress, progress.history


def moved(study: StudyConfig, progress: Progress) -> float:
    """How far the global model moved, always the samey weight."""
    first = build(MODELS, study.model, setting()).share()
    return float(np.mean([np.mean(progress.models[0][n] - a) for n, a in first.items()]))


STEP = {"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.8}


def mean_of(*sites: str) -> float:
    return sum(PEOPLE[s] * STEP[s] for s in sites) / sum(PEOPLE[s] for s in sites)
