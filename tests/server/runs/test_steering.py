"""What the operator may still say of a run, by how it stands."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from members import accepted, at_the_same_time, begun

from normfed_common.foundation.errors import RunError, UserError
from normfed_server.runs import steering
from normfed_server.state import admission
from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import DONE, Entry, Ledger, State
from normfed_server.state.notes import CRASH, DEATHS, EXCUSED, OPTIONS, OUTCOME


@pytest.mark.parametrize("state", State)
def test_a_run_is_stopped_unless_it_has_ended(home: ServerHome, ledger: Ledger, state: State) -> None:
    ledger.running("r", 7)
    ledger.set("r", state, "without d")
    if state in DONE:
        with pytest.raises(RunError, match=f"^r: {state.value} already\\.$"):
            steering.stop(home, "r")
        assert (ledger.get("r").state, ledger.get("r").why) == (state, "without d")
        return
    steering.stop(home, "r")
    entry = ledger.get("r")
    assert (entry.state, entry.why) == (State.STOPPED, "by the operator")
    assert entry.flower_run == 7  # so that the reconciler ends it


@pytest.mark.parametrize("state", State)
def test_a_run_goes_on_unless_it_has_ended(home: ServerHome, ledger: Ledger, state: State) -> None:
    ledger.set("r", state, "a reason")
    notes = {home.runs / "r" / note for note in (OUTCOME, DEATHS, CRASH, EXCUSED, OPTIONS)}
    for note in notes:
        note.write_text("{}")
    entry = steering.resume(home, "r")
    assert entry == ledger.get("r")
    gone = {note.name for note in notes if not note.exists()}
    if state in DONE:
        assert (entry.state, entry.why, gone) == (state, "a reason", set())
    else:  # how it ended and how often it died are forgotten; what the operator said is not
        assert (entry.state, entry.why, gone) == (State.OPEN, "", {OUTCOME, DEATHS})


def test_a_run_that_never_wrote_a_note_goes_on_too(home: ServerHome, ledger: Ledger) -> None:
    steering.stop(home, "r")
    assert steering.resume(home, "r").state is State.OPEN


@pytest.mark.parametrize("say", [steering.stop, steering.resume])
def test_nothing_is_said_of_a_run_that_is_not_there(home: ServerHome, ledger: Ledger, say) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RunError, match=r"No run is called x\. Runs: r\."):
        say(home, "x")


def test_what_finished_whole_has_nothing_left_and_what_is_partial_says_what_is_missing() -> None:
    whole = Entry("r", "", State.FINISHED, None, "")
    assert steering.nothing_left(whole) == "r is finished: nothing is left to do."
    partial = steering.nothing_left(Entry("r", "", State.PARTIAL, None, "Trained without d in round 3."))
    assert "cannot be made up for by resuming. Trained without d in round 3. For a model with everybody" in partial
    assert partial.endswith("normfed server run STUDY.yaml")


def test_sites_are_excused_once_each_in_alphabetical_order(home: ServerHome, ledger: Ledger) -> None:
    folder = home.runs / "r"
    for site in "abc":
        admission.enrol(home, site)
    for site in "cac":
        steering.excuse(home, folder, site)
    assert json.loads((folder / EXCUSED).read_text()) == ["a", "c"]
    with pytest.raises(UserError, match="No site is called d"):
        steering.excuse(home, folder, "d")
    assert json.loads((folder / EXCUSED).read_text()) == ["a", "c"]


def test_two_who_excuse_sites_at_once_lose_nothing(
    home: ServerHome, tmp_path: Path, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for site in "ab":
        accepted(home, site, tmp_path)
    folder = home.runs / begun(home, study)
    at_the_same_time(
        monkeypatch,
        steering,
        [partial(steering.excuse, home, folder, site) for site in "ab"],  # type: ignore[misc]
    )
    assert json.loads((folder / "excused.json").read_text()) == ["a", "b"]
