"""A server that waits still hears that it is to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from flwr.app import Message
from scripted import PEOPLE, ScriptedGrid, federation

from normfed_common.foundation.errors import DatasetError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Answer, Described
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_common.wire.messages import answer
from normfed_server.coordinator import Coordinator
from normfed_server.events.kinds import Failed
from normfed_server.runs.following import Tail
from normfed_server.sites.asking import Interrupted
from normfed_server.sites.participants import Admitted, Simulated
from normfed_simulation.engines.local import identify


class SilentGrid(ScriptedGrid):
    """Sites that say who they are, and nothing more."""

    def __init__(self) -> None:
        super().__init__(lambda site, round: None)
        self.asked_to_train = threading.Event()

    def _reply(self, message: Message) -> Message | None:
        if message.metadata.message_type != "query.describe":
            self.asked_to_train.set()
            return None
        site = next(name for name, node in self.connected.items() if node == message.metadata.dst_node_id)
        counts = {"train": PEOPLE[site], "held_out": 0, "test": 3}
        return answer(message, Answer(site=site, payload=Described(counts=counts)), {})


class Untested(ScriptedGrid):
    """Sites that train, and say of those to test on only that they are too few."""

    def _reply(self, message: Message) -> Message | None:
        site = next(name for name, node in self.connected.items() if node == message.metadata.dst_node_id)
        counts = {"train": PEOPLE[site], "held_out": 0, "test": BELOW_MINIMUM}
        return answer(message, Answer(site=site, payload=Described(counts=counts)), {})


@pytest.mark.parametrize(
    ("deployed", "smallest"),
    [(False, "federation.minimum_cohort of the study, 3."), (True, "(minimum_people of its site.yaml).")],
)
def test_where_nobody_can_test_it_is_said_whose_minimum_is_not_reached(
    study: StudyConfig, tmp_path: Path, deployed: bool, smallest: str
) -> None:
    identify()
    grid = Untested(lambda site, round: None)
    small = federation(study, minimum_cohort=3)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(small.model_dump(mode="json")))
    participants = Admitted(lambda: grid.connected, frozenset) if deployed else Simulated(len(PEOPLE))
    with pytest.raises(DatasetError, match=r"No site can test: .*Too few: fewer than ") as caught:
        Coordinator(grid, tmp_path, participants).run()
    assert str(caught.value).endswith(smallest)
    *_, last = Tail(tmp_path / "events.jsonl").new()
    assert isinstance(last, Failed)  # so that whoever follows the run knows that it ended
    assert (last.arm, last.why) == ("federated", str(caught.value))


class StoppedWithin(SilentGrid):
    """Sites that compute in this very process, one after another; the first one's user presses Ctrl-C."""

    def __init__(self) -> None:
        super().__init__()
        self.began: list[int] = []

    def _reply(self, message: Message) -> Message | None:
        found = super()._reply(message)
        if found is None:
            self.began.append(message.metadata.dst_node_id)
            signal.raise_signal(signal.SIGINT)
        return found


def test_ctrl_c_ends_what_a_site_computes_in_this_process(study: StudyConfig, tmp_path: Path) -> None:
    """Before, the model was trained to its end first, for a minute and more without a word."""
    identify()
    grid = StoppedWithin()
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(federation(study).model_dump(mode="json")))
    with pytest.raises(KeyboardInterrupt):
        Coordinator(grid, tmp_path, Simulated(len(PEOPLE))).run()
    assert len(grid.began) == 1


@pytest.fixture
def heard() -> Iterator[threading.Event]:
    """Set once the handler of SIGUSR1 was called."""
    event = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: event.set())
    yield event
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_sent_by_another_thread_is_handled_while_everybody_is_waited_for(
    study: StudyConfig, tmp_path: Path, heard: threading.Event
) -> None:
    """Flower tells a run's process so that its executor has ended; before, it lived on while the SuperLink was away."""
    identify()
    grid = SilentGrid()
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(federation(study).model_dump(mode="json")))
    coordinator = Coordinator(grid, tmp_path, Simulated(len(PEOPLE)))

    in_time: list[bool] = []

    def tell() -> None:
        grid.asked_to_train.wait(120)
        signal.raise_signal(signal.SIGUSR1)
        in_time.append(heard.wait(120))
        coordinator.stop.set()

    teller = threading.Thread(target=tell)
    teller.start()
    with pytest.raises(Interrupted):
        coordinator.run()
    teller.join()
    assert in_time == [True]
