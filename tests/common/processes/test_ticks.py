"""Ticks: to whoever listens, for as long as they do."""

from __future__ import annotations

from normfed_common.processes.ticks import heard, tick


def test_ticks_are_heard_within_and_by_nobody_else() -> None:
    outer: list[str] = []
    inner: list[str] = []
    tick()
    with heard(lambda: outer.append("tick")):
        tick()
        with heard(lambda: inner.append("tick")):
            tick()
            tick()
        tick()
    tick()
    assert (len(outer), len(inner)) == (2, 2)
