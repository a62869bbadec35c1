"""Who shows how far along things are."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
from rich.console import Console

from normfed_simulation.api import progress
from normfed_simulation.screen import Screen
from normfed_simulation.watcher import Silent


def test_false_shows_nothing_and_an_object_of_ones_own_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    own = Silent()
    for asked, kind in ((False, Silent), (own, Silent), (True, Screen)):
        with progress.watching(asked) as watcher:
            assert isinstance(watcher, kind)
            assert asked is not own or watcher is own
            watcher.begin("Waiting", 2)
            watcher.advance("Waiting")
        shown = capsys.readouterr()
        assert shown.out == ""
        assert ("Waiting" in shown.err) == (asked is True)


@pytest.mark.parametrize(("widgets", "drawn"), [(True, True), (False, False)])
def test_a_notebook_draws_bars_where_it_can_and_says_lines_else(
    widgets: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    found: Callable[[str], object] = {True: lambda name: object(), False: lambda name: None}[widgets]
    monkeypatch.setattr(importlib.util, "find_spec", found)
    console = progress._console()
    assert isinstance(console, Console)
    assert console.is_jupyter == drawn
