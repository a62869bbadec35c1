"""Hours in which a hospital's machine works for studies."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_client.hospital.folder import HospitalConfig
from normfed_client.hospital.hours import DAYS, within

MONDAY = datetime(2026, 11, 30)


def at(day: str, time: str) -> datetime:
    hour, minute = map(int, time.split(":"))
    return MONDAY + timedelta(days=DAYS.index(day), hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("18:00-06:00", ["mon 18:00", "tue 05:59", "sun 23:59", "mon 00:00"], ["mon 17:59", "tue 06:00", "sun 12:00"]),
        ("09:30-17:00", ["sat 09:30", "mon 16:59"], ["mon 09:29", "mon 17:00"]),
        ("mon-fri 18:00-06:00", ["mon 18:00", "sat 05:59", "fri 23:00"], ["sat 06:00", "sat 18:00", "mon 05:59"]),
        ("sat-sun 00:00-24:00", ["sat 00:00", "sun 23:59"], ["mon 00:00", "fri 23:59"]),
        ("sun 22:00-02:00", ["sun 22:00", "mon 01:59"], ["sun 01:59", "mon 02:00", "mon 22:00"]),
        ("fri-mon 08:00-09:00", ["fri 08:00", "sun 08:30", "mon 08:59"], ["tue 08:30", "thu 08:30"]),
    ],
)
def test_a_moment_is_within_hours_or_not(hours: str, inside: list[str], outside: list[str]) -> None:
    assert all(within((hours,), at(*moment.split())) for moment in inside)
    assert not any(within((hours,), at(*moment.split())) for moment in outside)


@given(st.integers(0, 7 * 24 * 60 - 1), st.integers(0, 24 * 60 - 1), st.integers(0, 24 * 60 - 1))
def test_what_is_not_within_hours_is_within_the_rest_of_the_day(minute: int, begin: int, end: int) -> None:
    if begin == end:
        return
    clock = [f"{time // 60:02d}:{time % 60:02d}" for time in (begin, end)]
    now = MONDAY + timedelta(minutes=minute)
    assert within((f"{clock[0]}-{clock[1]}",), now) != within((f"{clock[1]}-{clock[0]}",), now)


@pytest.mark.parametrize(
    "hours",
    ["", "18:00", "18:00-18:00", "24:00-06:00", "25:00-26:00", "mon 9-17", "Mon 09:00-17:00", "mon-xyz 09:00-10:00"],
)
def test_what_are_no_hours_are_refused_when_site_yaml_is_read(hours: str) -> None:
    with pytest.raises(ValueError, match="hours"):
        HospitalConfig.model_validate_json(f'{{"site": "a", "server": "f:1", "data": ".", "hours": ["{hours}"]}}')
