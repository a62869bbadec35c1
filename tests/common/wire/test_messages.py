"""The door: what is a message, and every bound beyond which nothing is taken."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from envelopes import ANSWER, message, of
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict

from normfed_common.foundation.errors import SiteCode, WireError
from normfed_common.wire import messages, packing
from normfed_common.wire.requests import Request, Sums, TrainRound
from normfed_simulation.engines.local import identify


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"site": "a"', '{"site": "a", "site": }', "[" * 100_000])
def test_a_header_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="header is wrong"):
        messages.decode_answer(message(text))


def test_a_header_is_read_up_to_its_length() -> None:
    text = json.dumps(ANSWER)
    padded = text + " " * (messages.MAXIMUM_HEADER - len(text))
    assert messages.decode_answer(message(padded))[0].site == "a"
    with pytest.raises(WireError, match="sensible length"):
        messages.decode_answer(message(padded + " "))


@pytest.mark.parametrize("header", [{"json": 5}, {"json": b"{}"}])
def test_a_header_that_is_not_text_is_refused(header: dict[str, Any]) -> None:
    content = RecordDict({"header": ConfigRecord(header), "arrays": ArrayRecord()})
    with pytest.raises(WireError, match="not text"):
        messages.decode_answer(of(content))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"arrays": ArrayRecord()},
        {"header": ConfigRecord({"json": "{}"})},
        {"header": ConfigRecord({"text": "{}"}), "arrays": ArrayRecord()},
        {"header": ConfigRecord({"json": "{}", "more": 1}), "arrays": ArrayRecord()},
        {"header": ArrayRecord(), "arrays": ArrayRecord()},
    ],
    ids=["nothing", "no header", "no arrays", "another key", "a key more", "arrays for a header"],
)
def test_a_message_of_other_records_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="expected arrays and header"):
        messages.decode_request(of(RecordDict(content)))


def arrays(*names: str, packed: bool = False) -> ArrayRecord:
    values = {name: np.zeros(1) for name in names}
    return packing.pack(values) if packed else messages.to_record(values)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["", "../w", "/w", ".w", "a b", "a\n", "w\u00e4", "a" * 251])
def test_an_array_of_another_name_is_refused(name: str, packed: bool) -> None:
    messages.decode_answer(message(ANSWER, arrays("network/0.weight_1-a", "a" * 250, packed=packed)))
    with pytest.raises(WireError, match="array's name is not one"):
        messages.decode_answer(message(ANSWER, arrays("w", name, packed=packed)))


@pytest.mark.parametrize("packed", [False, True])
def test_as_many_arrays_as_allowed_are_taken_and_no_more(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAXIMUM_ARRAYS", 3)
    assert len(messages.decode_answer(message(ANSWER, arrays(*"abc", packed=packed)))[1]) == 3
    with pytest.raises(WireError, match="holds 4 arrays; at most 3"):
        messages.decode_answer(message(ANSWER, arrays(*"abcd", packed=packed)))


@pytest.mark.parametrize("packed", [False, True])
def test_as_many_bytes_as_allowed_are_taken_and_no_more(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = message(ANSWER, arrays("a", "b", packed=packed))
    monkeypatch.setattr(messages, "MAXIMUM_BYTES", messages.size_of(sent))
    messages.decode_answer(sent)
    monkeypatch.setattr(messages, "MAXIMUM_BYTES", messages.size_of(sent) - 1)
    with pytest.raises(WireError, match="bytes of arrays; at most"):
        messages.decode_answer(sent)


def test_an_array_that_is_written_otherwise_is_refused() -> None:
    honest = Array(np.zeros(2))
    for stype in ("torch.Tensor", packing.STYPE):
        with pytest.raises(WireError, match=f"array 'w' is {stype} of float64; allowed: float32"):
            messages.decode_answer(message(ANSWER, ArrayRecord({"w": Array("float64", (2,), stype, honest.data)})))


@pytest.mark.parametrize("packed", [False, True])
def test_consuming_an_answer_leaves_no_array_in_it(packed: bool) -> None:
    for consume in (True, False):
        sent = message(ANSWER, arrays("a", "b", packed=packed))
        assert set(messages.decode_answer(sent, consume)[1]) == {"a", "b"}
        assert (messages.size_of(sent) == 0) is consume


@pytest.fixture
def server() -> None:
    """Flower wants to know who sends a message that answers none."""
    identify()


@pytest.mark.usefixtures("server")
def test_requests_to_several_sites_share_one_record() -> None:
    header = Request(study="{}", arm="federated", model={}, payload=Sums(phase="moments"))
    sent = messages.requests({"a": 11, "b": 12}, header, {"w": np.ones(2)})
    assert {site: m.metadata.dst_node_id for site, m in sent.items()} == {"a": 11, "b": 12}
    assert {m.metadata.message_type for m in sent.values()} == {"train.sums"}
    assert sent["a"].content is sent["b"].content
    assert messages.decode_request(sent["b"])[0] == header


@pytest.mark.usefixtures("server")
def test_a_request_to_one_site_carries_its_round_and_shared_arrays() -> None:
    shared = arrays("w")
    header = Request(study="{}", arm="federated", model={}, payload=TrainRound(round=7))
    sent = messages.request(11, header, shared)
    assert (sent.metadata.dst_node_id, sent.metadata.group_id) == (11, "7")
    assert sent.metadata.message_type == "train.round"
    assert sent.content.array_records["arrays"] is shared
    assert messages.decode_request(sent)[0].round == 7


def test_the_size_of_a_message_is_that_of_its_arrays_and_an_error_has_none() -> None:
    sent = message(ANSWER, arrays("a", "b"))
    assert messages.size_of(sent) == 2 * len(Array(np.zeros(1)).data)
    assert messages.size_of(messages.refusal(sent, SiteCode.INTERNAL)) == 0


def test_packing_a_message_keeps_its_header_and_values() -> None:
    plain = message(ANSWER, arrays("a", "b"))
    once = messages.packed(plain)
    assert packing.is_packed(once.array_records["arrays"])
    said, found = messages.decode_answer(of(once))
    assert (said.site, set(found)) == ("a", {"a", "b"})
    before = packing.pack({"c": np.ones(1)})
    assert messages.packed(plain, before).array_records["arrays"] is before


@pytest.mark.parametrize("code", [0, 1, 199, 299, -5])
def test_a_code_that_is_not_ours_is_an_internal_error(code: int) -> None:
    failed = Message(Error(code, "Traceback of /home/jane"), reply_to=message(ANSWER))
    assert messages.error_code(failed) is SiteCode.INTERNAL
