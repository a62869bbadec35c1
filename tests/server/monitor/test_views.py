"""What the monitor makes of a run's events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from members import accepted, fingerprint_of

from normfed_common.foundation.versions import PROTOCOL, installed_version
from normfed_server.monitor.figures import exposition
from normfed_server.monitor.views import SHOWN_LINES, SHOWN_RUNS, RunView, Views
from normfed_server.state import admission
from normfed_server.state.fleet import FleetNotes
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import Entry, State

OPEN = Entry("r", "", State.OPEN, 1, "")


def round_event(number: int, seconds: float = 10.0, arm: str = "federated", **changes: Any) -> dict[str, Any]:
    return {
        "event": "round",
        "time": 100.0 * number,
        "arm": arm,
        "round": number,
        "rounds": 9,
        "loss": {"a": 0.5},
        "seconds": seconds,
        "outcomes": {"a": "took part"},
        "site_seconds": {"a": 36.0, "b": 72.0},
        "megabytes": {"out": 2.0, "back": 3.0},
        **changes,
    }


def plan(rounds: int) -> dict[str, Any]:
    arms = [["federated", rounds, []], ["local-a", 3, []]]
    return {"event": "plan", "time": 0.0, "arms": arms, "sites": {}, "left_out": {}}


def missing(site: str) -> dict[str, Any]:
    event = {"event": "missing", "time": 0.0, "arm": "federated", "round": 1}
    return {**event, "site": site, "outcome": "late", "why": "slow"}


@pytest.fixture
def view(home: ServerHome) -> RunView:
    (home.runs / "r").mkdir()
    return RunView(home, "r")


def happens(home: ServerHome, *events: dict[str, Any]) -> None:
    with open(home.runs / "r" / "events.jsonl", "a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def test_the_end_is_foreseen_at_the_pace_of_the_last_five_rounds(home: ServerHome, view: RunView) -> None:
    happens(home, plan(9), round_event(1, 1000.0), *(round_event(n, 10.0 * n) for n in range(2, 7)))
    view.look()
    assert view.shown(OPEN)["ends"] == 600.0 + 3 * (20 + 30 + 40 + 50 + 60) / 5


@pytest.mark.parametrize(("rounds", "state"), [(2, State.OPEN), (9, State.STOPPED), (9, State.FINISHED)])
def test_no_end_is_foreseen_where_there_is_none(home: ServerHome, view: RunView, rounds: int, state: State) -> None:
    assert view.shown(OPEN)["ends"] is None
    happens(home, plan(rounds), round_event(1), round_event(2))
    view.look()
    assert view.shown(Entry("r", "", state, 1, ""))["ends"] is None


def test_rounds_that_are_trained_again_after_a_crash_stand_once(home: ServerHome, view: RunView) -> None:
    happens(home, plan(9), *(round_event(n) for n in (1, 2, 3)), round_event(2, 77.0))
    view.look()
    assert [(r["round"], r["seconds"]) for r in view.shown(OPEN)["history"]] == [(1, 10.0), (2, 77.0)]
    assert view.shown(OPEN)["models"] == {"federated": [2, 9]}


def test_other_models_rounds_are_counted_apart(home: ServerHome, view: RunView) -> None:
    happens(
        home,
        plan(9),
        round_event(1),
        round_event(2, arm="local-a"),
        {"event": "evaluated", "time": 1.0, "arm": "local-a", "sites": []},
    )
    view.look()
    shown = view.shown(OPEN)
    assert (shown["round"], shown["rounds"], shown["evaluated"]) == (1, 9, 1)
    assert shown["models"] == {"federated": [1, 9], "local-a": [2, 3]}


def test_energy_is_seconds_times_watts_of_the_sites_that_said_theirs(home: ServerHome, view: RunView) -> None:
    machine = {
        **dict.fromkeys(("normfed", "flwr", "torch", "python"), "1.0"),
        "study": "x",
        "cores": 4,
        "memory_gb": 8.0,
        "disk_gb": 99.0,
        "people": "10–29",
    }
    machines = {"a": {**machine, "power_w": 100.0}, "b": machine}
    happens(home, {"event": "fit", "time": 0.0, "sites": machines, "needs": {}, "findings": []}, round_event(1))
    view.look()
    assert view.rounds[0]["energy_wh"] == pytest.approx(1.0)  # 36 s of 100 W are one watt-hour


def test_sites_that_do_not_say_how_long_they_trained_have_no_energy(home: ServerHome, view: RunView) -> None:
    happens(home, round_event(1, site_seconds={}))
    view.look()
    assert view.rounds[0]["energy_wh"] is None


def test_who_was_missing_is_named_until_it_takes_part_again(home: ServerHome, view: RunView) -> None:
    happens(home, missing("a"), missing("b"), round_event(2, outcomes={"a": "took part", "b": "late"}))
    view.look()
    assert view.shown(OPEN)["missing"] == {"b": "late: slow"}


def test_who_is_waited_for_is_shown_until_the_round_is_over_or_the_run_is(home: ServerHome, view: RunView) -> None:
    happens(
        home, {"event": "waiting", "time": 0.0, "arm": "federated", "round": 1, "sites": {"a": False}, "seconds": 9}
    )
    view.look()
    assert view.shown(OPEN)["waiting"] == {"a": False}
    assert view.shown(Entry("r", "", State.STOPPED, None, ""))["waiting"] == {}
    happens(home, round_event(1))
    view.look()
    assert view.shown(OPEN)["waiting"] == {}


def test_the_latest_lines_come_first_and_the_oldest_go(home: ServerHome, view: RunView) -> None:
    happens(home, *(round_event(n) for n in range(1, SHOWN_LINES + 3)))
    view.look()
    lines = view.shown(OPEN)["lines"]
    assert len(lines) == SHOWN_LINES
    assert lines[0]["time"] == 100.0 * (SHOWN_LINES + 2)
    assert lines[-1]["time"] == 300.0


def test_the_latest_runs_are_shown_the_newest_first(home: ServerHome) -> None:
    ledger = home.ledger
    for number in range(SHOWN_RUNS + 2):
        ledger.add(f"r{number}")
    shown = [run["name"] for run in Views(home).state()["runs"]]
    assert shown == [f"r{number}" for number in reversed(range(2, SHOWN_RUNS + 2))]


def test_a_metrics_line_is_there_for_every_figure_whatever_a_name_holds(home: ServerHome, view: RunView) -> None:
    for site in "ab":
        admission.enrol(home, site)
    admission.accept(home, "a", "key", fingerprint_of("a"))
    admission.write_seen(home, {"a": {"id": 1, "online": True}})
    home.ledger.add("r")
    happens(home, plan(9), round_event(1, loss={"a": 0.25, "b": None}))
    state = Views(home).state()
    state["runs"][0]["name"] = 'a "name"\\with\nall'
    state["services"] = {"superlink": {"pid": 7, "restarts": 3}, "monitor": {"pid": None, "restarts": 0}}
    run = r'run="a \"name\"\\with\nall"'  # as Prometheus' format wants it
    lines = exposition(state).splitlines()
    assert [line for line in lines if not line.startswith(("#", "normfed_certificate"))] == [
        'normfed_service_up{service="superlink"} 1.0',
        'normfed_service_up{service="monitor"} 0.0',
        'normfed_service_restarts_total{service="superlink"} 3.0',
        'normfed_service_restarts_total{service="monitor"} 0.0',
        'normfed_site_connected{site="a"} 1.0',
        "normfed_runs_open 1.0",
        f"normfed_run_round{{{run}}} 1.0",
        f"normfed_run_rounds{{{run}}} 9.0",
        f"normfed_round_seconds{{{run}}} 10.0",
        f'normfed_round_megabytes{{{run},way="out"}} 2.0',
        f'normfed_round_megabytes{{{run},way="back"}} 3.0',
        f"normfed_round_energy_wh{{{run}}} 0.0",
        f'normfed_site_loss{{{run},site="a"}} 0.25',
    ]
    assert "# TYPE normfed_service_restarts_total counter" in lines


def test_the_monitor_shows_rounds_sites_energy_and_the_end(watched: tuple[ServerHome, str]) -> None:
    home, name = watched
    state = Views(home).state()
    (run,) = state["runs"]
    assert (run["name"], run["round"], run["rounds"], run["state"]) == (name, 2, 4, "open")
    assert run["history"][-1]["energy_wh"] == pytest.approx(180 * 20 / 3600)
    assert run["ends"] == pytest.approx(20.0 + 2 * 10.0)
    assert run["waiting"] == {"a": False}
    assert [(s["name"], s["online"]) for s in state["sites"]] == [("a", True)]


def test_the_fleet_is_part_of_the_state_with_what_sites_said_last_and_why_one_does_not_fit(
    home: ServerHome, tmp_path: Path
) -> None:
    for site in ("a", "b"):
        accepted(home, site, tmp_path)
    FleetNotes(home, "r").described("a", {"normfed": installed_version(), "torch": "2.13.0"})
    FleetNotes(home, "r").described("b", {"normfed": "99.0.0"})
    admission.write_seen(home, {"a": {"id": 1, "online": True, "since": "2026-11-27T10:00:00+00:00"}})
    state = Views(home).state()
    assert (state["version"], state["protocol"]) == (installed_version(), PROTOCOL)
    a, b = state["sites"]
    assert (a["state"], a["shown"], a["online"], a["fits"], a["machine"]["torch"]) == (
        "accepted", "connected", True, "yes", "2.13.0"
    )  # fmt: skip
    assert (b["state"], b["shown"], b["online"], b["fits"]) == ("accepted", "accepted", False, "no")
    assert b["unfit"][0].startswith("has normfed 99.0.0")
    json.dumps(state)
