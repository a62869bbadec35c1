"""What a person sees while a study runs, and what a program reads."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from typing import Any

import pytest
from rich.console import Console

from normfed_common.study.config import StudyConfig
from normfed_common.wording.progress import Times
from normfed_server.events.fleeting import Answered, Scanned
from normfed_server.events.kinds import (
    Damaged,
    Evaluated,
    Event,
    Failed,
    Finished,
    Joined,
    Missing,
    Noted,
    People,
    Planned,
    PlannedArm,
    RoundDone,
)
from normfed_server.events.log import EventLog, pass_on
from normfed_server.runs.folder import Run
from normfed_simulation.screen import EVALUATION, TRAINING, JsonLines, Screen

PLAN = Planned(
    arms=(PlannedArm("federated", 2, ("a",)), PlannedArm("atlas", 0, ("a",))),
    sites={},
    left_out={"c": "takes no part: nobody"},
)


def round_done(number: int, **loss: float | None) -> RoundDone:
    entry = {"round": number, "loss": loss, "seconds": 1.0, "outcomes": {}, "megabytes": {"out": 1.0, "back": 1.0}}
    return RoundDone.of("federated", 2, entry)


@pytest.fixture
def screen() -> Screen:
    return Screen(Console(file=io.StringIO(), width=200))


@pytest.fixture
def log(study: StudyConfig, tmp_path: Any) -> tuple[EventLog, Run]:
    return EventLog(tmp_path / "events.jsonl"), Run(tmp_path, study)


def printed(screen: Screen) -> list[str]:
    assert isinstance(screen.console.file, io.StringIO)
    return screen.console.file.getvalue().splitlines()


def test_where_no_terminal_draws_bars_every_tenth_is_a_line(screen: Screen) -> None:
    with screen:
        screen.begin("Preprocessing", 40)
        for _ in range(9):
            screen.advance("Preprocessing")
        lines = printed(screen)  # while it goes on, not at the end
    assert [line.split(" ", 1)[1] for line in lines] == [f"Preprocessing: {done} of 40" for done in (0, 4, 8)]


def test_bars_count_every_round_and_every_model_and_the_last_step_clears_the_detail(
    screen: Screen, log: tuple[EventLog, Run]
) -> None:
    events, run = log
    with screen.training(run):
        events.say(PLAN)
        training, evaluation = (screen.progress.tasks[screen.tasks[what]] for what in (TRAINING, EVALUATION))
        assert (training.total, evaluation.total) == (2, 2)
        events.say(round_done(1, a=1.0, b=2.0, c=None))
        assert training.completed == 1
        assert training.fields["detail"] == "loss 1.500, federated round 1, highest b 2.000"
        events.say(round_done(2, a=1.0))
        assert (training.completed, training.fields["detail"]) == (2, "")
        events.say(Evaluated(arm="atlas", sites=("a",)))
        assert (evaluation.completed, evaluation.fields["detail"]) == (1, "atlas")
    events.say(Evaluated(arm="federated", sites=("a",)))  # nobody looks any more
    assert evaluation.completed == 1


def test_the_bar_of_an_evaluation_moves_with_every_answer_and_says_what_is_done_with_every_scan(
    screen: Screen, log: tuple[EventLog, Run]
) -> None:
    events, run = log
    with screen.training(run):
        events.say(PLAN)
        evaluation = screen.progress.tasks[screen.tasks[EVALUATION]]
        for _ in range(3):
            pass_on(Scanned(arm="atlas", task="evaluate.score"))
        assert (evaluation.completed, evaluation.fields["detail"]) == (0, "atlas: scoring, 3 scans")
        pass_on(Answered(arm="atlas", site="a", done=1, total=4))
        pass_on(Answered(arm="federated", site="a", done=2, total=4))
        assert (evaluation.completed, evaluation.fields["detail"]) == (0.75, "federated: 2 of 4 answers")
        events.say(Evaluated(arm="federated", sites=("a",)))  # two answers never came
        assert evaluation.completed == 1.25
        pass_on(Scanned(arm="atlas", task="train.round"))
        pass_on(Scanned(arm="atlas", task="evaluate.measure"))
        assert evaluation.fields["detail"] == "atlas: measuring, 1 scans"
        events.say(Evaluated(arm="atlas", sites=("a",)))
        assert (evaluation.completed, evaluation.finished) == (2, True)
    assert [line.split(" ", 1)[1] for line in printed(screen) if EVALUATION in line] == [
        f"Evaluation: {done} of 2" for done in (0, 1, 2)
    ]
    assert "scan" not in (run.folder / "events.jsonl").read_text()


def test_a_bar_says_for_how_long_it_has_gone_on_before_anybody_knows_how_much_is_left() -> None:
    now = 0.0
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    screen = Screen(console)
    screen.progress.get_time = lambda: now
    screen.begin("Work", 4)
    (task,) = screen.progress.tasks
    now = 75.0
    assert Times().render(task).plain == "0:01:15"
    screen.advance("Work")
    now = 100.0
    screen.advance("Work")
    assert Times().render(task).plain == "0:01:40, about 2 min left"
    screen.advance("Work")
    screen.advance("Work")
    now = 200.0
    assert Times().render(task).plain == "0:01:40"


def test_what_is_left_of_an_evaluation_is_of_people_to_score_since_its_first_answer(
    log: tuple[EventLog, Run],
) -> None:
    """Ten people by one model and two by the other: after the two in half a minute, ten are left, 2.5 minutes."""
    now = 0.0
    events, run = log
    screen = Screen(Console(file=io.StringIO(), width=200))
    screen.progress.get_time = lambda: now
    people = {
        site: People(train=3, held_out=held_out, test=test, kinds=())
        for site, held_out, test in (("a", 2, 6), ("b", 0, 2), ("c", -1, -1))
    }
    plan = Planned(
        arms=(PlannedArm("federated", 1, ("a", "b")), PlannedArm("without-b", 0, ("b",))), sites=people, left_out={}
    )
    with screen.training(run):
        events.say(plan)
        evaluation = screen.progress.tasks[screen.tasks[EVALUATION]]
        now = 600.0  # of training
        assert Times().render(evaluation).plain == ""
        pass_on(Scanned(arm="without-b", task="evaluate.score"))
        now = 630.0
        events.say(Evaluated(arm="without-b", sites=("b",)))
        assert Times().render(evaluation).plain == "0:00:30, about 2 min left"  # 30 s / 2 x 10 = 150 s
        now = 660.0
        assert Times().render(evaluation).plain == "0:01:00, about 5 min left"
        pass_on(Answered(arm="federated", site="a", done=1, total=2))
        assert Times().render(evaluation).plain == "0:01:00, under 1 min left"  # 60 s / 7 x 5 = 43 s


def test_a_bar_says_that_it_has_begun_before_its_first_step(screen: Screen) -> None:
    screen.begin("Synthetic people", 94)
    assert screen.progress.tasks[0].fields["detail"] == "beginning"


def test_bars_of_a_run_that_is_taken_up_again_begin_where_it_was(screen: Screen, log: tuple[EventLog, Run]) -> None:
    events, run = log
    plan = PLAN.model_copy(
        update={"arms": tuple(PlannedArm(name, rounds, ("a",)) for name, rounds in (("federated", 4), ("atlas", 0)))}
    )
    for event in (plan, Evaluated(arm="atlas", sites=("a",)), round_done(1, a=1.0), round_done(2, a=1.0)):
        events.say(event)  # an earlier process
    with screen.training(run):
        events.say(plan)
        training, evaluation = (screen.progress.tasks[screen.tasks[what]] for what in (TRAINING, EVALUATION))
        assert (training.completed, training.total) == (2, 4)
        assert (evaluation.completed, evaluation.total) == (1, 2)
        events.say(Evaluated(arm="atlas", sites=("a",)))  # said again, of figures that are there
        assert evaluation.completed == 1
        events.say(round_done(2, a=1.0))  # trained again, since its progress was damaged
        events.say(round_done(3, a=1.0))
        assert training.completed == 3


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (PLAN, "! c takes no part: nobody"),
        (Noted(arm="ditto", site="a", text="[bold]it lost"), "! ditto, a: [bold]it lost"),
        (
            Damaged(arm="ditto", file="model", why="cut short", kept="model.damaged-1"),
            "! ditto: model is damaged (cut short); kept as model.damaged-1, made again",
        ),
        (Missing(arm="ditto", round=2, site="a", outcome="late", why="slow"), "! ditto round 2, a late: slow"),
        (
            Missing(arm="ditto", round=0, site="a", outcome="no figures", why="slow"),
            "! ditto at the end, a no figures: slow",
        ),
        (Failed(arm="ditto", why="Site b refuses."), "! ditto could not be trained to the end. Site b refuses."),
        (Joined(arm="ditto", site="d", round=3), "! ditto: d joins from round 3 on"),
    ],
    ids=["plan", "note", "damaged", "missing from a round", "missing at the end", "failed", "joined"],
)
def test_what_went_wrong_stays_on_the_screen(
    screen: Screen, log: tuple[EventLog, Run], event: Event, text: str
) -> None:
    events, run = log
    with screen.training(run):
        events.say(event)
    assert [line for line in printed(screen) if not line.endswith(" 0 of 2")] == [text]


def test_a_round_without_any_loss_is_counted_all_the_same(screen: Screen, log: tuple[EventLog, Run]) -> None:
    events, run = log
    with screen.training(run):
        events.say(PLAN)
        events.say(round_done(1, a=None))
        assert screen.progress.tasks[screen.tasks[TRAINING]].fields["detail"] == (
            "federated round 1: no site tells its loss"
        )


def test_work_that_is_nothing_has_no_bar(screen: Screen) -> None:
    screen.begin("Preparing", 0)
    screen.advance("Preparing")
    assert screen.progress.tasks == []


def test_a_program_reads_every_event_as_a_line(log: tuple[EventLog, Run], capsys: pytest.CaptureFixture[str]) -> None:
    events, run = log
    with JsonLines() as lines, lines.training(run):
        lines.begin("Preparing", 3)
        lines.advance("Preparing", "sub-1")
        lines.warn("a\nwarning")
        events.say(Finished())
    events.say(Finished())
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["event"] for event in found]
    assert kinds == ["begin", "done", "warning", "finished"]
    assert all("time" in event for event in found)


def test_without_a_reader_it_is_as_if_by_ctrl_c(log: tuple[EventLog, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """`| head` reads ten lines; before, the study ran on to its end, for nobody."""
    events, run = log
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        with JsonLines() as lines, lines.training(run):
            events.say(Finished())
            assert json.loads(os.read(reader, 1000))["event"] == "finished"
            os.close(reader)
            with pytest.raises(KeyboardInterrupt):
                _said_and_waited(events)
            events.say(Finished())  # what is said on the way out is no error


def _said_and_waited(events: EventLog) -> None:
    events.say(Finished())
    time.sleep(60)


@pytest.mark.parametrize("width", [80, 120])
def test_the_loss_of_a_round_is_whole_on_a_narrow_terminal(width: int, log: tuple[EventLog, Run]) -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=width, force_terminal=True, color_system=None))
    events, run = log
    with screen, screen.training(run):
        events.say(PLAN)
        events.say(round_done(1, a=0.25, b=0.5))
        screen.progress.refresh()
    assert "loss 0.375" in out.getvalue()
