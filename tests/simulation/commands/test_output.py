"""Who shows how far along a command is: bars for a person, lines for a script, or nobody."""

from __future__ import annotations

import io
import os
import signal

import pytest
import typer
from rich.console import Console

from normfed_simulation.commands.output import Output, resumable


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


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_whoever_stops_it_and_however_is_told_what_goes_on(sent: signal.Signals, code: int) -> None:
    out, before = io.StringIO(), signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with resumable(Console(file=out, width=300), lambda: "normfed simulate --resume runs/x", lambda: True):
            os.kill(os.getpid(), sent)

    with pytest.raises(typer.Exit) as stopped:
        work()
    assert stopped.value.exit_code == code
    assert out.getvalue().strip().splitlines() == ["Stopped. Go on with:", "  normfed simulate --resume runs/x"]
    assert signal.getsignal(signal.SIGTERM) == before
