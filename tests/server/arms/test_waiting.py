"""Waiting, fairly: who is waited for, who may be left out, and who may speak in whose name."""

from __future__ import annotations

import itertools
import math
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from scripted import PEOPLE, ScriptedGrid, federation
from synthetic import setting

from normfed_common.foundation.errors import RunError, SiteCode
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Machine
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_common.wire.messages import requests
from normfed_common.wire.requests import TrainRound
from normfed_server.arms import fitness
from normfed_server.arms.canary import try_one_batch
from normfed_server.arms.context import RunContext
from normfed_server.arms.in_training import ArmInTraining
from normfed_server.arms.plan import Arm
from normfed_server.arms.training import ArmTraining
from normfed_server.events.log import EventLog
from normfed_server.sites.asking import Asker, SiteFailed
from normfed_server.sites.closing import Closing, Outcome
from normfed_server.sites.collecting import Collection
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_simulation.engines.local import identify


def trained(
    study: StudyConfig, grid: ScriptedGrid, tmp_path: Path, excused: Callable[[], frozenset[str]] = frozenset
) -> dict[str, Any]:
    """One round; what became of everybody."""
    identify()
    asker = Asker(grid, threading.Event())
    roster = Roster(grid, asker, Letterhead(study))
    roster.wait_for(len(grid.connected))
    context = RunContext(Letterhead(study), roster, asker, EventLog(tmp_path / "e.jsonl"), excused=excused)
    model = build(MODELS, study.model, setting())
    arm = Arm("federated", study.model, tuple(sorted(PEOPLE)), {}, federated=True)
    progress = ArmTraining(arm, model, lambda _: model.share(), context, tmp_path / "a" / "b" / "p.safetensors").run()
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
    """Members some of which are cut off between the first round and the second, and come back after some looks."""

    def __init__(self, sites: str, looks: float, people: dict[str, int] = PEOPLE, revoked: bool = False) -> None:
        super().__init__(lambda site, round: 0.1, people)
        self.sites, self.looks, self.revoked, self.cut = sites, looks, revoked, False

    def members(self) -> dict[str, int]:
        return {s: node for s, node in self.connected.items() if not (self.revoked and self.cut and s in self.sites)}

    def get_node_ids(self) -> Iterable[int]:
        if self.cut:
            self.looks -= 1
            self.cut = self.looks > 0
        return [node for site, node in self.connected.items() if site not in self.sites or not self.cut]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = super().pull_messages(message_ids)
        self.cut |= {round for _, round, *_ in self.asked} == {1}  # after all answers of the first round
        return found


def second_round(
    study: StudyConfig,
    grid: CutGrid,
    tmp_path: Path,
    excused: Callable[[], frozenset[str]] = frozenset,
    **arm: Any,
) -> dict[str, Any]:
    """Who took part in the round that began while some were cut off; a wait without end fails."""
    identify()
    stop = threading.Event()
    limit = threading.Timer(60, stop.set)
    limit.start()
    asker = Asker(grid, stop)
    roster = Roster(grid, asker, Letterhead(study), grid.members)
    roster.wait_for_members(frozenset, lambda sites: None)
    context = RunContext(Letterhead(study), roster, asker, EventLog(tmp_path.parent / "e.jsonl"), excused=excused)
    model = build(MODELS, study.model, setting())
    of = {"name": "federated", "train": tuple(sorted(grid.people)), "federated": True} | arm
    described = Arm(model=study.model, evaluate={}, **of)
    path = tmp_path / "a" / "b" / "p.safetensors"
    try:
        progress = ArmTraining(described, model, lambda _: model.share(), context, path).run()
    finally:
        limit.cancel()
    outcomes: dict[str, Any] = progress.history[1]["outcomes"]
    return outcomes


def test_who_is_cut_off_between_two_rounds_is_waited_for_like_one_cut_off_within(
    study: StudyConfig, tmp_path: Path
) -> None:
    patient = federation(study, rounds=2, patience_s=1000.0)
    outcomes = second_round(patient, CutGrid("bc", looks=20), tmp_path)
    assert outcomes == dict.fromkeys("abcd", "took part")


@pytest.mark.parametrize("patience_s", [0.0, 0.3])
@pytest.mark.parametrize(("gone", "people"), [("b", {"a": 10, "b": 5}), ("cd", PEOPLE), ("bcd", PEOPLE)])
def test_who_was_away_longer_than_patience_is_left_out_and_the_quorum_is_of_the_others(
    study: StudyConfig, tmp_path: Path, gone: str, people: dict[str, int], patience_s: float
) -> None:
    hasty = federation(study, rounds=2, patience_s=patience_s, quorum_subjects=0.9)
    outcomes = second_round(hasty, CutGrid(gone, math.inf, people), tmp_path)
    assert outcomes == {site: "absent" if site in gone else "took part" for site in people}


def test_the_largest_is_waited_for_however_long_it_is_away(study: StudyConfig, tmp_path: Path) -> None:
    hasty = federation(study, rounds=2, patience_s=0.0)
    assert second_round(hasty, CutGrid("a", looks=20), tmp_path / "1")["a"] == "took part"
    dispensable = federation(study, rounds=2, patience_s=0.0, largest_may_be_left_out=True)
    assert second_round(dispensable, CutGrid("a", looks=20), tmp_path / "2")["a"] == "absent"


def test_a_site_that_trains_alone_and_is_gone_for_good_holds_up_no_run(study: StudyConfig, tmp_path: Path) -> None:
    hasty = federation(study, rounds=2, patience_s=0.3)
    with pytest.raises(RunError, match="no training site is connected"):
        second_round(hasty, CutGrid("b", math.inf), tmp_path, name="local-b", train=("b",), federated=False)


def test_who_is_excused_or_no_member_any_more_is_not_waited_for(study: StudyConfig, tmp_path: Path) -> None:
    patient = federation(study, rounds=2, patience_s=1000.0)
    cut = CutGrid("ab", math.inf)
    outcomes = second_round(patient, cut, tmp_path / "1", lambda: frozenset("ab" if cut.cut else ""))
    assert outcomes == {"a": "absent", "b": "absent", "c": "took part", "d": "took part"}
    revoked = CutGrid("a", math.inf, revoked=True)
    assert second_round(patient, revoked, tmp_path / "2")["a"] == "absent"


def test_excusing_in_the_middle_of_the_wait_ends_it(study: StudyConfig, tmp_path: Path) -> None:
    cut = CutGrid("a", math.inf)
    looked: list[bool] = []

    def excused() -> frozenset[str]:
        looked.append(cut.cut)
        return frozenset("a" if sum(looked) > 20 else "")

    outcomes = second_round(federation(study, rounds=2, patience_s=1000.0), cut, tmp_path, excused)
    assert outcomes == {"a": "absent", "b": "took part", "c": "took part", "d": "took part"}
    assert sum(looked) > 20


def test_excusing_who_left_within_a_round_ends_it_though_the_quorum_is_out_of_reach(
    study: StudyConfig, tmp_path: Path
) -> None:
    pair = {"a": 10, "b": 5}
    grid = ScriptedGrid(silent("b"), pair)
    grid.get_node_ids = lambda: [1] if grid.asked else [1, 2]  # type: ignore[method-assign]
    identify()
    stop = threading.Event()
    limit = threading.Timer(30, stop.set)
    limit.start()
    asker = Asker(grid, stop)
    roster = Roster(grid, asker, Letterhead(study))
    roster.wait_for(2)
    requests_ = requests({"a": 1, "b": 2}, Letterhead(study).request(TrainRound(round=1)), {})
    closing = Closing(pair, 2, 0.0, math.inf, largest="a", excused=lambda: frozenset("b"))
    collection = Collection(asker, requests_, closing)
    assert [site for site, _ in collection] == ["a"]
    limit.cancel()
    assert collection.outcomes == {"a": Outcome.TOOK_PART, "b": Outcome.LATE}


def interrupted(job: ArmInTraining) -> None:
    raise KeyboardInterrupt


def test_a_run_that_is_resumed_without_a_site_fine_tunes_the_others(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the last round and fine-tuning; d does not come again."""
    raw = federation(study, patience_s=0.1, minimum_cohort=2).model_dump(mode="json")
    tuned = resolve(raw | {"strategy": {"name": "fine-tuning", "epochs": 1}}, "test")
    identify()
    grid = ScriptedGrid(lambda site, round: 0.1)
    path = tmp_path / "a" / "b" / "p.safetensors"
    for sites, last_step in (("abcd", True), ("abc", False)):
        grid.connected = {site: node for site, node in grid.connected.items() if site in sites}
        asker = Asker(grid, threading.Event(), patience_s=0.1, forgiving=True)
        roster = Roster(grid, asker, Letterhead(tuned), lambda: {s: i for i, s in enumerate("abcd", 1)})
        roster.wait_for_members(frozenset, lambda _: None)
        model = build(MODELS, tuned.model, setting())
        arm = Arm("federated", tuned.model, tuple(sites), {}, federated=True, strategy=tuned.strategy)
        context = RunContext(Letterhead(tuned), roster, asker, EventLog(tmp_path / "e.jsonl"))
        training = ArmTraining(arm, model, lambda _, m=model: m.share(), context, path)  # type: ignore[misc]
        if last_step:
            with monkeypatch.context() as patched:
                patched.setattr("normfed_server.arms.training.fine_tune", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    training.run()
    progress = training.run()
    assert training.complete
    assert set(progress.missed) == {"d"}


def test_several_arms_look_who_is_away_while_sites_come_and_go(study: StudyConfig) -> None:
    identify()
    people = {f"s{i}": 5 for i in range(20)}
    grid = ScriptedGrid(lambda site, round: 0.1, people)
    everybody, flaps = dict(grid.connected), itertools.count()
    roster = Roster(grid, Asker(grid, threading.Event()), Letterhead(study), lambda: everybody)
    roster.wait_for_members(frozenset, lambda _: None)
    grid.get_node_ids = lambda: [n for n in everybody.values() if (n + next(flaps)) % 3]  # type: ignore[method-assign]
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            roster.refresh()

    changing = threading.Thread(target=come_and_go)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        changing.start()
        for _ in range(3000):
            assert roster.may_return().keys() <= people.keys()
    finally:
        sys.setswitchinterval(before)
        stop.set()
        changing.join()


def test_a_deployed_run_forgives_a_site_that_fails_and_a_simulation_does_not(study: StudyConfig) -> None:
    identify()
    grid = ScriptedGrid(lambda site, round: SiteCode.OUT_OF_SPACE if site == "b" else 0.1)
    messages = requests({"a": 1, "b": 2}, Letterhead(study).request(TrainRound(round=1)), {})
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
    messages = requests({"a": 1, "b": 2}, Letterhead(study).request(TrainRound(round=1)), {})
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
    model = build(MODELS, study.model, setting()).share()
    arm = Arm("federated", study.model, tuple(PEOPLE), {}, federated=True)
    context = RunContext(Letterhead(study, "r"), roster, asker, EventLog(tmp_path / "e.jsonl"))
    with pytest.raises(RunError, match=r"2 of 4 sites\. b: .*code 202 DATA_UNUSABLE\); d: .*code 208 OUT_OF_SPACE"):
        try_one_batch(context, arm, model)
    excusing = RunContext(context.letterhead, roster, asker, context.events, excused=lambda: frozenset({"b", "d"}))
    tried = try_one_batch(excusing, arm, model)
    assert set(tried) == {"a", "c"}
    assert tried["a"].megabytes > 0


def machine(digest: str, **changes: Any) -> Machine:
    known = {"normfed": "1.0", "flwr": "f", "torch": "t", "python": "p", "study": digest, "cores": 2}
    return Machine(**(known | {"memory_gb": 8.0, "disk_gb": 50.0} | changes))  # type: ignore[arg-type]


def test_what_does_not_fit_is_named_before_the_start(study: StudyConfig) -> None:
    machines = {
        "good": machine(study.digest),
        "changed": machine("other"),
        "small": machine(study.digest, memory_gb=0.5),
        "full": machine(study.digest, disk_gb=0.001),
    }
    found = {f.where: f for f in fitness.findings(study, machines, 200_000_000, "1.0") if f.where != "server"}
    assert set(found) == {"changed", "small", "full"}
    assert {where for where, finding in found.items() if finding.fatal} == {"changed", "full"}
    assert "needs about 2.4 GB of memory, and 0.5 are free" in found["small"].text


@pytest.mark.parametrize(
    ("people", "shown"),
    [(BELOW_MINIMUM, "too few"), (0, "nobody"), (7, "fewer than 10"), (10, "10–29"), (5000, "1000 or more")],
)
def test_a_cohort_is_shown_as_a_class_of_sizes(people: int, shown: str) -> None:
    assert fitness.size_class(people) == shown
