"""Flower's node, in a process of our own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest
from flwr.supernode import start_client_internal as flowers
from flwr.supernode.cli import flower_supernode

from normfed_client.operation.flower import run_supernode

COMMAND = sys.modules[flower_supernode.__module__]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """The pauses, in s, of a node whose Flower wants these, one after another, on a clock that stands still between."""
    now, made = [1000.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds
        made.append(seconds)

    def ran(*wanted: float) -> list[float]:
        monkeypatch.setattr(COMMAND, "flower_supernode", lambda: [flowers.time.sleep(pause) for pause in wanted])
        run_supernode()
        return made

    monkeypatch.setattr(flowers, "time", flowers.time)  # put back afterwards
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return ran


@pytest.mark.parametrize("flowers_own", [3, 0.5])
def test_a_node_pauses_shortly_at_first_and_as_long_as_flower_in_the_end(
    pauses: Callable[..., list[float]], flowers_own: float
) -> None:
    made = pauses(*[flowers_own] * 100)
    assert made[0] == pytest.approx(flowers_own / 4)
    assert made == sorted(made)
    assert made[-1] == flowers_own
    assert made[10] == pytest.approx(flowers_own / 4)  # a wait of a few seconds is not slowed


def test_whatever_comes_makes_the_next_pauses_short_again(pauses: Callable[..., list[float]]) -> None:
    made = pauses(*[3] * 100, 0.5, 0.5, 3)
    assert made[-4] == 3
    assert made[-3:] == pytest.approx([0.5 / 4, 0.5 / 4, 0.75])


def test_flowers_loop_pauses_by_what_is_replaced() -> None:
    """A Flower that pauses otherwise would not be quickened, and nobody would notice."""
    loop = flowers.start_client_internal.__code__
    assert {"time", "sleep"} <= set(loop.co_names)
    assert 3 in loop.co_consts
