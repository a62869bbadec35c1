"""Hours in which a hospital's machine works for studies, such as ``mon-fri 18:00-06:00``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_OF_A_DAY = 24 * 60

_DAY = "|".join(DAYS)
_SPAN = re.compile(rf"(?:({_DAY})(?:-({_DAY}))? )?(\d\d):([0-5]\d)-(\d\d):([0-5]\d)")


def _checked(text: str) -> str:
    _, begin, end = _parsed(text)
    if begin in (end, MINUTES_OF_A_DAY) or max(begin, end) > MINUTES_OF_A_DAY:
        raise ValueError(f"{text} is no time of the day, such as 18:00-06:00 or sat-sun 00:00-24:00")
    return text


Hours = Annotated[str, AfterValidator(_checked)]


def within(hours: Iterable[str], now: datetime) -> bool:
    """Whether a moment lies in any of these hours.

    Hours that reach beyond midnight belong to the day on which they begin: ``fri 18:00-06:00`` ends on Saturday.

    Parameters
    ----------
    now
        By the clock of the hospital.
    """
    today, minute = now.weekday(), 60 * now.hour + now.minute
    for text in hours:
        days, begin, end = _parsed(text)
        if begin < end:
            found = today in days and begin <= minute < end
        else:
            found = (today in days and minute >= begin) or ((today - 1) % 7 in days and minute < end)
        if found:
            return True
    return False


def _parsed(text: str) -> tuple[frozenset[int], int, int]:
    """Days of the week from 0, Monday; the first minute of the day, and the one after the last."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text[:40]!r} are no hours: write such as 18:00-06:00, mon-fri 18:00-06:00 or sat 00:00-24:00"
        )
    first, last, *times = found.groups()
    begin_hour, begin_minute, end_hour, end_minute = map(int, times)
    one = DAYS.index(first) if first else 0
    other = DAYS.index(last) if last else (one if first else 6)
    days = frozenset((one + step) % 7 for step in range((other - one) % 7 + 1))
    return days, 60 * begin_hour + begin_minute, 60 * end_hour + end_minute
