"""Requests cross digit for digit, each task with a payload of its own, and every bound holds."""

from __future__ import annotations

import json
import string
from typing import Any, get_args

import numpy as np
import pytest
import secure_payloads
from envelopes import REQUEST, message, of
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.foundation.errors import WireError
from normfed_common.wire import bounds, messages
from normfed_common.wire.requests import (
    Canary,
    Count,
    Describe,
    FineTune,
    Measure,
    Payload,
    Request,
    ScorePeople,
    Sums,
    Task,
    TrainRound,
)

WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
ROUNDS = st.integers(1, bounds.MOST_ROUNDS)
KINDS = st.sampled_from(["none", "fp16", "bf16", "int8"])
PAYLOADS: dict[str, st.SearchStrategy[Payload]] = {
    "query.describe": st.just(Describe()),
    "train.canary": st.builds(Canary, compression=KINDS),
    "train.round": st.builds(
        TrainRound,
        round=ROUNDS,
        since=st.integers(0, bounds.MOST_ROUNDS),
        compression=KINDS,
        secure=st.none() | secure_payloads.MASKINGS,
    ),
    "train.personal": st.builds(FineTune, round=ROUNDS),
    "train.sums": st.builds(
        Sums, phase=WORD, iteration=st.integers(0, bounds.MOST_ITERATIONS), secure=st.none() | secure_payloads.MASKINGS
    ),
    "evaluate.score": st.builds(ScorePeople, detail=st.sampled_from(["full", "ranking"])),
    "evaluate.count": st.builds(Count, low=FINITE, high=FINITE),
    "evaluate.measure": st.builds(Measure, threshold=FINITE, maps=st.booleans()),
    **secure_payloads.REQUESTS,
}
HEADERS = {
    "study": st.text(max_size=30),
    "run": st.just("") | WORD,
    "arm": WORD,
    "model": st.dictionaries(WORD, st.integers() | st.text() | st.lists(st.booleans()), max_size=3),
    "repeat": st.integers(0, 100),
}
# Of each task an example that is as short as it can be.
SHORT: dict[str, dict[str, Any]] = {
    "query.describe": {},
    "train.canary": {},
    "train.round": {"round": 1},
    "train.personal": {"round": 1},
    "train.sums": {"phase": "moments"},
    "evaluate.score": {},
    "evaluate.count": {"low": 0.0, "high": 1.0},
    "evaluate.measure": {"threshold": 0.5},
    **secure_payloads.SHORT_REQUESTS,
}


def test_there_is_one_payload_for_every_task() -> None:
    tasks = [kind.model_fields["task"].default for kind in get_args(Payload)]
    assert sorted(tasks) == sorted(get_args(Task)) == sorted(PAYLOADS) == sorted(SHORT)


@pytest.mark.parametrize("task", PAYLOADS)
@given(data=st.data(), packed=st.booleans())
def test_a_request_crosses_digit_for_digit(task: str, data: st.DataObject, packed: bool) -> None:
    sent = data.draw(st.builds(Request, payload=PAYLOADS[task], **HEADERS))
    found, arrays = messages.decode_request(of(messages.encode(sent, {"w": np.arange(3.0)}, packed), task))
    assert found == sent
    assert type(found.payload) is type(sent.payload)
    assert (found.task, found.round) == (task, getattr(sent.payload, "round", 0))
    np.testing.assert_array_equal(arrays["w"], np.arange(3.0))


@pytest.mark.parametrize("task", SHORT)
@pytest.mark.parametrize("other", SHORT)
def test_the_payload_of_one_task_is_not_read_in_a_message_of_another(task: str, other: str) -> None:
    asked = message(REQUEST | {"payload": {"task": task, **SHORT[task]}}, task=other)
    if task == other:
        assert messages.decode_request(asked)[0].task == task
    else:
        with pytest.raises(WireError, match=f"a message's header is of {task}, the message of another task"):
            messages.decode_request(asked)


@pytest.mark.parametrize("task", SHORT)
def test_a_payload_has_the_fields_of_its_own_task_alone(task: str) -> None:
    known = {name: value for payload in SHORT.values() for name, value in payload.items()}
    known |= {"since": 0, "compression": "none", "iteration": 0, "detail": "full", "maps": False, "unknown": 1}
    own = {kind.model_fields["task"].default: kind for kind in get_args(Payload)}[task].model_fields
    for name in known.keys() - own.keys():
        payload = {"task": task, **SHORT[task], name: known[name]}
        with pytest.raises(WireError, match=rf"'{name}'\): Extra inputs"):
            messages.decode_request(message(REQUEST | {"payload": payload}, task=task))


@pytest.mark.parametrize("task", [task for task, fields in SHORT.items() if fields])
def test_a_payload_says_all_that_its_task_needs(task: str) -> None:
    for name in SHORT[task]:
        payload = {"task": task} | {key: value for key, value in SHORT[task].items() if key != name}
        with pytest.raises(WireError, match=rf"'{name}'\): Field required"):
            messages.decode_request(message(REQUEST | {"payload": payload}, task=task))


@pytest.mark.parametrize("payload", [None, {}, [], "train.round", {"task": "train.Jane"}, {"round": 1}, {"task": 5}])
def test_a_payload_of_no_task_is_refused_and_not_repeated(payload: Any) -> None:
    with pytest.raises(WireError, match="a message's header is wrong at") as caught:
        messages.decode_request(message(REQUEST | {"payload": payload}))
    assert "Jane" not in str(caught.value)


LONG = "a" * 1000
NOT_NUMBERS = [float("nan"), float("inf"), float("-inf"), "1", None, True]
# Of each field: the last value that is taken, and the first ones that are not.
BOUNDS: list[tuple[str, str, Any, list[Any]]] = [
    ("", "study", "s" * bounds.MAXIMUM_STUDY, ["s" * (bounds.MAXIMUM_STUDY + 1), {}]),
    ("", "run", LONG[:120], [LONG[:121], "../a", ".a", "a/b", "a\n", "\u00e4"]),
    ("", "arm", "a#~+" + LONG[:146], [LONG[:151], "", "..", "#a", "a/b", "a\n", "a\0"]),
    ("", "version", LONG[:50], [LONG[:51], "1 0", "1\n"]),
    ("", "repeat", 100, [101, -1]),
    ("train.round", "round", 999_999, [1_000_000, 0, -1, 1.5, "1", True, None]),
    ("train.round", "since", 999_999, [1_000_000, -1]),
    ("train.round", "compression", "int8", ["zip", None]),
    ("train.canary", "compression", "bf16", ["zip", None]),
    ("train.personal", "round", 999_999, [1_000_000, 0, -1, 10**400]),
    ("train.sums", "phase", LONG[:60], [LONG[:61], "", "a.b", "a/b", "a\n"]),
    ("train.sums", "iteration", 100_000, [100_001, -1, 0.5, None]),
    ("evaluate.score", "detail", "ranking", ["all", None]),
    ("evaluate.count", "low", -1e300, NOT_NUMBERS),
    ("evaluate.count", "high", 1e300, NOT_NUMBERS),
    ("evaluate.measure", "threshold", -0.5, NOT_NUMBERS),
    ("evaluate.measure", "maps", True, [1, "yes", None]),
]


@pytest.mark.parametrize(("task", "field", "last", "beyond"), BOUNDS, ids=lambda value: str(value)[:20])
def test_every_field_is_taken_up_to_its_bound_and_no_further(
    task: str, field: str, last: Any, beyond: list[Any]
) -> None:
    def sent(value: Any) -> Request:
        if not task:
            return messages.decode_request(message(REQUEST | {field: value}))[0]
        payload = {"task": task, **SHORT[task], field: value}
        return messages.decode_request(message(REQUEST | {"payload": payload}, task=task))[0]

    assert getattr(sent(last).payload if task else sent(last), field) == last
    for value in beyond:
        with pytest.raises(WireError, match=rf"header is wrong at \(.*'{field}'"):
            sent(value)


@pytest.mark.parametrize("missing", ["study", "arm", "model", "payload"])
def test_a_request_says_what_it_is_about(missing: str) -> None:
    with pytest.raises(WireError, match=rf"\('{missing}',\): Field required"):
        messages.decode_request(message({key: value for key, value in REQUEST.items() if key != missing}))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)
FIELDS = sorted({"task", "unknown", *(name for kind in get_args(Payload) for name in kind.model_fields)})


@given(st.sampled_from(sorted(SHORT)), st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4), st.booleans())
def test_whatever_a_payload_says_it_is_read_or_refused(task: str, changes: dict[str, Any], answers: bool) -> None:
    header = {"site": "a"} if answers else REQUEST
    sent = message(header | {"payload": {"task": task, **SHORT[task], **changes}}, task=task)
    try:
        found = (messages.decode_answer if answers else messages.decode_request)(sent)[0]
    except WireError:
        return
    assert found.task == task


@given(st.text(max_size=60) | ANYTHING.map(json.dumps), st.sampled_from(["train.round", "train.x"]))
def test_whatever_a_header_is_it_is_read_or_refused(text: str, task: str) -> None:
    for decode in (messages.decode_request, messages.decode_answer):
        with pytest.raises(WireError):
            decode(message(text, task=task))
