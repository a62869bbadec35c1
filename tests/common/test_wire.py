import io
import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, Metadata, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normfed_common.foundation.errors import SiteCode, WireError
from normfed_common.wire import messages, packing
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.messages import decode_answer, decode_request, encode
from normfed_common.wire.requests import Request, TrainRound


def message(content: RecordDict) -> Message:
    return Message(content=content, metadata=Metadata(1, "m", 1, 2, "", "", 0.0, 100.0, "train.round"))  # type: ignore[call-overload,no-any-return]


REQUEST = Request(study="{}", arm="federated", model={"name": "siamese"}, payload=TrainRound(round=3))

ANSWER = Answer(site="a", payload=Trained())


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
    header, found = decode_request(message(encode(REQUEST, arrays)))
    assert header == REQUEST
    assert set(found) == set(arrays)
    for name in arrays:
        assert found[name].dtype == arrays[name].dtype
        np.testing.assert_array_equal(found[name], arrays[name])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(WireError, match="not finite"):
        decode_answer(message(encode(ANSWER, {"w": np.array([1.0, value])})))


@pytest.mark.parametrize("kind", ["complex64", "uint8", "bool", "int32"])
def test_types_outside_the_list_are_refused(kind: str) -> None:
    with pytest.raises(WireError, match="allowed: float32, float64, int64"):
        decode_answer(message(encode(ANSWER, {"w": np.zeros(2, kind)})))


def test_pickled_objects_are_refused() -> None:
    record = encode(ANSWER, {})
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    record["arrays"] = ArrayRecord({"w": Array("float64", (1,), "numpy.ndarray", buffer.getvalue())})
    with pytest.raises(WireError, match="not what its record says"):
        decode_answer(message(record))


def test_a_header_that_lies_about_an_array_is_refused() -> None:
    record = encode(ANSWER, {})
    honest = Array(np.zeros(3))
    record["arrays"] = ArrayRecord({"w": Array("float64", (4,), honest.stype, honest.data)})
    with pytest.raises(WireError, match="not what its record says"):
        decode_answer(message(record))


def test_unknown_fields_and_extra_records_are_refused() -> None:
    record = encode(ANSWER, {})
    record["header"] = ConfigRecord({"json": json.dumps(ANSWER.model_dump() | {"patient": "Jane"})})
    with pytest.raises(WireError, match="patient"):
        decode_answer(message(record))
    record = encode(ANSWER, {})
    record["more"] = ConfigRecord({})
    with pytest.raises(WireError, match="expected arrays and header"):
        decode_answer(message(record))


def test_absurd_sizes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAXIMUM_BYTES", 1000)
    with pytest.raises(WireError, match="at most 1,000"):
        decode_answer(message(encode(ANSWER, {"w": np.zeros(1000)})))


def test_a_refusal_carries_a_code_and_the_codes_own_sentence_only() -> None:
    refused = messages.refusal(message(encode(REQUEST, {})), SiteCode.DATA_UNUSABLE)
    assert refused.error.code == 202
    assert refused.error.reason == SiteCode.DATA_UNUSABLE.sentence
    assert messages.error_code(refused) is SiteCode.DATA_UNUSABLE


def test_every_code_has_a_sentence() -> None:
    assert all(code.sentence for code in SiteCode)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=10).filter(lambda name: name != "__metadata__"),
        st.one_of(
            *(
                hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4), elements=st.integers(0, 100))
                for kind in (np.float32, np.float64, np.int64, np.float16, np.uint16, np.int8)
            )
        ),
        max_size=5,
    )
)
def test_packed_arrays_come_back_as_they_were(arrays: dict[str, np.ndarray]) -> None:
    for consume in (False, True):
        back = packing.unpack(packing.pack(arrays), consume)
        assert set(back) == set(arrays)
        for name, array in arrays.items():
            assert back[name].dtype == array.dtype
            assert back[name].shape == array.shape
            np.testing.assert_array_equal(back[name], array)


def packed_request(record: ArrayRecord) -> Message:
    return message(RecordDict({"header": ConfigRecord({"json": REQUEST.model_dump_json()}), "arrays": record}))


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
    reply = messages.answer(message(encode(REQUEST, {"w": np.ones(3)}, packed)), ANSWER, {"w": np.zeros(3)})
    assert packing.is_packed(reply.content.array_records["arrays"]) is packed
    _, found = decode_answer(reply)
    np.testing.assert_array_equal(found["w"], np.zeros(3))
