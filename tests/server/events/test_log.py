"""The log of a run's events, and what is said of damage."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from normfed_common.foundation.errors import DamagedError
from normfed_server.events.damage import put_aside
from normfed_server.events.kinds import Event, Finished, Noted, StageDone, parse
from normfed_server.events.log import EventLog, subscribe


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def test_what_is_said_is_a_line_and_listeners_hear_the_same_until_they_stop(tmp_path: Path) -> None:
    heard: list[Event] = []
    log = EventLog(tmp_path / "events.jsonl")
    stop = subscribe(heard.append)
    try:
        log.say(Noted(arm="ditto", site="a", text="two\nlines"))
    finally:
        stop()
    log.say(Finished())
    first, second = events(log.path)
    assert [parse(json.dumps(first))] == heard
    assert (first["event"], first["text"]) == ("note", "two\nlines")
    assert second["event"] == "finished"


def test_a_listener_may_stop_while_it_listens_and_the_others_hear_all(tmp_path: Path) -> None:
    heard: list[str] = []
    stops = [subscribe(lambda event: stops[0]()), subscribe(lambda event: heard.append(event.event))]
    try:
        EventLog(tmp_path / "events.jsonl").say(Finished())
    finally:
        stops[1]()
    assert heard == ["finished"]


def test_a_listener_that_fails_is_said_once_and_costs_neither_the_event_nor_the_other_listeners(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    asked: list[str] = []

    def fails(event: object) -> None:
        asked.append("again")
        raise BrokenPipeError("the reader went away")

    stops = [subscribe(fails), subscribe(heard.append)]
    log = EventLog(tmp_path / "events.jsonl")
    try:
        for _ in range(3):
            log.say(Finished())
    finally:
        for stop in stops:
            stop()
    assert len(heard) == len(events(log.path)) == len(asked) == 3
    (said,) = caplog.records
    assert "the run goes on without it" in said.message
    assert "the reader went away" in caplog.text


def test_threads_that_speak_at_the_same_time_write_whole_lines(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: log.say(StageDone(arm="x" * 5000, stage=number, stages=99)), range(100)))
    assert sorted(event["stage"] for event in events(log.path)) == list(range(100))


def test_a_damaged_file_is_kept_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"half")
    log = EventLog(tmp_path / "events.jsonl")
    put_aside(log, "ditto", path, DamagedError("the whole text", "cut short"))
    (event,) = events(log.path)
    assert {key: event[key] for key in ("event", "arm", "file", "why")} == {
        "event": "damaged",
        "arm": "ditto",
        "file": "model.safetensors",
        "why": "cut short",
    }
    assert (tmp_path / event["kept"]).read_bytes() == b"half"
    assert not path.exists()
    assert f"damaged (cut short). It is kept as {event['kept']}, and made again." in caplog.text
