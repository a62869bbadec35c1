"""Requests and answers: what crosses as it is, and every bound beyond which nothing is taken."""

from __future__ import annotations

import json
import string
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.foundation.errors import SiteCode, WireError
from normfed_common.wire import messages, packing
from normfed_common.wire.messages import Answer, Machine, Request
from normfed_simulation.engines.local import identify

REQUEST = {"study": "{}", "arm": "federated", "model": {"name": "atlas"}}
ANSWER = {"site": "a"}
MACHINE = {
    "normfed": "0.1.0", "flwr": "1.41.0", "torch": "2.13.0+cpu", "python": "3.11.7", "study": "0f",
    "cores": 8, "memory_gb": 16.0, "disk_gb": 100.0,
}  # fmt: skip


def message(header: dict[str, Any] | str, arrays: ArrayRecord | None = None) -> Message:
    """A message with whatever header and arrays."""
    text = header if isinstance(header, str) else json.dumps(header)
    content = RecordDict({"header": ConfigRecord({"json": text}), "arrays": arrays or ArrayRecord()})
    return of(content)


def of(content: RecordDict) -> Message:
    return Message(content=content, metadata=Metadata(1, "m", 1, 2, "", "", 0.0, 100.0, "train.round"))  # type: ignore[call-overload,no-any-return]


WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
REQUESTS = st.builds(
    Request,
    study=st.text(max_size=30),
    run=st.just("") | WORD,
    arm=WORD,
    model=st.dictionaries(WORD, st.integers() | st.text() | st.lists(st.booleans()), max_size=3),
    compression=st.sampled_from(["none", "fp16", "bf16", "int8"]),
    round=st.integers(0, messages.MOST_ROUNDS),
    repeat=st.integers(0, 100),
    since=st.integers(0, messages.MOST_ROUNDS),
    stage=st.just("") | WORD,
    detail=st.sampled_from(["full", "ranking"]),
    low=st.floats(allow_nan=False, allow_infinity=False),
    high=st.floats(allow_nan=False, allow_infinity=False),
    threshold=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    maps=st.booleans(),
)
ANSWERS = st.builds(
    Answer,
    site=WORD,
    subjects=st.integers(0, messages.MOST_PEOPLE),
    loss=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    received_loss=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    steps=st.integers(0, 10**12),
    cluster=st.integers(0, 10_000),
    seconds=st.floats(0, 1e9),
    notes=st.lists(st.text(string.printable[:95], min_size=1, max_size=300), max_size=8).map(tuple),
    labels=st.lists(WORD, max_size=5).map(tuple),
    counts=st.dictionaries(st.sampled_from(["train", "test", "held_out"]), st.integers(-1, messages.MOST_PEOPLE)),
    machine=st.none() | st.builds(Machine, **{key: st.just(value) for key, value in MACHINE.items()}),
)


@given(REQUESTS, ANSWERS, st.booleans())
def test_headers_cross_digit_for_digit(request: Request, answer: Answer, packed: bool) -> None:
    arrays = {"w": np.arange(3.0)}
    asked, there = messages.decode_request(of(messages.encode(request, arrays, packed)))
    said, back = messages.decode_answer(of(messages.encode(answer, arrays, packed)))
    assert (asked, said) == (request, answer)
    for found in (there, back):
        np.testing.assert_array_equal(found["w"], arrays["w"])


LONG = "a" * 1000
MOST = messages.MOST_PEOPLE
# Of each field: the last value that is taken, and the first ones that are not.
BOUNDS: list[tuple[dict[str, Any], str, Any, list[Any]]] = [
    (REQUEST, "study", "s" * messages.MAXIMUM_STUDY, ["s" * (messages.MAXIMUM_STUDY + 1), {}]),
    (REQUEST, "run", LONG[:120], [LONG[:121], "../a", ".a", "a/b", "a\n", "\u00e4"]),
    (REQUEST, "arm", "a#~+" + LONG[:146], [LONG[:151], "", "..", "#a", "a/b", "a\n", "a\0"]),
    (REQUEST, "stage", LONG[:60], [LONG[:61], "a.b", "a/b", "a\n"]),
    (REQUEST, "version", LONG[:50], [LONG[:51], "1 0", "1\n"]),
    (REQUEST, "round", 999_999, [1_000_000, -1, 1.5, "1", True, None]),
    (REQUEST, "repeat", 100, [101, -1]),
    (REQUEST, "since", 999_999, [1_000_000, -1]),
    (REQUEST, "compression", "int8", ["zip", None]),
    (REQUEST, "detail", "ranking", ["all"]),
    (REQUEST, "threshold", None, [float("nan"), float("inf"), "1"]),
    (REQUEST, "low", -1e300, [float("-inf"), float("nan"), None]),
    (ANSWER, "site", LONG[:63], [LONG[:64], "", ".a", "a b", "a/b", "a\n"]),
    (ANSWER, "subjects", MOST, [MOST + 1, -1, 1.5]),
    (ANSWER, "loss", -2.5, [float("nan"), float("inf")]),
    (ANSWER, "received_loss", 0.0, [float("nan"), "0"]),
    (ANSWER, "steps", 10**12, [10**12 + 1, -1]),
    (ANSWER, "cluster", 10_000, [10_001, -1]),
    (ANSWER, "seconds", 1e9, [1.1e9, -0.1, float("nan")]),
    (ANSWER, "notes", ["n" * 300] * 8, [["n"] * 9, ["n" * 301], [""], ["a\nb"], ["\u00e4"], ["\x7f"], ["ok\n"]]),
    (ANSWER, "labels", ["MS+2"] * 100, [["MS"] * 101, ["M S"], [LONG[:101]], [""], ["MS\n"]]),
    (ANSWER, "counts", {"test": -1}, [{"test": -2}, {"test": MOST + 1}, {"Test": 1}, {LONG[:31]: 1}, {"sub-1": 1}]),
    (ANSWER, "counts", {"a" * n: 1 for n in range(1, 17)}, [{"a" * n: 1 for n in range(1, 18)}]),
    (ANSWER, "machine", MACHINE, [MACHINE | {"host": "pc7"}, MACHINE | {"gpu": "A\n"}, MACHINE | {"cores": -1}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("honest", "field", "last", "beyond"),
    BOUNDS,
    ids=[f"{field}-{number}" for number, (_, field, *_) in enumerate(BOUNDS)],
)
def test_every_field_is_taken_up_to_its_bound_and_no_further(
    honest: dict[str, Any], field: str, last: Any, beyond: list[Any]
) -> None:
    decode = messages.decode_request if honest is REQUEST else messages.decode_answer
    found = getattr(decode(message(honest | {field: last}))[0], field)
    assert json.loads(json.dumps(found, default=lambda value: value.model_dump(exclude_unset=True))) == last
    for value in beyond:
        with pytest.raises(WireError, match=rf"header is wrong at \('{field}'"):
            decode(message(honest | {field: value}))


@pytest.mark.parametrize("missing", REQUEST)
def test_a_request_says_what_it_is_about(missing: str) -> None:
    with pytest.raises(WireError, match=rf"\('{missing}',\): Field required"):
        messages.decode_request(message({key: value for key, value in REQUEST.items() if key != missing}))


def test_a_refusal_of_a_header_does_not_repeat_what_was_said() -> None:
    with pytest.raises(WireError) as caught:
        messages.decode_answer(message({"site": "Jane Doe!"}))
    assert "Jane" not in str(caught.value)


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
    header = Request(**REQUEST)
    sent = messages.requests("train.sums", {"a": 11, "b": 12}, header, {"w": np.ones(2)})
    assert {site: m.metadata.dst_node_id for site, m in sent.items()} == {"a": 11, "b": 12}
    assert {m.metadata.message_type for m in sent.values()} == {"train.sums"}
    assert sent["a"].content is sent["b"].content
    assert messages.decode_request(sent["b"])[0] == header


@pytest.mark.usefixtures("server")
def test_a_request_to_one_site_carries_its_round_and_shared_arrays() -> None:
    shared = arrays("w")
    sent = messages.request("train.round", 11, Request(**REQUEST, round=7), shared)
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
