"""Every kind of event: what is written is read again, and what is damaged is no event."""

from __future__ import annotations

import json
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from normfed_common.wire.answers import Machine
from normfed_server.events import kinds
from normfed_server.events.kinds import (
    AskedAgain,
    CanaryDone,
    CanarySent,
    Connecting,
    Damaged,
    Evaluated,
    Event,
    Failed,
    Finished,
    Fit,
    FitMachine,
    Joined,
    Missing,
    Noted,
    People,
    Planned,
    PlannedArm,
    RoundDone,
    RunEvent,
    StageDone,
    Tried,
    Unfit,
    Unknown,
    Waiting,
    parse,
)

ROUND: dict[str, Any] = {
    "round": 1,
    "loss": {"a": 0.5, "b": math.nan},
    "seconds": 2.5,
    "outcomes": {"a": "took part", "b": "late"},
    "reasons": {"b": "slow"},
    "share": 0.6,
    "shares": {"a": 1.0},
    "site_seconds": {"a": 2.0},
    "megabytes": {"out": 1.0, "back": 0.5},
}
MACHINE = FitMachine(
    normfed="1", flwr="1", torch="2", python="3", study="x", cores=4, memory_gb=8.0, disk_gb=9.0, people="10–29"
)
ONE_OF_EACH: list[RunEvent] = [
    Connecting(sites=("a",)),
    Planned(
        arms=(PlannedArm("federated", 3, ("a",)),),
        sites={"a": People(train=3, held_out=-1, test=0, kinds=("MS",))},
        left_out={"b": "takes no part"},
    ),
    Fit(
        sites={"a": MACHINE},
        needs={"site_disk_gb": 1.5},
        findings=(Unfit(where="a", text="has an old driver", fatal=False),),
    ),
    CanarySent(arm="federated", sites=("a",)),
    CanaryDone(arm="federated", sites={"a": Tried(seconds=1.0, megabytes=0.1)}),
    RoundDone.of("federated", 3, ROUND),
    Waiting(arm="federated", round=1, sites={"a": False}, seconds=9),
    AskedAgain(site="a", why="its link was cut"),
    Missing(arm="federated", site="b", round=0, outcome="no figures", why="disk full"),
    Joined(arm="federated", site="c", round=2),
    Noted(arm="federated", site="a", text="it lost its part"),
    StageDone(arm="atlas", stage=1, stages=2),
    Failed(arm="ditto", why="Site b refuses."),
    Damaged(arm="ditto", file="x", kept="x.damaged-1", why="cut short"),
    Evaluated(arm="atlas", sites=("a", "b")),
    Finished(),
]


def test_the_list_above_has_one_of_each() -> None:
    union, _ = get_args(kinds.Known)
    assert [type(event) for event in ONE_OF_EACH] == list(get_args(union))


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: event.event)
def test_an_event_is_read_as_it_was_written(event: RunEvent) -> None:
    line = event.line()
    assert parse(line) == event
    assert "\n" not in line
    written = json.loads(line, parse_constant=pytest.fail)
    assert list(written)[:2] == ["time", "event"]


def test_a_round_as_it_was_written_before_events_had_types_is_read() -> None:
    line = {"time": 5.0, "event": "round", "arm": "federated", **ROUND, "loss": {"a": 0.5, "b": None}, "rounds": 3}
    event = parse(json.dumps(line))
    assert isinstance(event, RoundDone)
    assert json.loads(event.line()) == line  # and written with the same keys


def test_a_loss_that_is_no_number_is_written_as_none() -> None:
    assert RoundDone.of("federated", 3, ROUND).loss == {"a": 0.5, "b": None}


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: event.event)
def test_an_event_that_lacks_a_key_or_has_one_more_is_passed_on_but_not_understood(event: RunEvent) -> None:
    whole = json.loads(event.line())
    needed = [name for name, field in type(event).model_fields.items() if field.is_required()]
    for changed in [{k: v for k, v in whole.items() if k != name} for name in needed] + [{**whole, "more": 1}]:
        if "event" in changed:
            read = parse(json.dumps(changed))
            assert isinstance(read, Unknown)
            assert json.loads(read.line()) == changed


@given(st.binary() | st.text())
def test_whatever_is_no_event_is_none(line: bytes | str) -> None:
    assert parse(line) is None


def test_a_fit_machine_has_all_that_a_site_says_of_its_machine() -> None:
    assert set(FitMachine.model_fields) == {*Machine.model_fields, "people"}


def test_an_event_cannot_be_changed_and_its_fields_are_what_they_say() -> None:
    event: Event = Joined(arm="federated", site="a", round=2)
    with pytest.raises(ValidationError, match="frozen"):
        event.arm = "x"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="round"):
        Joined(arm="federated", site="a", round="2")  # type: ignore[arg-type]
