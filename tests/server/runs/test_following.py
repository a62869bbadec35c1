"""A run seen from outside: its events once each, in order, until the ledger says that it ended."""

from __future__ import annotations

import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from normfed_common.processes.supervision import only_one
from normfed_server.events.kinds import AskedAgain, CanarySent, Evaluated, Event, Failed, Noted, StageDone
from normfed_server.runs import following
from normfed_server.runs.following import Lines, Live, Tail, follow
from normfed_server.runs.wording import worded
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import Ledger, State

NOT_RUNNING = "the server does not run; start it: normfed server start"


def note(text: str) -> dict[str, Any]:
    return {"time": 1.0, "event": "note", "arm": "federated", "site": "a", "text": text}


def stage(number: int) -> str:
    return StageDone(arm="federated", stage=number, stages=9).line()


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=6), st.lists(st.integers(0, 200)))
def test_events_come_once_whole_and_in_order_however_the_file_grows(texts: list[str], places: list[int]) -> None:
    written = "".join(json.dumps(note(text), ensure_ascii=False) + "\n" for text in texts).encode()
    cuts = sorted(min(place, len(written)) for place in places)
    found: list[Event] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        tail = Tail(path)
        assert list(tail.new()) == []  # not there yet
        for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True):
            with open(path, "ab") as file:
                file.write(written[start:end])
            found += tail.new()
            assert len(found) == written[:end].count(b"\n")
    assert [event.text for event in found if isinstance(event, Noted)] == texts


def test_a_line_that_is_damaged_is_passed_over_and_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    damaged = b'\n\0\0\0\n\xff\n{"n": \n{"n": 2}\n[]\n'
    path.write_bytes(stage(1).encode() + damaged + stage(2).encode() + b"\n")
    tail = Tail(path)
    assert [event.stage for event in tail.new() if isinstance(event, StageDone)] == [1, 2]
    assert list(tail.new()) == []


class Script:
    """What is shown; after every pause the next thing happens."""

    def __init__(self, *happens: Any) -> None:
        self.happens = list(happens)
        self.seen: list[Any] = []

    def event(self, event: Event) -> None:
        assert isinstance(event, StageDone)
        self.seen.append(event.stage)

    def note(self, text: str) -> None:
        self.seen.append(text)

    def pause(self, _: float) -> None:
        self.happens.pop(0)()


def say(home: ServerHome, *numbers: int) -> None:
    with open(home.runs / "r" / "events.jsonl", "a") as file:
        file.writelines(stage(number) + "\n" for number in numbers)


def watched(home: ServerHome, script: Script, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setattr(following.time, "sleep", script.pause)
    return follow(home, "r", script).state


@pytest.mark.parametrize("state", [state for state in State if state is not State.OPEN])
def test_a_run_is_followed_to_its_end_and_its_last_events_are_shown(
    home: ServerHome, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    def ends() -> None:
        say(home, 3)
        ledger.set("r", state, "a reason")

    say(home, 1)
    script = Script(lambda: say(home, 2), lambda: None, ends)
    with only_one(home.log, "server"):
        assert watched(home, script, monkeypatch) is state
    assert script.seen == [1, 2, 3]
    assert script.happens == []


def test_why_it_does_not_run_is_said_once_for_each_reason(
    home: ServerHome, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(
        lambda: ledger.interrupted("r", "killed"),
        lambda: None,
        lambda: ledger.interrupted("r", "killed again"),
        lambda: ledger.running("r", 1),
        lambda: ledger.interrupted("r", "killed again"),
        lambda: ledger.set("r", State.FAILED, "given up"),
    )
    with only_one(home.log, "server"):
        watched(home, script, monkeypatch)
    assert script.seen == ["killed", "killed again", "killed again"]


def test_a_server_that_does_not_run_is_said_once(
    home: ServerHome, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(lambda: None, lambda: None, lambda: ledger.set("r", State.STOPPED))
    watched(home, script, monkeypatch)
    assert script.seen == [NOT_RUNNING]


def test_scripts_read_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = time.time()
    with Lines() as lines:
        lines.event(Noted(time=1.0, arm="federated", site="a", text="é\n[x]"))
        lines.note("killed\nagain")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == note("é\n[x]")
    assert (second["event"], second["text"]) == ("note", "killed\nagain")
    assert before - 1 < second["time"] < time.time() + 1


def test_scripts_read_what_this_version_does_not_know_as_it_stands_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = {"time": 1.0, "event": "of a later version", "what": {"a": [1, None]}}
    (tmp_path / "events.jsonl").write_text(json.dumps(later) + "\n")
    (event,) = Tail(tmp_path / "events.jsonl").new()
    Lines().event(event)
    assert json.loads(capsys.readouterr().out) == later
    assert list(worded(event)) == []


@pytest.mark.parametrize(
    ("event", "mark"),
    [
        (Evaluated(time=0.0, arm="[red]x[/red]", sites=("a",)), "✓"),
        (CanarySent(time=0.0, arm="federated", sites=("a",)), " "),
        (AskedAgain(time=0.0, site="a", why="[bold]"), "!"),
        (Failed(time=0.0, arm="x", why="[/]"), "✗"),
    ],
    ids=["evaluated", "canary", "asked again", "failed"],
)
def test_a_person_reads_the_time_a_mark_and_the_words_as_they_are(event: Event, mark: str) -> None:
    out = io.StringIO()
    with Live(Console(file=out, width=20)) as live:
        live.event(event)
    ((_, text),) = worded(event)
    assert out.getvalue() == f"{time.strftime('%H:%M:%S', time.localtime(0))} {mark} {text}\n"


def test_the_end_of_a_run_is_told_by_whoever_shows_the_run_and_not_twice() -> None:
    assert list(worded(Failed(arm="federated", why="Site b refuses."))) == []


def test_no_text_of_a_site_steers_the_operators_terminal() -> None:
    out = io.StringIO()
    with Live(Console(file=out, force_terminal=True, color_system=None, width=200)) as shown:
        shown.event(Noted(arm="federated", site="a", text="\x1b[2J[/x] \x1b[8m"))
        shown.note("\x1b[2J")
    assert "[/x]" in out.getvalue()
    assert "\x1b" not in out.getvalue()
