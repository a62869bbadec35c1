"""The grid that finds out what is lost, against a SuperLink that loses on command."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict

from normfed_common.foundation.errors import SiteCode
from normfed_common.processes.pauses import Pauses
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.messages import FENCE, answer, decode_request, refusal, requests
from normfed_common.wire.requests import Request, TrainRound
from normfed_server.sites import delivery as module
from normfed_server.sites.delivery import Delivery
from normfed_server.sites.exchange import Forgetful
from normfed_simulation.engines.local import identify

REQUEST = Request(study="{}", arm="federated", model={"name": "x"}, payload=TrainRound(round=1))


class Link:
    """Flower's side: messages in order, one at a time a node, and whatever ``behave`` does to each."""

    def __init__(self, behave: Callable[[Message, int], Message | None]) -> None:
        self.behave = behave
        self.numbers = itertools.count(1)
        self.sent: list[Message] = []
        self.replies: dict[str, Message] = {}
        self.down = False
        self.activated = ""
        self.online = True
        self.looks = 0

    def get_nodes(self) -> list[Any]:
        if self.down:
            raise httpx.ConnectError("down")
        return [SimpleNamespace(node_id=5, last_activated_at=self.activated)] if self.online else []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        if self.down:
            raise httpx.ConnectTimeout("handshake timed out")
        found = []
        for message in messages:
            number = str(next(self.numbers))
            message.metadata.__dict__["_message_id"] = number
            kind = message.metadata.message_type
            tries = sum(m.metadata.message_type == kind for m in self.sent)
            self.sent.append(message)
            reply = self.behave(message, tries)
            if reply is not None:
                self.replies[number] = reply
            found.append(number)
        return found

    def pull_messages(self, numbers: Iterable[str]) -> list[Message]:
        if self.down:
            raise httpx.ReadError("down")
        self.looks += 1
        return [self.replies.pop(n) for n in numbers if n in self.replies]

    def of(self, kind: str) -> int:
        return sum(message.metadata.message_type == kind for message in self.sent)


class Immediately:
    """A pool whose work is done when it is submitted."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*arguments))
        return done

    def shutdown(self, **_: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    identify()
    monkeypatch.setattr(module, "PAUSES", Pauses(0.0, 0.0))
    for name in ("AGAIN_S", "NODES_S", "FENCE_S"):
        monkeypatch.setattr(module, name, 0.0)


def good(message: Message) -> Message:
    if message.metadata.message_type == FENCE:
        return Message(RecordDict(), reply_to=message)
    request, arrays = decode_request(message)
    assert request == REQUEST
    return answer(message, Answer(site="a", payload=Trained()), arrays)


def ask(link: Link, again: list[str] | None = None, looks: int = 400) -> Message | None:
    delivery = Delivery(link, 1, lambda node, why: (again if again is not None else []).append(why))  # type: ignore[arg-type]
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    message = requests({"a": 5}, REQUEST, arrays)["a"]
    (number,) = delivery.push_messages([message])
    for _ in range(looks):
        time.sleep(0.002)  # answers are fetched by other threads
        for found in delivery.pull_messages([number]):
            delivery.close()
            assert found.metadata.reply_to_message_id == number
            return found
    delivery.close()
    return None


def test_an_answer_arrives_and_nothing_is_sent_twice() -> None:
    link = Link(lambda message, tries: good(message))
    found = ask(link)
    assert found is not None
    assert link.of("train.round") == 1
    (packed,) = link.sent[0].content.array_records["arrays"].values()
    assert packed.stype == "safetensors"  # one array over the network, however many there are


def test_a_lost_answer_is_found_out_by_the_fence_behind_it() -> None:
    """A node that could not send its answer throws it away and says nothing; it does answer the fence."""
    again: list[str] = []

    def loses_first(message: Message, tries: int) -> Message | None:
        lost = message.metadata.message_type == "train.round" and tries == 0
        return None if lost else good(message)

    link = Link(loses_first)
    assert ask(link, again) is not None
    assert link.of("train.round") == 2
    assert again == ["its answer was lost on the way"]


def test_a_site_at_work_is_not_asked_again() -> None:
    link = Link(lambda message, tries: None)  # neither the request nor the fence behind it is answered yet
    assert ask(link, looks=200) is None
    assert link.of("train.round") == 1


def test_a_site_at_work_is_looked_for_less_and_less_often_and_with_its_fence_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An hour of training costs the SuperLink some hundreds of looks, not one every moment."""
    pauses, now = Pauses(0.5, 10.0), [1000.0]
    monkeypatch.setattr(module, "PAUSES", pauses)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    link = Link(lambda message, tries: None)
    delivery = Delivery(link, 1, lambda node, why: None)  # type: ignore[arg-type]
    delivery._pool = Immediately()  # type: ignore[assignment]
    (number,) = delivery.push_messages(requests({"a": 5}, REQUEST, {}).values())
    for _ in range(4 * 3600):
        now[0] += 0.25
        assert list(delivery.pull_messages([number])) == []
    assert 3600 / pauses.longest_s < link.looks < 3600 / pauses.longest_s + 80
    delivery.close()


@pytest.mark.parametrize(("answered_after_s", "fences"), [(4.75, 0), (5.25, 1)])
def test_what_is_answered_soon_is_spared_its_fence(
    answered_after_s: float, fences: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "FENCE_S", 5.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    link = Link(lambda message, tries: None)
    delivery = Delivery(link, 1, lambda node, why: None)  # type: ignore[arg-type]
    delivery._pool = Immediately()  # type: ignore[assignment]
    (number,) = delivery.push_messages(requests({"a": 5}, REQUEST, {}).values())
    while now[0] < 1000.0 + answered_after_s:
        now[0] += 0.25
        assert list(delivery.pull_messages([number])) == []
    link.replies["1"] = good(link.sent[0])
    found: list[Message] = []
    while not found:
        found = list(delivery.pull_messages([number]))
    assert link.of(FENCE) == fences
    delivery.close()


@pytest.mark.parametrize("code", [3, 5, 8])
def test_flowers_own_errors_are_asked_again(code: int) -> None:
    def fails_twice(message: Message, tries: int) -> Message | None:
        if message.metadata.message_type == FENCE:
            return None
        return Message(Error(code, "Flower's"), reply_to=message) if tries < 2 else good(message)

    link = Link(fails_twice)
    found = ask(link)
    assert found is not None
    assert found.has_content()
    assert link.of("train.round") == 3


def test_a_sites_own_refusal_is_an_answer() -> None:
    link = Link(lambda message, tries: refusal(message, SiteCode.OUT_OF_SPACE))
    found = ask(link)
    assert found is not None
    assert found.error.code == SiteCode.OUT_OF_SPACE
    assert link.of("train.round") == 1


def test_a_client_that_always_dies_is_given_up() -> None:
    def dies(message: Message, tries: int) -> Message | None:
        return None if message.metadata.message_type == FENCE else Message(Error(8, "stopped"), reply_to=message)

    link = Link(dies)
    found = ask(link)
    assert found is not None
    assert found.has_error()
    assert link.of("train.round") == module.FAILURES


def test_a_superlink_that_does_not_answer_is_waited_for() -> None:
    link = Link(lambda message, tries: good(message))
    link.down = True
    delivery = Delivery(link, 1, lambda node, why: None)  # type: ignore[arg-type]
    (number,) = delivery.push_messages(requests({"a": 5}, REQUEST, {}).values())
    for _ in range(50):
        time.sleep(0.002)
        assert list(delivery.pull_messages([number])) == []
    assert link.of("train.round") == 0
    link.down = False
    found: list[Message] = []
    for _ in range(400):
        time.sleep(0.002)
        found += delivery.pull_messages([] if found else [number])
    assert len(found) == 1
    delivery.close()


def test_a_node_that_came_back_is_given_another_fence() -> None:
    """It may have died with the request and the fence in hand: neither will ever be answered."""
    link = Link(lambda message, tries: None)
    link.activated = "2000-01-01T00:00:00+00:00"
    delivery = Delivery(link, 1, lambda node, why: None)  # type: ignore[arg-type]
    (number,) = delivery.push_messages(requests({"a": 5}, REQUEST, {}).values())
    for _ in range(20):
        time.sleep(0.002)
        list(delivery.pull_messages([number]))
    assert link.of(FENCE) == 1
    link.activated = "2100-01-01T00:00:00+00:00"
    link.behave = lambda message, tries: good(message)
    for _ in range(400):
        time.sleep(0.002)
        if list(delivery.pull_messages([number])):
            break
    else:
        pytest.fail("never asked again")
    assert link.of("train.round") == 2
    delivery.close()


def test_several_sites_share_what_is_packed() -> None:
    link = Link(lambda message, tries: None)
    delivery = Delivery(link, 1, lambda node, why: None)  # type: ignore[arg-type]
    delivery.push_messages(requests({"a": 5, "b": 6}, REQUEST, {"w": np.ones(3)}).values())
    first, second = (m.content.array_records["arrays"] for m in link.sent if m.metadata.message_type != FENCE)
    assert first["packed"].object_id == second["packed"].object_id  # Flower moves it once
    delivery.close()


def test_what_nobody_waits_for_is_forgotten_and_not_sent_again() -> None:
    link = Link(lambda message, tries: None)
    delivery = Delivery(link, 1, lambda node, why: None)  # type: ignore[arg-type]
    (number,) = delivery.push_messages(requests({"a": 5}, REQUEST, {}).values())
    assert isinstance(delivery, Forgetful)
    delivery.forget([number])
    assert delivery._deliveries == {}
    delivery.close()
