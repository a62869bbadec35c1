"""Pauses between two looks for what somebody else does."""

from __future__ import annotations

import pytest

from normfed_common.processes.pauses import Pauses

PAUSES = Pauses(0.25, 4.0)


@pytest.mark.parametrize(("waited_s", "pause_s"), [(0, 0.25), (3, 0.25), (15, 1), (45, 3), (60, 4), (1e6, 4)])
def test_a_pause_is_a_fifteenth_of_the_wait_within_its_bounds(waited_s: float, pause_s: float) -> None:
    assert PAUSES.after(waited_s) == pause_s


@pytest.mark.parametrize("comes_after_s", [3.0, 17.0, 100.0, 3600.0])
def test_what_comes_is_found_late_by_a_fifteenth_of_its_wait_and_an_hour_takes_few_looks(
    comes_after_s: float,
) -> None:
    now, looks = 0.0, 0
    while now < comes_after_s:
        now += PAUSES.after(now)
        looks += 1
    assert now - comes_after_s <= max(comes_after_s / 15, PAUSES.shortest_s)
    assert looks < 80 + comes_after_s / PAUSES.longest_s
