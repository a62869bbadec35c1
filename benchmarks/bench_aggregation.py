"""Peak memory of a server that averages 50 MB updates of 10 and of 100 sites, beside Flower's FedAvg on the same ones.

Sites answer in random order. Updates are made as they are fetched, so that only the server's memory counts. A figure is
the peak of a process of its own, less what it had before the round (the model itself among it), in models of 50 MB. The
limit is about 3, whatever the number of sites: the model as it is sent, one update, and the mean.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from common import machine
from flwr.app import Array, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.run import Run

from normfed_common.shipped import shipped_study
from normfed_common.studies import load_study
from normfed_common.study.config import StudyConfig
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.messages import encode
from normfed_server.arms.plan import Arm
from normfed_server.arms.strategy import RoundStrategy
from normfed_server.sites.asking import Asker
from normfed_server.sites.closing import Closing
from normfed_server.sites.collecting import Collection
from normfed_server.sites.letterhead import Letterhead
from normfed_server.steps.catalogue import make_step
from normfed_server.steps.progress import Progress
from normfed_simulation.engines.local import identify

ARRAYS, VALUES = 10, 1_250_000  # 50 MB of float32
MEGABYTE = 2**20


class AnsweringGrid(Grid):
    """Sites that answer one at a time, in random order, with the model they got, changed a little."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.asked: dict[str, Message] = {}

    def set_run(self, run: Run) -> None: ...

    @property
    def run(self) -> Run:
        return Run.create_empty(run_id=1)

    def create_message(self, *_: object, **__: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return range(1, 101)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self.asked = {str(i): message for i, message in enumerate(messages)}
        for number, message in self.asked.items():
            message.metadata.__dict__["_message_id"] = number
        return list(self.asked)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        waiting = list(message_ids)
        yield self.answer(self.asked[waiting[int(self.rng.integers(len(waiting)))]])

    def answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        record = encode(Answer(site=f"s{node:03d}", subjects=node, payload=Trained(loss=1.0)), {})
        for name, array in offers.decode(message.content.array_records["arrays"]).model.items():
            record.array_records["arrays"][name] = Array(array.numpy() + np.float32(0.01) * node)
        return Message(record, reply_to=message)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError


def peak() -> float:
    """Of this process so far, in models."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / (ARRAYS * VALUES * 4)


def most_steps(people: int) -> int:
    """The scripted sites claim none."""
    return 0


def normfed_round(study: StudyConfig, sites: int, model: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One round of the real strategy, collection and step."""
    arm = Arm("federated", study.model, tuple(f"s{i:03d}" for i in range(1, sites + 1)), {}, federated=True)
    progress = Progress([model])
    step = make_step(arm.strategy, study.federation)
    strategy = RoundStrategy(Letterhead(study), arm, progress, frozenset(), step)
    strategy.begin(frozenset(model), most_steps)
    strategy.asked = {site: i for i, site in enumerate(arm.train, 1)}
    strategy.people = dict.fromkeys(arm.train, 1)
    grid = AnsweringGrid()
    messages = strategy.configure_train(1, strategy.outgoing(), ConfigRecord(), grid)
    closing = Closing(strategy.people, sites, 0.0, 1e6)
    collection = Collection(Asker(grid, threading.Event()), dict(zip(arm.train, messages, strict=True)), closing)
    aggregated, _ = strategy.aggregate_train(1, (reply for _, reply in collection))
    assert aggregated is not None
    assert len(progress.used) == sites
    return progress.models[0]


def flower_round(study: StudyConfig, sites: int, model: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same updates through Flower's FedAvg."""
    grid = AnsweringGrid()
    arm = Arm("federated", study.model, ("s001",), {})
    step = make_step(arm.strategy, study.federation)
    strategy = RoundStrategy(Letterhead(study), arm, Progress([model]), frozenset(), step)
    strategy.begin(frozenset(model), most_steps)
    strategy.asked = {f"s{i:03d}": i for i in range(1, sites + 1)}
    replies = []
    for message in strategy.configure_train(1, strategy.outgoing(), ConfigRecord(), grid):
        reply = grid.answer(message)
        node = reply.metadata.src_node_id
        arrays = reply.content.array_records["arrays"]
        reply.content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": node})})
        replies.append(reply)
    aggregated, _ = FedAvg().aggregate_train(1, replies)
    assert aggregated is not None
    return {name: array.numpy() for name, array in aggregated.items()}


def measure(which: str, sites: int) -> None:
    """Print one figure; the result is checked against the closed form."""
    identify()
    study = load_study(shipped_study("siamese"))
    rng = np.random.default_rng(1)
    model = {f"network.{i}": rng.standard_normal(VALUES, np.float32) for i in range(ARRAYS)}
    first = model["network.3"].copy()
    before, begin = peak(), time.perf_counter()
    found = (normfed_round if which == "normfed" else flower_round)(study, sites, model)
    seconds = time.perf_counter() - begin
    nodes = np.arange(1, sites + 1)
    expected = first + 0.01 * (nodes**2).sum() / nodes.sum()
    np.testing.assert_allclose(found["network.3"], expected, rtol=1e-4, atol=1e-4)
    print(f"{which:8} {sites:4} sites: peak {peak() - before:6.1f} models of 50 MB, {seconds:5.1f} s a round")


def main() -> None:
    if len(sys.argv) == 3:
        measure(sys.argv[1], int(sys.argv[2]))
        return
    print(machine())
    for which, sites in (("normfed", 10), ("normfed", 100), ("flower", 10), ("flower", 100)):
        subprocess.run([sys.executable, str(Path(__file__)), which, str(sites)], check=True)


if __name__ == "__main__":
    main()
