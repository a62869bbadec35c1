"""Waiting, fairly: who is waited for, who may be left out, and who may speak in whose name."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from scripted import PEOPLE, ScriptedGrid, federation
from synthetic import setting

from normfed_common.errors import RunError, SiteCode
from normfed_common.models.catalogue import build
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import BELOW_MINIMUM, Machine, requests
from normfed_server import fitness
from normfed_server.asking import Asker, SiteFailed
from normfed_server.canary import sing
from normfed_server.events import EventLog
from normfed_server.letterhead import Letterhead
from normfed_server.participation import Closing
from normfed_server.plan import Arm
from normfed_server.roster import Roster
from normfed_server.training import ArmTraining, Bench
from normfed_simulation.engines.local import identify


def trained(
    study: StudyConfig, grid: ScriptedGrid, tmp_path: Path, excused: Callable[[], frozenset[str]] = frozenset
) -> dict[str, Any]:
    """One round; what became of everybody."""
    identify()
    asker = Asker(grid, threading.Event())
    roster = Roster(grid, asker, Letterhead(study))
    roster.wait_for(len(grid.connected))
    bench = Bench(Letterhead(study), roster, asker, EventLog(tmp_path / "e.jsonl"), excused=excused)
    model = build(study.model, setting())
    arm = Arm("federated", study.model, tuple(sorted(PEOPLE)), {}, federated=True)
    progress = ArmTraining(arm, model, lambda _: model.share(), bench, tmp_path / "a" / "b" / "p.safetensors").run()
    return progress.history[-1]


def silent(*sites: str) -> Callable[[str, int], Any]:
    return lambda site, round: None if site in sites else 0.1


def test_a_quorum_never_leaves_out_the_largest_site() -> None:
    people = {"a": 10, "b": 5, "c": 3}
    waiting = Closing(people, 2, 0.0, 5.0, largest="a")
    assert not waiting.quorum({"b", "c"})
    assert waiting.quorum({"a", "b"})
    assert Closing(people, 2, 0.0, 5.0, largest="a", excused=lambda: frozenset("a")).quorum({"b", "c"})
    assert Closing(people, 2, 0.0, 5.0).quorum({"b", "c"})  # the study says that it may


def test_the_small_may_be_late_when_patience_is_over_and_it_says_what_share_was_there(
    study: StudyConfig, tmp_path: Path
) -> None:
    entry = trained(federation(study), ScriptedGrid(silent("d")), tmp_path)
    assert entry["outcomes"] == {"a": "took part", "b": "took part", "c": "took part", "d": "late"}
    assert entry["share"] == pytest.approx(18 / 20)


def test_the_largest_is_waited_for_until_the_operator_says_otherwise(study: StudyConfig, tmp_path: Path) -> None:
    said = threading.Event()
    looked: list[int] = []

    def excused() -> frozenset[str]:
        looked.append(1)
        if len(looked) > 60:  # long after patience is over
            said.set()
        return frozenset("a") if said.is_set() else frozenset()

    entry = trained(federation(study, patience_s=0.1), ScriptedGrid(silent("a")), tmp_path, excused)
    assert said.is_set()
    assert entry["outcomes"]["a"] == "late"
    assert entry["share"] == pytest.approx(10 / 20)


def test_who_is_excused_is_not_waited_for_though_patience_lasts(study: StudyConfig, tmp_path: Path) -> None:
    patient = federation(study, patience_s=1000.0, quorum=2)
    entry = trained(patient, ScriptedGrid(silent("a", "d")), tmp_path, lambda: frozenset({"a", "d"}))
    assert entry["outcomes"] == {"a": "late", "b": "took part", "c": "took part", "d": "late"}


class CutGrid(ScriptedGrid):
    """Members one of which is cut off between the first round and the second, and comes back after some looks."""

    def __init__(self, site: str, looks: float, revoked: bool = False) -> None:
        super().__init__(lambda site, round: 0.1)
        self.site, self.looks, self.revoked, self.cut = site, looks, revoked, False

    def members(self) -> dict[str, int]:
        return {s: node for s, node in self.connected.items() if not (self.revoked and self.cut and s == self.site)}

    def get_node_ids(self) -> Iterable[int]:
        return [node for site, node in self.connected.items() if site != self.site or not self.cut]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        there = set(self.get_node_ids())
        found = [reply for reply in super().pull_messages(message_ids) if reply.metadata.src_node_id in there]
        if {round for _, round, *_ in self.asked} == {1}:
            self.cut = True  # after all answers of the first round
        elif self.cut:
            self.looks -= 1
            self.cut = self.looks > 0
        return found


def second_round(
    study: StudyConfig, grid: CutGrid, tmp_path: Path, excused: Callable[[], frozenset[str]] = frozenset
) -> dict[str, Any]:
    """Who took part in the round that began while one was cut off."""
    identify()
    asker = Asker(grid, threading.Event())
    roster = Roster(grid, asker, Letterhead(study), grid.members)
    roster.wait_for_members(frozenset, lambda sites: None)
    bench = Bench(Letterhead(study), roster, asker, EventLog(tmp_path / "e.jsonl"), excused=excused)
    model = build(study.model, setting())
    arm = Arm("federated", study.model, tuple(sorted(PEOPLE)), {}, federated=True)
    progress = ArmTraining(arm, model, lambda _: model.share(), bench, tmp_path / "a" / "b" / "p.safetensors").run()
    outcomes: dict[str, Any] = progress.history[1]["outcomes"]
    return outcomes


def test_who_is_cut_off_between_two_rounds_is_waited_for_like_one_cut_off_within(
    study: StudyConfig, tmp_path: Path
) -> None:
    patient = federation(study, rounds=2, patience_s=1000.0)
    outcomes = second_round(patient, CutGrid("b", looks=20), tmp_path)
    assert outcomes == dict.fromkeys("abcd", "took part")


def test_who_was_away_longer_than_patience_is_not_asked_any_more(study: StudyConfig, tmp_path: Path) -> None:
    hasty = federation(study, rounds=2, patience_s=0.0)
    outcomes = second_round(hasty, CutGrid("b", looks=math.inf), tmp_path)
    assert outcomes == {"a": "took part", "b": "absent", "c": "took part", "d": "took part"}


def test_the_largest_is_asked_however_long_it_was_away(study: StudyConfig, tmp_path: Path) -> None:
    hasty = federation(study, rounds=2, patience_s=0.0)
    assert second_round(hasty, CutGrid("a", looks=20), tmp_path / "1")["a"] == "took part"
    dispensable = federation(study, rounds=2, patience_s=0.0, largest_may_be_left_out=True)
    assert second_round(dispensable, CutGrid("a", looks=20), tmp_path / "2")["a"] == "absent"


def test_who_is_excused_or_no_member_any_more_is_not_waited_for(study: StudyConfig, tmp_path: Path) -> None:
    patient = federation(study, rounds=2, patience_s=1000.0)
    grid = CutGrid("a", looks=math.inf)
    assert second_round(patient, grid, tmp_path / "1", lambda: frozenset("a" if grid.cut else ""))["a"] == "absent"
    revoked = CutGrid("a", looks=math.inf, revoked=True)
    assert second_round(patient, revoked, tmp_path / "2")["a"] == "absent"


def test_a_deployed_run_forgives_a_site_that_fails_and_a_simulation_does_not(study: StudyConfig) -> None:
    identify()
    grid = ScriptedGrid(lambda site, round: SiteCode.OUT_OF_SPACE if site == "b" else 0.1)
    messages = requests("train.round", {"a": 1, "b": 2}, Letterhead(study).general(), {})
    missed: dict[str, str] = {}
    found = Asker(grid, threading.Event(), forgiving=True).ask(messages, missed=missed)
    assert set(found) == {"a"}
    assert "code 208 OUT_OF_SPACE" in missed["b"]
    with pytest.raises(SiteFailed, match="Site b could not answer"):
        Asker(grid, threading.Event()).ask(messages, missed={})


def test_a_site_that_is_gone_is_not_waited_for_longer_than_patience_and_one_at_work_is(study: StudyConfig) -> None:
    identify()
    grid = ScriptedGrid(silent("b"))
    grid.get_node_ids = lambda: [1]  # type: ignore[method-assign]
    messages = requests("train.round", {"a": 1, "b": 2}, Letterhead(study).general(), {})
    missed: dict[str, str] = {}
    found = Asker(grid, threading.Event(), patience_s=0.05, forgiving=True).ask(messages, missed=missed)
    assert set(found) == {"a"}
    assert missed == {"b": "not connected"}
    missed = {}
    excusing = Asker(grid, threading.Event(), forgiving=True, excused=lambda: frozenset("b"))
    assert set(excusing.ask(messages, missed=missed)) == {"a"}
    assert missed == {"b": "not connected"}


def test_nobody_speaks_in_anothers_name(study: StudyConfig) -> None:
    """Node 2 is registered with the key of b; what it says is what c would say."""
    identify()
    grid = ScriptedGrid(lambda site, round: 0.1)
    members = {"a": 1, "c": 2}
    roster = Roster(grid, Asker(grid, threading.Event()), Letterhead(study), lambda: members)
    roster.refresh()
    assert set(roster.sites) == {"a"}
    assert roster.refusing == {"c": SiteCode.BAD_REQUEST}


def test_who_was_not_admitted_is_not_even_asked(study: StudyConfig) -> None:
    identify()
    grid = ScriptedGrid(lambda site, round: 0.1)
    roster = Roster(grid, Asker(grid, threading.Event()), Letterhead(study), lambda: {"a": 1, "b": 2})
    assert roster.refresh() == {"a", "b"}
    assert set(roster.sites) == {"a", "b"}


def test_members_that_do_not_come_are_named(study: StudyConfig) -> None:
    identify()
    grid = ScriptedGrid(lambda site, round: 0.1)
    grid.connected = {"a": 1}
    hasty = federation(study, patience_s=0.1)
    roster = Roster(grid, Asker(grid, threading.Event()), Letterhead(hasty), lambda: {"a": 1, "b": 2, "c": 3})
    with pytest.raises(RunError, match=r"b, c did not connect within 0 s; 2 of 3 sites are needed"):
        roster.wait_for_members(frozenset, lambda sites: None)
    roster.wait_for_members(lambda: frozenset({"b", "c"}), lambda sites: None)
    assert set(roster.sites) == {"a"}


def test_the_canary_names_every_site_where_it_does_not_come_back(study: StudyConfig, tmp_path: Path) -> None:
    identify()
    codes = {"b": SiteCode.DATA_UNUSABLE, "d": SiteCode.OUT_OF_SPACE}
    grid = ScriptedGrid(lambda site, round: codes.get(site, 0.1))
    asker = Asker(grid, threading.Event())
    roster = Roster(grid, asker, Letterhead(study, "r"))
    roster.wait_for(4)
    model = build(study.model, setting()).share()
    arm = Arm("federated", study.model, tuple(PEOPLE), {}, federated=True)
    bench = Bench(Letterhead(study, "r"), roster, asker, EventLog(tmp_path / "e.jsonl"))
    with pytest.raises(RunError, match=r"2 of 4 sites\. b: .*code 202 DATA_UNUSABLE\); d: .*code 208 OUT_OF_SPACE"):
        sing(bench, arm, model)
    excusing = Bench(bench.letterhead, roster, asker, bench.events, excused=lambda: frozenset({"b", "d"}))
    sung = sing(excusing, arm, model)
    assert set(sung) == {"a", "c"}
    assert sung["a"].megabytes > 0


def machine(digest: str, **changes: Any) -> Machine:
    known = {"normfed": "1.0", "flwr": "f", "torch": "t", "python": "p", "study": digest, "cores": 2}
    return Machine(**(known | {"memory_gb": 8.0, "disk_gb": 50.0} | changes))  # type: ignore[arg-type]


def test_what_does_not_fit_is_named_before_the_start(study: StudyConfig) -> None:
    machines = {
        "good": machine(study.digest),
        "stale": machine(study.digest, normfed="0.9"),
        "changed": machine("other"),
        "small": machine(study.digest, memory_gb=0.5),
        "full": machine(study.digest, disk_gb=0.001),
    }
    found = {f.where: f for f in fitness.findings(study, machines, 200_000_000, "1.0") if f.where != "server"}
    assert set(found) == {"stale", "changed", "small", "full"}
    assert {where for where, finding in found.items() if finding.fatal} == {"stale", "changed", "full"}
    assert found["stale"].text == "has normfed 0.9, the server 1.0: update the older one"
    assert "needs about 2.4 GB of memory, and 0.5 are free" in found["small"].text


@pytest.mark.parametrize(
    ("people", "shown"),
    [(BELOW_MINIMUM, "too few"), (0, "nobody"), (7, "fewer than 10"), (10, "10–29"), (5000, "1000 or more")],
)
def test_a_cohort_is_shown_as_a_class_of_sizes(people: int, shown: str) -> None:
    assert fitness.size_class(people) == shown
