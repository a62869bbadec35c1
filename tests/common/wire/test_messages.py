"""The door: what is a message, and every bound beyond which nothing is taken."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from envelopes import ANSWER, message, of
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normfed_common.foundation.errors import ProtocolError, SiteCode, WireError
from normfed_common.wire import messages, packing
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.messages import decode_answer, decode_request, encode
from normfed_common.wire.requests import Request, Sums, TrainRound
from normfed_server.sites.asking import describe
from normfed_simulation.engines.local import identify

REQUEST = Request(study="{}", arm="federated", model={"name": "siamese"}, payload=TrainRound(round=3))


TRAINED = Answer(site="a", payload=Trained())


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
        with pytest.raises(WireError, match=f"array 'w' is '{stype}' of 'float64'; allowed: float32"):
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


@pytest.mark.parametrize("code", [0, 1, 199, 1000, -5])
def test_a_code_that_is_not_ours_is_an_internal_error(code: int) -> None:
    failed = Message(Error(code, "Traceback of /home/jane"), reply_to=message(ANSWER))
    assert messages.error_code(failed) is SiteCode.INTERNAL


@pytest.mark.parametrize("code", [299, 999])
def test_the_code_of_a_newer_version_is_shown_with_its_number(code: int) -> None:
    found = messages.error_code(Message(Error(code, "text of the site"), reply_to=message(ANSWER)))
    assert (found, found.of_the_study, found in tuple(SiteCode)) == (code, False, False)
    assert describe(found) == (
        f"a reason that only newer versions of normfed know (code {code}) (code {code} OF_A_NEWER_VERSION)"
    )


def test_of_a_request_that_cannot_be_read_its_protocol_can() -> None:
    """A hospital says that the server is of another protocol, and not that it spoke nonsense."""
    newer = {**REQUEST.model_dump(mode="json"), "protocol": 2, "unheard_of": True}
    with pytest.raises(ProtocolError, match="is of protocol 2, and 1 is spoken here"):
        decode_request(message(newer))
    for protocol in (1, "2", True, None, [2]):
        with pytest.raises(WireError) as caught:
            decode_request(message({**newer, "protocol": protocol}))
        assert not isinstance(caught.value, ProtocolError)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,20}", fullmatch=True),
        hnp.arrays(
            st.sampled_from([np.float32, np.float64]),
            hnp.array_shapes(min_dims=0, max_dims=3, max_side=4),
            elements=st.floats(-1e6, 1e6, width=32),
        ),
        max_size=4,
    )
)
def test_arrays_cross_bit_for_bit(arrays: dict[str, np.ndarray]) -> None:
    header, found = decode_request(of(encode(REQUEST, arrays)))
    assert header == REQUEST
    assert set(found) == set(arrays)
    for name in arrays:
        assert found[name].dtype == arrays[name].dtype
        np.testing.assert_array_equal(found[name], arrays[name])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(WireError, match="not finite"):
        decode_answer(of(encode(TRAINED, {"w": np.array([1.0, value])})))


@pytest.mark.parametrize("kind", ["complex64", "uint8", "bool", "int32"])
def test_types_outside_the_list_are_refused(kind: str) -> None:
    with pytest.raises(WireError, match="allowed: float32, float64, int64"):
        decode_answer(of(encode(TRAINED, {"w": np.zeros(2, kind)})))


def test_pickled_objects_are_refused() -> None:
    record = encode(TRAINED, {})
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    record["arrays"] = ArrayRecord({"w": Array("float64", (1,), "numpy.ndarray", buffer.getvalue())})
    with pytest.raises(WireError, match="not what its record says"):
        decode_answer(of(record))


def test_a_header_that_lies_about_an_array_is_refused() -> None:
    record = encode(TRAINED, {})
    honest = Array(np.zeros(3))
    record["arrays"] = ArrayRecord({"w": Array("float64", (4,), honest.stype, honest.data)})
    with pytest.raises(WireError, match="not what its record says"):
        decode_answer(of(record))


def test_unknown_fields_and_extra_records_are_refused() -> None:
    record = encode(TRAINED, {})
    record["header"] = ConfigRecord({"json": json.dumps(TRAINED.model_dump() | {"patient": "Jane"})})
    with pytest.raises(WireError, match="patient"):
        decode_answer(of(record))
    record = encode(TRAINED, {})
    record["more"] = ConfigRecord({})
    with pytest.raises(WireError, match="expected arrays and header"):
        decode_answer(of(record))


def test_absurd_sizes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAXIMUM_BYTES", 1000)
    with pytest.raises(WireError, match="at most 1,000"):
        decode_answer(of(encode(TRAINED, {"w": np.zeros(1000)})))


def test_a_refusal_carries_a_code_and_the_codes_own_sentence_only() -> None:
    refused = messages.refusal(of(encode(REQUEST, {})), SiteCode.DATA_UNUSABLE)
    assert refused.error.code == 202
    assert refused.error.reason == SiteCode.DATA_UNUSABLE.sentence
    assert messages.error_code(refused) is SiteCode.DATA_UNUSABLE


def test_every_code_has_a_sentence() -> None:
    assert all(code.sentence for code in SiteCode)


def packed_request(record: ArrayRecord) -> Message:
    return of(RecordDict({"header": ConfigRecord({"json": REQUEST.model_dump_json()}), "arrays": record}))


@pytest.mark.parametrize("value", [np.array([np.inf], np.float32), np.zeros(3, np.uint8), np.zeros(2, bool)])
def test_what_is_packed_is_checked_like_anything_else(value: np.ndarray) -> None:
    with pytest.raises(WireError, match=r"not finite|allowed"):
        decode_request(packed_request(packing.pack({"w": value})))


def test_what_was_packed_badly_is_refused() -> None:
    whole = packing.pack({"w": np.ones(3)})[packing.NAME].data
    for content in (b"", b"\x00" * 8, b"\xff" * 100, whole[:-1], whole + b"x"):
        record = ArrayRecord({packing.NAME: Array("uint8", (len(content),), packing.STYPE, content)})
        with pytest.raises(WireError, match="cannot be read"):
            decode_request(packed_request(record))


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_is_packed_where_the_request_was(packed: bool) -> None:
    reply = messages.answer(of(encode(REQUEST, {"w": np.ones(3)}, packed)), TRAINED, {"w": np.zeros(3)})
    assert packing.is_packed(reply.content.array_records["arrays"]) is packed
    _, found = decode_answer(reply)
    np.testing.assert_array_equal(found["w"], np.zeros(3))


@pytest.mark.parametrize(("stype", "dtype"), [("\x1b[2J\x1b[8m", "float32"), ("numpy.ndarray", "\x1b[2J\n")])
def test_what_a_record_calls_its_arrays_does_not_reach_the_operators_terminal(stype: str, dtype: str) -> None:
    """Once the screen was cleared, and what came after it hidden, by why a site was set aside."""
    with pytest.raises(WireError) as refused:
        decode_answer(message(ANSWER, ArrayRecord({"a": Array(dtype, (1,), stype, b"x")})))
    assert str(refused.value).isprintable()
