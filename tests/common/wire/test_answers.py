"""Answers cross digit for digit, each task with a payload of its own, and every bound holds."""

from __future__ import annotations

import json
import string
from typing import Any, get_args

import numpy as np
import pytest
import secure_payloads
from envelopes import ANSWER, message, of
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.foundation.errors import WireError
from normfed_common.wire import bounds, messages
from normfed_common.wire.answers import (
    Answer,
    CanaryBack,
    Counted,
    Described,
    Figures,
    FineTuned,
    Machine,
    ScoredPeople,
    Summed,
    Told,
    Trained,
)
from normfed_common.wire.tasks import Task

MACHINE = {
    "normfed": "0.1.0", "flwr": "1.41.0", "torch": "2.13.0+cpu", "python": "3.11.7", "study": "0f",
    "cores": 8, "memory_gb": 16.0, "disk_gb": 100.0,
}  # fmt: skip
WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
LABELS = st.lists(WORD, max_size=5).map(tuple)
STEPS = st.integers(0, 10**12)
PAYLOADS: dict[str, st.SearchStrategy[Told]] = {
    "query.describe": st.builds(
        Described,
        counts=st.dictionaries(st.sampled_from(["train", "test", "held_out"]), st.integers(-1, bounds.MOST_PEOPLE)),
        kinds=LABELS,
        machine=st.none() | st.builds(Machine, **{key: st.just(value) for key, value in MACHINE.items()}),
    ),
    "train.canary": st.builds(CanaryBack, steps=STEPS),
    "train.round": st.builds(
        Trained,
        loss=st.none() | FINITE,
        received_loss=st.none() | FINITE,
        steps=STEPS,
        cluster=st.integers(0, 10_000),
    ),
    "train.personal": st.builds(FineTuned, loss=st.none() | FINITE),
    "train.sums": st.just(Summed()),
    "evaluate.score": st.builds(ScoredPeople, groups=LABELS),
    "evaluate.count": st.just(Counted()),
    "evaluate.measure": st.builds(Figures, groups=LABELS),
    **secure_payloads.ANSWERS,
}
HEADERS = {
    "site": WORD,
    "subjects": st.integers(0, bounds.MOST_PEOPLE),
    "seconds": st.floats(0, 1e9),
    "notes": st.lists(st.text(string.printable[:95], min_size=1, max_size=300), max_size=8).map(tuple),
}
SHORT: dict[str, dict[str, Any]] = {
    "query.describe": {"counts": {}},
    "train.canary": {"steps": 1},
    "train.round": {},
    "train.personal": {"loss": 0.5},
    "train.sums": {},
    "evaluate.score": {},
    "evaluate.count": {},
    "evaluate.measure": {"groups": ["all"]},
    **secure_payloads.SHORT_ANSWERS,
}


def test_there_is_one_payload_for_every_task() -> None:
    tasks = [kind.model_fields["task"].default for kind in get_args(Told)]
    assert sorted(tasks) == sorted(get_args(Task)) == sorted(PAYLOADS) == sorted(SHORT)


@pytest.mark.parametrize("task", PAYLOADS)
@given(data=st.data(), packed=st.booleans())
def test_an_answer_crosses_digit_for_digit(task: str, data: st.DataObject, packed: bool) -> None:
    sent = data.draw(st.builds(Answer, payload=PAYLOADS[task], **HEADERS))
    found, arrays = messages.decode_answer(of(messages.encode(sent, {"w": np.arange(3.0)}, packed), task))
    assert found == sent
    assert found.told(type(sent.payload)) == sent.payload
    np.testing.assert_array_equal(arrays["w"], np.arange(3.0))


@pytest.mark.parametrize("task", SHORT)
@pytest.mark.parametrize("other", SHORT)
def test_a_site_answers_what_it_was_asked(task: str, other: str) -> None:
    said = message({"site": "a", "payload": {"task": task, **SHORT[task]}}, task=other)
    if task == other:
        assert messages.decode_answer(said)[0].task == task
    else:
        with pytest.raises(WireError, match=f"a message's header is of {task}, the message of another task"):
            messages.decode_answer(said)


@pytest.mark.parametrize("task", SHORT)
def test_a_payload_has_the_fields_of_its_own_task_alone(task: str) -> None:
    known = {name: value for payload in SHORT.values() for name, value in payload.items()}
    known |= {"received_loss": 1.0, "cluster": 0, "kinds": [], "machine": None, "unknown": 1}
    own = {kind.model_fields["task"].default: kind for kind in get_args(Told)}[task].model_fields
    for name in known.keys() - own.keys():
        payload = {"task": task, **SHORT[task], name: known[name]}
        with pytest.raises(WireError, match=rf"'{name}'\): Extra inputs"):
            messages.decode_answer(message({"site": "a", "payload": payload}, task=task))


def test_what_is_not_told_is_not_taken_for_something_else() -> None:
    answer = Answer(site="a", payload=Summed())
    with pytest.raises(WireError, match=r"it answers train\.sums, which was not asked"):
        answer.told(Trained)


LONG = "a" * 1000
MOST = bounds.MOST_PEOPLE
# Of each field: the last value that is taken, and the first ones that are not.
BOUNDS: list[tuple[str, str, Any, list[Any]]] = [
    ("", "site", LONG[:63], [LONG[:64], "", ".a", "a b", "a/b", "a\n"]),
    ("", "subjects", MOST, [MOST + 1, -1, 1.5]),
    ("", "seconds", 1e9, [1.1e9, -0.1, float("nan")]),
    ("", "notes", ["n" * 300] * 8, [["n"] * 9, ["n" * 301], [""], ["a\nb"], ["\u00e4"], ["\x7f"], ["ok\n"]]),
    ("train.round", "loss", -2.5, [float("nan"), float("inf")]),
    ("train.round", "received_loss", 0.0, [float("nan"), "0"]),
    ("train.round", "steps", 10**12, [10**12 + 1, -1, 10**400]),
    ("train.round", "cluster", 10_000, [10_001, -1]),
    ("train.canary", "steps", 10**12, [10**12 + 1, -1, None]),
    ("train.personal", "loss", 1e300, [float("nan"), float("inf")]),
    ("query.describe", "kinds", ["MS+2"] * 100, [["MS"] * 101, ["M S"], [LONG[:101]], [""], ["MS\n"]]),
    ("evaluate.score", "groups", ["MS+2"] * 100, [["MS"] * 101, ["M S"], [LONG[:101]], [""], ["MS\n"]]),
    ("evaluate.measure", "groups", ["all"] * 100, [["all"] * 101, ["/"], None]),
    ("query.describe", "counts", {"test": -1}, [{"test": -2}, {"test": MOST + 1}, {"Test": 1}, {LONG[:31]: 1}]),
    ("query.describe", "counts", {"a" * n: 1 for n in range(1, 17)}, [{"a" * n: 1 for n in range(1, 18)}]),
    ("query.describe", "machine", MACHINE, [MACHINE | {"host": "pc7"}, MACHINE | {"cores": -1}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "field", "last", "beyond"),
    BOUNDS,
    ids=[f"{task}{name}-{number}" for number, (task, name, *_) in enumerate(BOUNDS)],
)
def test_every_field_is_taken_up_to_its_bound_and_no_further(
    task: str, field: str, last: Any, beyond: list[Any]
) -> None:
    def said(value: Any) -> Answer:
        if not task:
            return messages.decode_answer(message(ANSWER | {field: value}))[0]
        payload = {"task": task, **SHORT[task], field: value}
        return messages.decode_answer(message({"site": "a", "payload": payload}, task=task))[0]

    found = getattr(said(last).payload if task else said(last), field)
    assert json.loads(json.dumps(found, default=lambda value: value.model_dump(exclude_unset=True))) == last
    for value in beyond:
        with pytest.raises(WireError, match=rf"header is wrong at \(.*'{field}'"):
            said(value)


def test_a_refusal_of_a_header_does_not_repeat_what_was_said() -> None:
    for header in ({"site": "Jane Doe!"}, {"site": "a", "payload": {"task": "Jane"}}):
        with pytest.raises(WireError) as caught:
            messages.decode_answer(message(ANSWER | header))
        assert "Jane" not in str(caught.value)
