"""Rounds are numbered through all averaged phases."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from normfed_common.learning.phase import Phase, averaged_rounds, phase_of_round
from normfed_common.wire.bounds import PhaseName

SUMS, FIRST, SECOND = (
    Phase("sums", "summed", rounds=9),
    Phase("first", "averaged"),
    Phase("second", "averaged", rounds=2),
)


@pytest.mark.parametrize(
    ("phase", "turns"), [(SUMS, 9), (FIRST, 5), (SECOND, 2), (Phase("once", "summed"), 1)], ids=lambda p: str(p)
)
def test_a_phase_takes_its_own_rounds_or_the_studys_and_sums_one(phase: Phase, turns: int) -> None:
    assert phase.turns(5) == turns


def test_rounds_count_through_averaged_phases_and_pass_over_sums() -> None:
    phases = (SUMS, FIRST, SUMS, SECOND)
    assert averaged_rounds(phases, 5) == 7
    found = [phase_of_round(phases, 5, number) for number in range(1, 9)]
    assert found == [FIRST] * 5 + [SECOND] * 2 + [None]
    assert averaged_rounds((SUMS,), 5) == 0
    assert phase_of_round((SUMS,), 5, 1) is None


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a/b", "é", "a\n", "a" * 61], ids=repr)
def test_names_that_the_wire_does_not_take_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(PhaseName).validate_python(name)
    with pytest.raises(ValueError, match="expected 1 to 60 letters, digits, - and _"):
        Phase(name, "summed")


@pytest.mark.parametrize("name", ["a", "A-1_b", "a" * 60])
def test_names_that_the_wire_takes_are_taken(name: str) -> None:
    assert TypeAdapter(PhaseName).validate_python(Phase(name, "averaged").name) == name


@pytest.mark.parametrize("rounds", [0, -1])
@pytest.mark.parametrize("kind", ["averaged", "summed"])
def test_a_phase_takes_a_round_at_least(kind: Any, rounds: int) -> None:
    with pytest.raises(ValueError, match=f"the phase em takes {rounds} rounds; expected at least 1"):
        Phase("em", kind, rounds=rounds)
