"""Rounds are numbered through all averaged phases."""

from __future__ import annotations

import pytest

from normfed_common.learning.phase import Phase, averaged_rounds, phase_of_round

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
