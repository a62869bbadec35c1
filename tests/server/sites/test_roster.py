"""A site that joins in the middle of a run is asked who it is, and holds nobody up until it has answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from scripted import PEOPLE, STEP, ScriptedGrid, federation, run

from normfed_common.foundation.errors import RunError, SiteCode
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Answer, Described, Machine
from normfed_common.wire.messages import answer, refusal
from normfed_server.sites import roster
from normfed_server.sites.asking import Asker
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_simulation.engines.local import identify


class Preparing(ScriptedGrid):
    """Sites whose answers to who they are wait until they are let go."""

    def __init__(self, slow: set[str]) -> None:
        self.members = {**PEOPLE, "e": 20}
        super().__init__(lambda site, _: STEP.get(site, 1.0), self.members)
        self.slow, self._held = slow, dict[str, str]()
        self.described: list[str] = []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        ids = list(super().push_messages(messages))
        nodes = {node: site for site, node in self.connected.items()}
        for number, message in zip(ids, messages, strict=True):
            if message.metadata.message_type == "query.describe":
                self.described.append(nodes[message.metadata.dst_node_id])
                self._held[number] = nodes[message.metadata.dst_node_id]
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return super().pull_messages([i for i in message_ids if self._held.get(i) not in self.slow])


def test_a_newcomer_that_prepares_its_scans_holds_up_no_round(study: StudyConfig, tmp_path: Path) -> None:
    grid = Preparing({"e"})
    node = grid.connected.pop("e")

    def schedule(site: str, round: int) -> Any:
        if site == "d" and round == 1:
            grid.connected["e"] = node
        if site == "d" and round == 3:
            grid.slow.clear()
        return STEP.get(site, 1.0)

    grid.behaviour = schedule
    _, history = run(federation(study, rounds=4), grid, tmp_path, open=True)
    assert [sorted(entry["outcomes"]) for entry in history] == [list("abcd")] * 3 + [list("abcde")]
    assert grid.described.count("e") == 1
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(e["site"], e["round"]) for e in events if e["event"] == "joined"] == [("e", 4)]


def with_a_newcomer(study: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> tuple[Preparing, Roster]:
    """A roster of four that listens often, and a fifth site that has just connected and still prepares."""
    monkeypatch.setattr(roster, "LISTEN_S", 0.01)
    identify()
    grid = Preparing({"e"})
    node = grid.connected.pop("e")
    found = Roster(grid, Asker(grid, threading.Event()), Letterhead(study))
    found.wait_for(4)
    grid.connected["e"] = node
    return grid, found


def test_a_newcomer_is_heard_between_the_rounds_as_well(study: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, found = with_a_newcomer(study, monkeypatch)
    assert found.refresh() == set("abcd")
    grid.slow.clear()
    until = time.monotonic() + 60
    while "e" not in found.sites and time.monotonic() < until:
        time.sleep(0.01)
    assert found.trainers(2)["e"] == 20
    found._listener.join(60)
    assert not found._listener.is_alive()  # nobody is waited for


def test_who_is_shut_out_while_it_is_asked_takes_nobodys_place(
    study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is looked up when its answer comes: it could then call itself as it likes."""
    monkeypatch.setattr(roster, "LISTEN_S", 60.0)
    identify()
    grid = Preparing({"e"})
    node = grid.connected.pop("e")
    members = dict(grid.connected)
    found = Roster(grid, Asker(grid, threading.Event()), Letterhead(study), members=lambda: members)
    found.wait_for_members(frozenset, lambda _: None)
    members["e"] = grid.connected["e"] = node
    found.refresh()
    del members["e"]
    grid.slow.clear()
    found.refresh()
    assert "e" not in found.sites
    assert set(found.nodes) == set("abcd")
    found.close()


def test_nobody_listens_for_newcomers_once_the_roster_is_closed(
    study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = with_a_newcomer(study, monkeypatch)
    found.refresh()
    assert found._listener.is_alive()
    found.close()
    found._listener.join(60)
    assert not found._listener.is_alive()


def test_the_first_start_waits_for_everybody_but_not_for_who_vanished(study: StudyConfig) -> None:
    """e connects, is asked, and is gone before it has answered: with patience over the others begin."""
    identify()
    grid = Preparing({"e"})
    members = dict(grid.connected)
    hasty = federation(study, patience_s=0.1)
    asker = Asker(grid, threading.Event(), patience_s=0.1, forgiving=True)
    found = Roster(grid, asker, Letterhead(hasty), lambda: members)
    waiting = threading.Thread(target=found.wait_for_members, args=(frozenset, lambda sites: None), daemon=True)
    waiting.start()
    waiting.join(1.0)
    assert waiting.is_alive()  # whoever is connected may take as long as it needs
    node = grid.connected.pop("e")
    waiting.join(60)
    assert not waiting.is_alive()
    assert set(found.sites) == set("abcd")
    grid.connected["e"] = node
    grid.slow.clear()
    assert found.refresh() == set("abcde")  # it is asked again when it is back
    found.close()


def test_who_says_another_size_when_it_comes_back_counts_as_before(study: StudyConfig) -> None:
    identify()
    grid = ScriptedGrid(lambda *_: 0.1, dict(PEOPLE))
    found = Roster(grid, Asker(grid, threading.Event()), Letterhead(study))
    found.wait_for(4)
    grid.people["b"], grid.connected["b"] = 90_000, 77
    assert found.refresh() == set("abcd")
    assert found.nodes["b"] == 77
    assert found.sites["b"].train == PEOPLE["b"]


def test_too_few_sites_that_say_who_they_are_stop_the_run(study: StudyConfig) -> None:
    identify()
    grid = ScriptedGrid(lambda *_: 0.1, {"a": 10, "b": 10**6, "c": 10**6})
    asker = Asker(grid, threading.Event(), patience_s=0.1, forgiving=True)
    found = Roster(grid, asker, Letterhead(study), lambda: dict(grid.connected))
    with pytest.raises(RunError, match=r"1 of 3 sites .*; at least 2 must\. b: what it said .* 1,000,000 people"):
        found.wait_for_members(frozenset, lambda sites: None)


class Versions(ScriptedGrid):
    """Sites that say which normfed they have, or refuse to."""

    def __init__(self, said: dict[str, str | SiteCode]) -> None:
        super().__init__(lambda *_: 1.0, dict.fromkeys(said, 10))
        self.said = said

    def _reply(self, message: Message) -> Message | None:
        site = next(name for name, node in self.connected.items() if node == message.metadata.dst_node_id)
        found = self.said[site]
        if isinstance(found, SiteCode):
            return refusal(message, found)
        machine = Machine(normfed=found, flwr="1", torch="2", python="3", study="", cores=1, memory_gb=1, disk_gb=1)
        payload = Described(counts={"train": 10, "held_out": 0, "test": 0}, machine=machine)
        return answer(message, Answer(site=site, payload=payload), {})


class Heard:
    def __init__(self) -> None:
        self.machines: dict[str, str] = {}
        self.codes: dict[str, int] = {}

    def described(self, site: str, machine: Mapping[str, Any]) -> None:
        self.machines[site] = machine["normfed"]

    def refused(self, site: str, code: int) -> None:
        self.codes[site] = code

    def judged(self, unfit: Mapping[str, Sequence[str]]) -> None: ...


def test_sites_of_versions_too_far_away_take_no_part_whatever_they_answer_and_all_that_is_said_is_heard(
    study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site refuses by itself; one that does not is refused here, and in the middle of a run as well."""
    monkeypatch.setattr(Letterhead, "version", "0.2.0")
    identify()
    grid = Versions({"a": "0.1.9", "b": "0.2.0", "c": "0.4.0", "d": SiteCode.VERSION_DIFFERS, "e": SiteCode(299)})
    found, notes = Heard(), dict[str, str]()
    members = dict(grid.connected)
    asker = Asker(grid, threading.Event(), forgiving=True)
    who = Roster(grid, asker, Letterhead(study), lambda: members, tell=notes.__setitem__, hearing=found)
    who.refresh()
    who.close()
    assert set(who.sites) == {"a", "b"}
    assert who.refusing == {"c": SiteCode.VERSION_DIFFERS, "d": SiteCode.VERSION_DIFFERS, "e": 299}
    assert notes["c"].startswith("has normfed 0.4.0, the server 0.2.0: ")
    assert found.machines == {"a": "0.1.9", "b": "0.2.0", "c": "0.4.0"}
    assert found.codes == {"c": 210, "d": 210, "e": 299}
    with pytest.raises(RunError, match=r"Site [cde] refuses: "):
        Roster(grid, asker, Letterhead(study), lambda: members).wait_for_members(frozenset, lambda _: None)
