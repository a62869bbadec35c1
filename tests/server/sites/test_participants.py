"""What differs between the processes of a simulation and the hospitals of an operator."""

from __future__ import annotations

import math
import threading

import pytest
from scripted import PEOPLE, ScriptedGrid, federation

from normfed_common.foundation.errors import SiteCode
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import refusal
from normfed_server.sites.asking import SiteFailed
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.participants import Admitted, Participants, Simulated
from normfed_server.sites.roster import Roster
from normfed_simulation.engines.local import identify


class Listener:
    def __init__(self) -> None:
        self.waited_for: list[list[str]] = []
        self.notes: dict[str, str] = {}

    def connecting(self, sites: list[str]) -> None:
        self.waited_for.append(sites)

    def note(self, site: str, text: str) -> None:
        self.notes[site] = text


def gathered(participants: Participants, grid: ScriptedGrid, study: StudyConfig, listener: Listener) -> Roster:
    identify()
    asker = participants.asker(grid, threading.Event(), study)
    roster = participants.gathered(asker, Letterhead(study), listener)
    roster.close()
    return roster


def test_a_simulation_takes_in_every_process_and_hospitals_are_those_the_operator_admitted(study: StudyConfig) -> None:
    grid = ScriptedGrid(lambda *_: 0.1)
    admitted = {site: node for site, node in grid.connected.items() if site != "d"}
    assert set(gathered(Simulated(len(PEOPLE)), grid, study, Listener()).sites) == set("abcd")
    assert set(gathered(Admitted(lambda: admitted, frozenset), grid, study, Listener()).sites) == set("abc")


def test_hospitals_alone_are_forgiven_and_waited_for_as_long_as_the_study_says(study: StudyConfig) -> None:
    grid, study = ScriptedGrid(lambda *_: 0.1), federation(study, patience_s=17.0)
    excused = frozenset({"b"})
    simulated = Simulated(4).asker(grid, threading.Event(), study)
    hospitals = Admitted(dict, lambda: excused).asker(grid, threading.Event(), study)
    assert (simulated.patience_s, simulated.forgiving, simulated.excused()) == (math.inf, False, frozenset())
    assert (hospitals.patience_s, hospitals.forgiving, hospitals.excused()) == (17.0, True, excused)


def test_a_process_that_cannot_say_who_it_is_ends_a_simulation_and_a_hospital_that_is_excused_does_not(
    study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ScriptedGrid(lambda *_: 0.1)
    reply = grid._reply
    monkeypatch.setattr(
        grid,
        "_reply",
        lambda m: refusal(m, SiteCode.COHORT_TOO_SMALL) if m.metadata.dst_node_id == grid.connected["b"] else reply(m),
    )
    with pytest.raises(SiteFailed, match=r"could not answer query\.describe"):
        gathered(Simulated(len(PEOPLE)), grid, study, Listener())
    hospitals = Admitted(lambda: dict(grid.connected), lambda: frozenset({"b"}))
    assert set(gathered(hospitals, grid, study, Listener()).sites) == set("acd")


def test_who_claims_more_people_than_it_was_enrolled_with_is_noted_of_hospitals(study: StudyConfig) -> None:
    grid, listener = ScriptedGrid(lambda *_: 0.1), Listener()
    hospitals = Admitted(lambda: dict(grid.connected), frozenset, lambda: {"a": 4})
    assert gathered(hospitals, grid, study, listener).sites["a"].train == 4
    assert list(listener.notes) == ["a"]
