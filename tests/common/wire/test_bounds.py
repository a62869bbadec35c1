"""What crosses is as long, and as much, as written here, and no more: the numbers are the protocol's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array
from pydantic import TypeAdapter, ValidationError

from normfed_common.wire import bounds, messages, npy
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.requests import Measure, Request, ScorePeople, Sums, TrainRound


def accepts(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "longest"),
    [
        (bounds.RunName, 120),
        (bounds.ArmName, 150),
        (bounds.PhaseName, 60),
        (bounds.VersionText, 50),
        (bounds.Label, 100),
        (bounds.Note, 300),
        (bounds.CountName, 30),
        (bounds.MachineText, 100),
    ],
    ids=["run", "arm", "phase", "version", "label", "note", "count", "machine"],
)
def test_a_text_is_at_most_so_long(kind: Any, longest: int) -> None:
    assert accepts(kind, "a" * longest)
    assert not accepts(kind, "a" * (longest + 1))


@pytest.mark.parametrize("kind", [bounds.ArmName, bounds.PhaseName, bounds.Label, bounds.Note, bounds.CountName])
def test_a_name_has_at_least_one_character(kind: Any) -> None:
    assert accepts(kind, "a")
    assert not accepts(kind, "")


@pytest.mark.parametrize("text", ["../x", "a/b", ".hidden", "a b", "a\n", "ä"])
@pytest.mark.parametrize("kind", [bounds.RunName, bounds.ArmName], ids=["run", "arm"])
def test_nothing_that_leads_out_of_a_folder_is_the_name_of_one(kind: Any, text: str) -> None:
    assert not accepts(kind, text)


@pytest.mark.parametrize(
    ("people", "accepted"), [(-2, False), (-1, True), (0, True), (10_000_000, True), (10_000_001, False)]
)
def test_a_count_is_of_up_to_ten_million_people_or_of_fewer_than_the_minimum(people: int, accepted: bool) -> None:
    assert accepts(bounds.People, people) is accepted
    assert bounds.BELOW_MINIMUM == -1


def request(study: str = "{}", repeat: int = 0) -> Request:
    return Request(study=study, arm="federated", model={}, repeat=repeat, payload=Sums(phase="moments"))


def test_a_request_holds_a_study_of_up_to_a_million_characters_and_a_hundred_repeats() -> None:
    assert request("x" * 1_000_000, 100)
    with pytest.raises(ValidationError):
        request("x" * 1_000_001)
    with pytest.raises(ValidationError):
        request(repeat=101)


@pytest.mark.parametrize(("least", "most"), [({"round": 1}, {"round": 999_999}), ({"round": 1}, {"since": 999_999})])
def test_a_round_has_at_most_six_digits_as_a_sites_files_have(least: dict[str, int], most: dict[str, int]) -> None:
    assert TrainRound(**{**least, **most})
    with pytest.raises(ValidationError):
        TrainRound(**{**least, **{name: value + 1 for name, value in most.items()}})
    assert accepts(Sums, {"phase": "moments", "iteration": 100_000})
    assert not accepts(Sums, {"phase": "moments", "iteration": 100_001})


def test_an_array_has_as_many_dimensions_as_numpy_allows() -> None:
    array = np.full((1,) * 64, 7.0)
    assert npy.read(Array(array)).tolist() == array.tolist()


def test_what_a_request_does_not_say_is_the_first_and_the_least() -> None:
    asked = request()
    assert (asked.run, asked.version, asked.plugins, asked.repeat) == ("", "", {}, 0)
    assert (asked.task, asked.round, asked.turn, Sums(phase="moments").iteration) == ("train.sums", 0, 0, 0)
    assert TrainRound(round=1).since == 0
    assert (ScorePeople().detail, Measure(threshold=0.5).maps) == ("full", False)


def test_what_an_answer_does_not_say_is_nothing() -> None:
    answer = Answer(site="a", payload=Trained())
    assert (answer.subjects, answer.seconds, answer.notes) == (0, 0.0, ())
    assert (answer.told(Trained).loss, answer.told(Trained).received_loss) == (None, None)
    assert (answer.told(Trained).steps, answer.told(Trained).cluster) == (0, 0)


def test_the_arrays_of_a_message_are_fewer_bytes_than_protobuf_can_count() -> None:
    assert 2**30 < messages.MAXIMUM_BYTES < 2**31
