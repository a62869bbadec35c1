"""A Flower Grid around Flower's own that loses nothing: what was lost on the way is asked for again.

Flower drops an answer when a site's link breaks while it is sent, when a site's node dies with a request in hand, and
when a node counts as offline for a moment. A request that is repeated costs a site nothing, since its outbox holds the
answer. So the only question is when to ask again: not while a site is still at work (a model may weigh hundreds of
megabytes), and not never.

Behind a request that is not answered soon goes a *fence*, a request without content. A node works on one message after
another, oldest first, so a fence that is answered while the request before it is not says that the request, or its
answer, is lost.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

import httpx
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from normfed_common.flower import NodeInfo, Run
from normfed_common.foundation.errors import SiteCode
from normfed_common.processes.pauses import Pauses
from normfed_common.wire import messages as wire
from normfed_common.wire.messages import FENCE

TTL_S = 14 * 86400.0  # Flower forgets messages after twelve hours; a round of training may last longer
PAUSES = Pauses(0.5, 3.0)  # between two looks for a site's answer
NODES_S = 2.0
AGAIN_S = 2.0  # between an error of Flower's and the next try
FENCE_S = 5.0  # after the request; what is answered sooner is spared half of all messages
FENCE_AGAIN_S = 600.0  # doubles every time: what no rule above foresaw is found in the end
PULLS = 4  # answers on their way at once; each may weigh as much as the model
FAILURES = 20  # a site whose client dies so often with one request is given up for the round

logger = logging.getLogger(__name__)


@dataclass
class _Delivery:
    """One request, however often it was sent."""

    number: str
    message: Message
    sent: dict[str, float] = field(default_factory=dict)  # Flower's id to the wall clock
    fences: dict[str, str] = field(default_factory=dict)  # fence's id to the id it stands behind
    due: float = 0.0  # by the monotonic clock: when to send (again); infinite while it is under way
    fence_due: float = 0.0
    fence_pause_s: float = FENCE_AGAIN_S
    asked: float = 0.0  # by the monotonic clock: when it was sent last, and looked for
    looked: float = 0.0
    failures: int = 0
    why: str = ""  # it is sent again
    pull: Future[Message | str | None] | None = None

    @property
    def node(self) -> int:
        return int(self.message.metadata.dst_node_id)


class Delivery(Grid):
    """Numbers of its own stand for requests, however often they are sent under Flower's.

    Parameters
    ----------
    grid
        Flower's grid of the run.
    concurrent_arms
        Models trained at the same time: while one site trains its own, others train theirs.
    again
        Told the node, and why it is asked again.
    """

    def __init__(self, grid: Grid, concurrent_arms: int, again: Callable[[int, str], None]) -> None:
        self.grid, self.concurrent_arms, self.again = grid, concurrent_arms, again
        self._numbers = itertools.count(1)
        self._deliveries: dict[str, _Delivery] = {}
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(PULLS, thread_name_prefix="pull")
        self._nodes: dict[int, NodeInfo] = {}
        self._nodes_asked = -NODES_S

    def set_run(self, run: Run) -> None:
        """See Grid."""
        self.grid.set_run(run)

    @property
    def run(self) -> Run:
        """See Grid."""
        return self.grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See Grid."""
        return Message(content, dst_node_id, message_type, ttl=ttl or TTL_S, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Nodes that are online; the last known while the SuperLink does not answer."""
        with self._lock:
            if time.monotonic() - self._nodes_asked > NODES_S:
                self._nodes_asked = time.monotonic()
                try:
                    self._nodes = {int(node.node_id): node for node in self.grid.get_nodes()}
                except httpx.HTTPError as error:
                    logger.warning("nodes: %s", type(error).__name__)
            return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take over requests; they go out with the next look for answers, or at once where that works."""
        numbers = []
        with self._lock:
            for message in messages:
                delivery = _Delivery(str(next(self._numbers)), message)
                self._deliveries[delivery.number] = delivery
                numbers.append(delivery.number)
            self._send([self._deliveries[number] for number in numbers])
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Answers that are there, a few at a time; sends again what was lost."""
        found = []
        with self._lock:
            deliveries = [self._deliveries[number] for number in message_ids]
            for delivery in deliveries:
                if delivery.pull is not None and delivery.pull.done():
                    answer = self._settled(delivery)
                    if answer is not None:
                        found.append(answer)
            open_ = [d for d in deliveries if d.number in self._deliveries]
            now, online = time.monotonic(), set(self.get_node_ids())
            self._send([d for d in open_ if d.due <= now and d.node in online])
            self._fence([d for d in open_ if d.sent and (d.fence_due <= now or self._activated(d))])
            under_way = sum(d.pull is not None for d in open_)
            ready = [d for d in open_ if d.pull is None and d.sent and now - d.looked >= PAUSES.after(now - d.asked)]
            for delivery in sorted(ready, key=lambda d: d.looked)[: PULLS - under_way]:
                delivery.looked = now
                delivery.pull = self._pool.submit(self._pull, delivery)
        return found

    def forget(self, message_ids: Iterable[str]) -> None:
        """Requests whose answers nobody waits for any more: they are not sent again, and take no memory."""
        with self._lock:
            for number in message_ids:
                self._deliveries.pop(number, None)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, then wait for every answer."""
        waiting = set(self.push_messages(messages))
        end = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while waiting and time.monotonic() < end:
            for answer in self.pull_messages(waiting):
                waiting.discard(answer.metadata.reply_to_message_id)
                yield answer
            time.sleep(PAUSES.shortest_s)

    def close(self) -> None:
        """No answer is pulled any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, deliveries: list[_Delivery]) -> None:
        """Send what is due; what cannot be sent now is due again."""
        if not deliveries:
            return
        packed: dict[int, ArrayRecord] = {}  # what several sites are sent is packed, and moved, once
        numbers = self._push([_copy(delivery.message, packed) for delivery in deliveries])
        now = time.monotonic()
        for delivery, number in zip(deliveries, numbers, strict=True):
            if not number:
                delivery.due = now + AGAIN_S
                continue
            delivery.sent[number] = time.time()
            delivery.asked = delivery.looked = now
            delivery.due, delivery.fence_due = float("inf"), now + FENCE_S
            if delivery.why:
                self.again(delivery.node, delivery.why)

    def _fence(self, deliveries: list[_Delivery]) -> None:
        """Put a fence behind requests that are under way."""
        deliveries = [d for d in deliveries if d.due == float("inf")]
        if not deliveries:
            return
        numbers = self._push([Message(RecordDict(), d.node, FENCE, ttl=TTL_S, group_id="0") for d in deliveries])
        now = time.monotonic()
        for delivery, number in zip(deliveries, numbers, strict=True):
            if number:
                delivery.fences[number] = max(delivery.sent, key=lambda key: delivery.sent[key])
                delivery.fence_due = now + delivery.fence_pause_s
                delivery.fence_pause_s *= 2
            else:
                delivery.fence_due = now + AGAIN_S

    def _push(self, messages: list[Message]) -> list[str]:
        """Flower's ids; empty for what could not be sent."""
        try:
            return [number or "" for number in self.grid.push_messages(messages)]
        except httpx.HTTPError as error:
            logger.warning("%d messages could not be sent (%s)", len(messages), type(error).__name__)
            return [""] * len(messages)

    def _activated(self, delivery: _Delivery) -> bool:
        """Whether the node came back after the last fence was put up: it may have died with both in hand."""
        node = self._nodes.get(delivery.node)
        if node is None or not node.last_activated_at or delivery.due != float("inf"):
            return False
        activated = datetime.fromisoformat(node.last_activated_at).timestamp()
        last = max(delivery.sent.values())
        if activated <= last:
            return False
        delivery.sent = dict.fromkeys(delivery.sent, activated)
        return True

    def _pull(self, delivery: _Delivery) -> Message | str | None:
        """The answer, from whichever of the sendings has one; or why it is known to be lost."""
        looked_for = [*delivery.sent, *delivery.fences]  # in one look: each takes the SuperLink longer than its content
        found = {answer.metadata.reply_to_message_id: answer for answer in self.grid.pull_messages(looked_for)}
        for number in delivery.sent:
            if number in found:
                return found[number]
        for fence, answer in found.items():
            behind = delivery.fences.pop(fence)
            if answer.has_error() and not _flowers_own(answer):
                continue
            if answer.has_error():
                delivery.fence_due = 0.0  # the fence itself was lost: another
                continue
            # The answer may have come after the SuperLink looked for it, and before it looked for the fence.
            for late in self.grid.pull_messages([behind]):
                return late
            return _WHY[3]
        return None

    def _settled(self, delivery: _Delivery) -> Message | None:
        """The answer under our number, once it is one to keep."""
        future, delivery.pull = delivery.pull, None
        if future is None:
            return None
        try:
            answer = future.result()
        except httpx.HTTPError as error:
            logger.warning("answers could not be fetched (%s)", type(error).__name__)
            return None
        if answer is None:
            return None
        if isinstance(answer, str):
            self._again(delivery, answer)
            return None
        if _flowers_own(answer):
            delivery.failures += answer.error.code in (2, 8)  # the work itself died, not the message
            if delivery.failures < FAILURES:
                self._again(delivery, _WHY.get(answer.error.code, _WHY[3]))
                return None
        del self._deliveries[delivery.number]
        answer.metadata.__dict__["_reply_to_message_id"] = delivery.number
        return answer

    def _again(self, delivery: _Delivery, why: str) -> None:
        delivery.why, delivery.due = why, time.monotonic() + AGAIN_S
        delivery.sent, delivery.fences = {}, {}


_WHY = {
    2: "its client failed without a code",
    3: "its answer was lost on the way",
    5: "its node was offline",
    8: "its client stopped",
}


def _copy(message: Message, packed: dict[int, ArrayRecord]) -> Message:
    """The same request as a new message, packed."""
    arrays, metadata = message.content.array_records["arrays"], message.metadata
    content = wire.packed(message, packed.get(id(arrays)))
    packed[id(arrays)] = content.array_records["arrays"]
    return Message(content, metadata.dst_node_id, metadata.message_type, ttl=TTL_S, group_id=metadata.group_id)


def _flowers_own(answer: Message) -> bool:
    """Whether an error is Flower's, not a site's code: it says nothing about the site's work."""
    return answer.has_error() and answer.error.code < min(SiteCode)
