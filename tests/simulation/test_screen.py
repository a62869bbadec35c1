"""What a person sees while a study runs, and what a program reads."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from normfed_common.study.config import StudyConfig
from normfed_server.events.log import EventLog
from normfed_server.runs.folder import Run
from normfed_simulation.screen import EVALUATION, TRAINING, JsonLines, Screen

PLAN = {"arms": [["federated", 2, ["a"]], ["atlas", 0, ["a"]]], "left_out": {"c": "takes no part: nobody"}}


@pytest.fixture
def screen() -> Screen:
    return Screen(Console(file=io.StringIO(), width=200))


@pytest.fixture
def log(study: StudyConfig, tmp_path: Any) -> tuple[EventLog, Run]:
    return EventLog(tmp_path / "events.jsonl"), Run(tmp_path, study)


def printed(screen: Screen) -> list[str]:
    assert isinstance(screen.console.file, io.StringIO)
    return screen.console.file.getvalue().splitlines()


def test_bars_count_every_round_and_every_model_and_the_last_step_clears_the_detail(
    screen: Screen, log: tuple[EventLog, Run]
) -> None:
    events, run = log
    with screen.training(run):
        events.say("plan", **PLAN)
        training, evaluation = (screen.progress.tasks[screen.tasks[what]] for what in (TRAINING, EVALUATION))
        assert (training.total, evaluation.total) == (2, 2)
        events.say("round", arm="federated", round=1, loss={"a": 1.0, "b": 2.0})
        assert training.completed == 1
        assert training.fields["detail"] == "federated round 1: loss 1.500, highest b 2.000"
        events.say("round", arm="federated", round=2, loss={"a": 1.0})
        assert (training.completed, training.fields["detail"]) == (2, "")
        events.say("evaluated", arm="atlas")
        assert (evaluation.completed, evaluation.fields["detail"]) == (1, "atlas")
    events.say("evaluated", arm="federated")  # nobody looks any more
    assert evaluation.completed == 1


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        ("plan", PLAN, "! c takes no part: nobody."),
        ("note", {"arm": "ditto", "site": "a", "text": "[bold]it lost"}, "! ditto, a: [bold]it lost"),
        (
            "damaged",
            {"arm": "ditto", "file": "model", "why": "cut short", "kept": "model.damaged-1"},
            "! ditto: model is damaged (cut short); kept as model.damaged-1, made again.",
        ),
        (
            "missing",
            {"arm": "ditto", "round": 2, "site": "a", "outcome": "late", "why": "slow"},
            "! ditto round 2, a late: slow",
        ),
        (
            "missing",
            {"arm": "ditto", "round": 0, "site": "a", "outcome": "no figures", "why": "slow"},
            "! ditto at the end, a no figures: slow",
        ),
        (
            "failed",
            {"arm": "ditto", "why": "Site b refuses."},
            "! ditto could not be trained to the end. Site b refuses.",
        ),
        ("joined", {"arm": "ditto", "site": "d", "round": 3}, "! ditto: d joins from round 3 on."),
    ],
)
def test_what_went_wrong_stays_on_the_screen(
    screen: Screen, log: tuple[EventLog, Run], kind: str, fields: dict[str, Any], text: str
) -> None:
    events, run = log
    with screen.training(run):
        events.say(kind, **fields)
    assert printed(screen) == [text]


def test_work_that_is_nothing_has_no_bar(screen: Screen) -> None:
    screen.begin("Preparing", 0)
    screen.advance("Preparing")
    assert screen.progress.tasks == []


@pytest.mark.parametrize("quiet", [False, True])
def test_a_program_reads_every_event_as_a_line_or_nothing(
    log: tuple[EventLog, Run], capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    events, run = log
    with JsonLines(quiet) as lines, lines.training(run):
        lines.begin("Preparing", 3)
        lines.advance("Preparing", "sub-1")
        lines.warn("a\nwarning")
        events.say("finished")
    events.say("after")
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["event"] for event in found]
    assert kinds == ([] if quiet else ["begin", "done", "warning", "finished"])
    assert all("time" in event for event in found)
