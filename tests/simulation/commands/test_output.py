"""Who shows how far along a command is: bars for a person, lines for a script, or nobody."""

from __future__ import annotations

import pytest
from rich.console import Console

from normfed_simulation.commands.output import Output


@pytest.mark.parametrize(
    ("quiet", "as_json", "lines", "bars"),
    [(False, False, 0, True), (False, True, 2, False), (True, False, 0, False), (True, True, 0, False)],
)
def test_a_person_sees_bars_a_script_reads_lines_and_quiet_is_quiet(
    quiet: bool, as_json: bool, lines: int, bars: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with Output(quiet, as_json).watching(Console(stderr=True)) as watcher:
        watcher.begin("Waiting", 2)
        watcher.advance("Waiting")
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == lines
    assert ("Waiting" in shown.err) == bars
