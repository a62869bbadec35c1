"""Flower's node, in a process of our own."""

from __future__ import annotations

import sys
import time

import pytest
from flwr.supernode import start_client_internal as flowers
from flwr.supernode.cli import flower_supernode

from normfed_client.operation.flower import run_supernode

COMMAND = sys.modules[flower_supernode.__module__]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of a node that wants Flower's two."""
    pauses: list[float] = []
    monkeypatch.setattr(flowers, "time", flowers.time)  # put back afterwards
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(COMMAND, "flower_supernode", lambda: [flowers.time.sleep(wanted) for wanted in (3, 0.5)])
    return pauses


def test_a_node_pauses_as_long_as_flower_says(asked: list[float]) -> None:
    run_supernode()
    assert asked == [3, 0.5]


def test_a_node_pauses_as_long_as_it_is_told_and_shorter_pauses_shrink_with_it(asked: list[float]) -> None:
    run_supernode(0.3)
    assert asked == pytest.approx([0.3, 0.05])


def test_flowers_loop_pauses_by_what_is_replaced() -> None:
    """A Flower that pauses otherwise would not be quickened, and nobody would notice."""
    loop = flowers.start_client_internal.__code__
    assert {"time", "sleep"} <= set(loop.co_names)
    assert 3 in loop.co_consts
