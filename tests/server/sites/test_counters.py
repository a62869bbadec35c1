"""The server keeps the counter of the longest ledger that a site spoke of, and sends it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict

from normfed_common.flower import act_as
from normfed_common.wire import messages
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.counter import Counter
from normfed_common.wire.requests import Request, TrainRound
from normfed_server.sites.counters import Counters, KeptCounters

REQUEST = Request(study="{}", arm="federated", model={"name": "atlas"}, payload=TrainRound(round=1))


@pytest.fixture(autouse=True)
def _server() -> None:
    act_as(1, 1)


def counter(entries: int) -> Counter:
    return Counter(entries=entries, head="a" * 64, signature="00" * 100)


def request() -> Message:
    return messages.requests({"a": 1}, REQUEST, {"w": np.ones(3, np.float32)})["a"]


def reply(ledger: Counter | None) -> Message:
    return messages.answer(request(), Answer(site="a", payload=Trained(), ledger=ledger), {})


@pytest.fixture(params=["memory", "disk"])
def counters(request: pytest.FixtureRequest, tmp_path: Path) -> Counters:
    return Counters() if request.param == "memory" else KeptCounters(tmp_path / "counters")


def test_the_longest_ledger_a_site_spoke_of_goes_back_to_that_site_alone(counters: Counters) -> None:
    plain = request()
    assert counters.stamped("a", plain) is plain
    for heard in (counter(2), counter(5), None, counter(3)):
        counters.hear("a", reply(heard))
    header, arrays = messages.decode_request(counters.stamped("a", plain))
    assert header == REQUEST.model_copy(update={"ledger": counter(5)})
    assert arrays["w"].tolist() == [1, 1, 1]
    assert counters.stamped("b", plain) is plain


def test_a_request_with_a_counter_shares_its_arrays_with_the_others(counters: Counters) -> None:
    counters.hear("a", reply(counter(1)))
    plain = request()
    stamped = counters.stamped("a", plain)
    assert stamped.content.array_records["arrays"] is plain.content.array_records["arrays"]
    assert stamped.metadata.message_type == plain.metadata.message_type
    assert stamped.metadata.dst_node_id == plain.metadata.dst_node_id


def test_what_is_no_answer_of_ours_says_nothing(counters: Counters) -> None:
    counters.hear("a", Message(Error(200, "no"), reply_to=request()))
    counters.hear("a", Message(RecordDict(), reply_to=request()))
    assert counters.of("a") is None


def test_counters_outlive_the_process_and_a_damaged_file(tmp_path: Path) -> None:
    KeptCounters(tmp_path / "c").hear("a", reply(counter(4)))
    assert KeptCounters(tmp_path / "c").of("a") == counter(4)
    (tmp_path / "c" / "a.json").write_text("{")
    assert KeptCounters(tmp_path / "c").of("a") is None
    KeptCounters(tmp_path / "c").hear("a", reply(counter(5)))
    assert KeptCounters(tmp_path / "c").of("a") == counter(5)
