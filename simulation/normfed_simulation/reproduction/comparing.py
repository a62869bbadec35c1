"""Our figures beside published ones, and a plain verdict on each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from normfed_common.study.base import Frozen
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import Figure, Interval, Number
from normfed_simulation.reproduction.recipe import PEOPLE, PublishedFigure, Row

ENOUGH = 0.9  # share of the published people without whom a figure is of other people
COUNTS = (PEOPLE, "detected")  # which are whole, and of however few people
ROUNDING = 1e-9  # of a difference of two decimal numbers
Verdict = Literal["within", "outside", "not comparable"]


class Compared(Frozen):
    """One figure, ours beside the published one."""

    metric: str
    ours: Number
    sd: Number = None
    n: int | None = None
    ci95: Interval | None = None
    published: PublishedFigure
    difference: Number = None
    verdict: Verdict
    why: str = Field(description="of the verdict: within or outside of what, or why the two are not compared")


class ComparedRow(Frozen):
    """One published row."""

    name: str
    model: str | None
    source: str | None
    figures: tuple[Compared, ...]


def compared(row: Row, ours: Mapping[str, Figure], look_alike: bool, not_run: str | None) -> ComparedRow:
    """A published row with our figures beside it.

    Parameters
    ----------
    ours
        By metric, of the model that stands beside the row.
    look_alike
        Whether the data are made up; then nothing is comparable.
    not_run
        Why there is nothing of ours; None where there is.
    """
    figures = tuple(
        _compared(metric, published, ours.get(metric), row.not_comparable, look_alike, not_run)
        for metric, published in row.figures.items()
    )
    return ComparedRow(name=row.name, model=row.model, source=row.source, figures=figures)


def _compared(
    metric: str,
    published: PublishedFigure,
    ours: Figure | None,
    never: str | None,
    look_alike: bool,
    not_run: str | None,
) -> Compared:
    if ours is None or ours.mean is None:
        why = not_run or "not defined for these people"
        return Compared(metric=metric, ours=None, published=published, verdict="not comparable", why=why)
    verdict, why = _verdict(metric, ours, published, never, look_alike)
    difference = None if published.value is None else ours.mean - published.value
    return Compared(
        metric=metric,
        ours=ours.mean,
        sd=ours.sd,
        n=ours.n,
        ci95=_interval(ours),
        published=published,
        difference=difference,
        verdict=verdict,
        why=why,
    )


def _verdict(
    metric: str, ours: Figure, published: PublishedFigure, never: str | None, look_alike: bool
) -> tuple[Verdict, str]:
    assert ours.mean is not None
    if look_alike:
        return "not comparable", "made-up data"
    if never is not None:
        return "not comparable", never
    if published.n is not None and not ENOUGH * published.n <= ours.n <= published.n / ENOUGH:
        return "not comparable", f"{ours.n} people, published {published.n}"
    if ours.n < FEWEST_PATIENTS and metric not in COUNTS:
        return "not comparable", f"{ours.n} people are too few"
    if published.low is not None and published.high is not None:
        return _within(published.low <= ours.mean <= published.high, "the published range")
    assert published.value is not None
    if published.sd is not None:
        return _within(abs(ours.mean - published.value) <= published.sd + ROUNDING, "the published sd")
    interval = _interval(ours)
    if interval is not None:
        return _within(interval[0] <= published.value <= interval[1], "our 95 % interval")
    return _within(ours.mean == published.value, "the published number")


def _interval(ours: Figure) -> tuple[float, float] | None:
    """None where there is none: resampling one patient per site gives the same mean again and again."""
    low, high = ours.ci95 or (None, None)
    return None if low is None or high is None or low == high else (low, high)


def _within(inside: bool, what: str) -> tuple[Verdict, str]:
    return ("within" if inside else "outside"), what
