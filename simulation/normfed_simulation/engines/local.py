"""A Flower Grid in this process: calls the ClientApp itself, or spreads the calls over worker processes.

The same messages, serialised the same way, as on Flower's own runtimes; no ports, no polling, no scheduler.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from flwr.app import DEFAULT_TTL, Context, Message, RecordDict
from flwr.serverapp import Grid

from normfed_client.answering.serving import call, from_bytes, to_bytes
from normfed_client.hospital.simulated import SITES_VARIABLE
from normfed_common.flower import SUPERLINK_NODE_ID, Run, act_as
from normfed_common.processes.ticks import heard
from normfed_common.processes.workers import WorkerPool
from normfed_common.wire.messages import asked
from normfed_server.app import EXPECTED_VARIABLE, RUN_VARIABLE
from normfed_server.app import app as server_app
from normfed_server.events.fleeting import Scanned
from normfed_server.events.log import pass_on

RUN_ID = 1
Tamper = Callable[[Message, Message], Message]


class LocalGrid(Grid):
    """Node ids 1..n are the sites; node i plays partition i - 1.

    Parameters
    ----------
    nodes
        How many sites.
    workers
        Processes that run ClientApps; 0 runs them here, one after another.
    tamper
        What happens to an answer on its way: takes the request and the answer, returns the answer that arrives.
    """

    def __init__(self, nodes: int, workers: int, tamper: Tamper | None = None) -> None:
        self.nodes, self.workers, self.tamper = nodes, workers, tamper
        # More arms under way than workers: while one waits for its slowest site, another's sites work.
        self.concurrent_arms = workers + 1 if workers else 1
        self._pool = WorkerPool("normfed_client.answering.serving:serve_message", workers) if workers else None
        self._numbers = itertools.count(1)
        self._pending: dict[str, tuple[Message, Future[Message]]] = {}

    def set_run(self, run: Run) -> None:
        """There is one run only."""

    @property
    def run(self) -> Run:
        """The run of this grid."""
        return Run.create_empty(run_id=RUN_ID)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl or DEFAULT_TTL, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All sites, always there."""
        return range(1, self.nodes + 1)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Start work on messages."""
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers that are ready."""
        ready = [i for i in message_ids if self._pending[i][1].done()]
        return [self._arrived(i) for i in ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, then wait for every answer."""
        return [self._arrived(i, timeout) for i in self.push_messages(messages)]

    def close(self) -> None:
        """End the workers."""
        if self._pool:
            self._pool.close()

    def _push(self, message: Message) -> str:
        number = str(next(self._numbers))
        message.metadata.__dict__["_message_id"] = number
        future: Future[Message] = Future()
        ticked = partial(_ticked, message)
        if self._pool is None:
            with heard(ticked):
                future.set_result(call(message))
        else:
            self._pool.submit(partial(to_bytes, message), ticked).add_done_callback(partial(_pass_on, future))
        self._pending[number] = (message, future)
        return number

    def _arrived(self, number: str, timeout: float | None = None) -> Message:
        message, future = self._pending.pop(number)
        reply = future.result(timeout)
        return self.tamper(message, reply) if self.tamper else reply


def _ticked(message: Message) -> None:
    """A site is done with one more scan of what a message asks."""
    request = asked(message)
    pass_on(Scanned(arm=request.arm, task=request.task))


def _pass_on(future: Future[Message], job: Future[bytes]) -> None:
    if job.cancelled():
        future.cancel()
    elif (error := job.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(from_bytes(job.result()))


def identify() -> None:
    """Tell Flower that this process is the server of a run; its messages carry that."""
    act_as(RUN_ID, SUPERLINK_NODE_ID)


def run(folder: Path, sites: Path, count: int, workers: int, tamper: Tamper | None = None) -> None:
    """Run the ServerApp here on a grid of ``count`` sites."""
    identify()
    os.environ[SITES_VARIABLE] = str(sites)
    os.environ[RUN_VARIABLE] = str(folder)
    os.environ[EXPECTED_VARIABLE] = str(count)
    grid = LocalGrid(count, workers, tamper)
    try:
        server_app(grid, Context(RUN_ID, 0, {}, RecordDict(), {}))
    finally:
        grid.close()
