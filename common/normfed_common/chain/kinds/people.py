"""How many people, as a record may say it: a class of size, never a number."""

from __future__ import annotations

from typing import Literal

PeopleClass = Literal[
    "not told",
    "nobody",
    "fewer than 10",
    "10-19",
    "20-49",
    "50-99",
    "100-199",
    "200-499",
    "500-999",
    "1000 or more",
]
_LOWER: dict[int, PeopleClass] = {
    1: "fewer than 10",
    10: "10-19",
    20: "20-49",
    50: "50-99",
    100: "100-199",
    200: "200-499",
    500: "500-999",
    1000: "1000 or more",
}


def people_class(people: int) -> PeopleClass:
    """How many people something is about, as a record may say it; below zero stands for fewer than a minimum."""
    if people <= 0:
        return "nobody" if people == 0 else "fewer than 10"
    return _LOWER[max(lower for lower in _LOWER if lower <= people)]
