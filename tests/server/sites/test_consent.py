"""What becomes of a run where people at a hospital have not approved it yet, refuse it, or work at other hours."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from scripted import PEOPLE, STEP, ScriptedGrid, federation, mean_of, moved, run

from normfed_common.foundation.errors import RunError, SiteCode
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import refusal, requests
from normfed_common.wire.requests import FineTune
from normfed_server.sites import exchange, roster
from normfed_server.sites.asking import Asker
from normfed_server.sites.closing import Closing, Outcome
from normfed_server.sites.collecting import Collection
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_simulation.engines.local import identify


class Consenting(ScriptedGrid):
    """Sites that say who they are once they have been asked so often; before they answer with a code."""

    def __init__(self, codes: dict[str, tuple[SiteCode, float]]) -> None:
        super().__init__(lambda site, _: STEP.get(site, 1.0))
        self.codes, self.described = codes, list[str]()

    def _reply(self, message: Message) -> Message | None:
        name = next(n for n, node in self.connected.items() if node == message.metadata.dst_node_id)
        if message.metadata.message_type == "query.describe":
            self.described.append(name)
            code, times = self.codes.get(name, (SiteCode.INTERNAL, 0))
            if self.described.count(name) <= times:
                return refusal(message, code)
        return super()._reply(message)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites are asked again at once."""
    monkeypatch.setattr(roster, "AGAIN_S", 0.0)
    monkeypatch.setattr(exchange, "LATER_S", 0.0)
    identify()


def gathered(
    study: StudyConfig, grid: Consenting, patience_s: float = 60.0, excused: frozenset[str] = frozenset()
) -> tuple[Roster, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    waiting = federation(study, patience_s=patience_s)
    asker = Asker(grid, threading.Event(), patience_s, forgiving=True)
    found = Roster(grid, asker, Letterhead(waiting), lambda: dict(grid.connected), tell=lambda *said: told.append(said))
    found.wait_for_members(lambda: excused, lambda sites: None)
    return found, told


@pytest.mark.parametrize("code", [SiteCode.AWAITS_APPROVAL, SiteCode.OUT_OF_HOURS])
def test_a_site_that_has_not_decided_is_waited_for_and_asked_again(study: StudyConfig, code: SiteCode) -> None:
    grid = Consenting({"b": (code, 3)})
    found, told = gathered(study, grid)
    assert set(found.sites) == set(PEOPLE)
    assert grid.described.count("b") == 4
    assert grid.described.count("a") == 1
    assert [site for site, _ in told] == ["b"]  # said once, not each time
    assert f"(code {int(code)} {code.name})" in told[0][1]
    assert found.not_let_in() == {}


@pytest.mark.parametrize(
    ("code", "patience_s"),
    [
        (SiteCode.AWAITS_APPROVAL, 0.1),
        (SiteCode.REFUSED_BY_HOSPITAL, 60.0),
        (SiteCode.POLICY_REFUSED, 60.0),
        (SiteCode.WITHDRAWN, 60.0),
    ],
)
def test_the_others_go_on_once_patience_is_over_or_at_once_without_who_refused(
    study: StudyConfig, code: SiteCode, patience_s: float
) -> None:
    found, told = gathered(study, Consenting({"b": (code, math.inf)}), patience_s)
    assert set(found.sites) == set("acd")
    assert list(found.not_let_in()) == ["b"]
    assert [site for site, _ in told] == ["b"]


def test_too_few_that_let_a_study_in_stop_the_run_with_everybodys_reason(study: StudyConfig) -> None:
    codes = dict.fromkeys("bc", (SiteCode.REFUSED_BY_HOSPITAL, math.inf))
    with pytest.raises(RunError, match=r"2 of 4 sites can take part; at least 3 must\. b: refuses: a person at .*; c:"):
        gathered(study, Consenting(codes))


def test_an_excused_site_is_not_waited_for(study: StudyConfig) -> None:
    found, _ = gathered(study, Consenting({"b": (SiteCode.AWAITS_APPROVAL, math.inf)}), 60.0, frozenset("b"))
    assert set(found.sites) == set("acd")


def test_a_site_that_withdrew_from_the_study_is_not_asked_again(study: StudyConfig) -> None:
    found, _ = gathered(study, Consenting({"b": (SiteCode.WITHDRAWN, math.inf)}), 60.0)
    assert found._again == {}
    found._refuse("b", 2, SiteCode.AWAITS_APPROVAL)
    found._refuse("b", 2, SiteCode.WITHDRAWN)
    assert found._again == {}


def test_any_other_refusal_still_stops_the_run(study: StudyConfig) -> None:
    with pytest.raises(RunError, match=r"Site b refuses: .*VERSION_DIFFERS"):
        gathered(study, Consenting({"b": (SiteCode.VERSION_DIFFERS, math.inf)}))


def test_the_longer_nobody_decides_the_less_often_a_site_is_asked(
    study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "AGAIN_S", 5.0)
    found, _ = gathered(study, Consenting({"b": (SiteCode.AWAITS_APPROVAL, math.inf)}), 0.0)
    pauses = [found._again[2][1]]
    for _ in range(8):
        found._refuse("b", 2, SiteCode.AWAITS_APPROVAL)
        pauses.append(found._again[2][1])
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_site_that_refuses_in_the_middle_is_left_out_of_the_round_and_asked_in_the_next(
    study: StudyConfig, tmp_path: Path
) -> None:
    """Its people took the approval back, and gave it again."""

    def behaviour(site: str, round: int) -> Any:
        return SiteCode.AWAITS_APPROVAL if (site, round) == ("c", 2) else STEP[site]

    progress, history = run(federation(study, rounds=3), ScriptedGrid(behaviour), tmp_path)
    assert [entry["outcomes"]["c"] for entry in history] == ["took part", "refused", "took part"]
    assert "code 250 AWAITS_APPROVAL" in history[1]["reasons"]["c"]
    assert moved(study, progress) == pytest.approx(2 * mean_of(*"abcd") + mean_of(*"abd"), rel=1e-4)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(e["site"], e["outcome"]) for e in events if e["event"] == "missing"] == [("c", "refused")]


def test_a_site_that_approves_later_joins_between_two_rounds_and_each_round_says_that_it_was_without(
    study: StudyConfig, tmp_path: Path
) -> None:
    grid = Consenting({"b": (SiteCode.AWAITS_APPROVAL, 4)})  # twice before the first round, twice in rounds
    progress, history = run(
        federation(study, rounds=4, patience_s=0.0),
        grid,
        tmp_path,
        members=dict(grid.connected),
        open=True,
        sites="acd",
    )
    assert [entry["outcomes"]["b"] for entry in history] == ["refused", "refused", "took part", "took part"]
    assert "code 250 AWAITS_APPROVAL" in history[0]["reasons"]["b"]
    assert moved(study, progress) == pytest.approx(2 * mean_of(*"acd") + 2 * mean_of(*"abcd"), rel=1e-4)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(e["site"], e["round"]) for e in events if e["event"] == "joined"] == [("b", 3)]
    assert [e["round"] for e in events if e["event"] == "missing"] == [0, 1, 2]  # 0: the sums before the rounds


class Nightly(ScriptedGrid):
    """Site b answers the third time that it is asked for the same."""

    def __init__(self, times: float = 2) -> None:
        self.times = times
        super().__init__(lambda site, _: self._by_night() if site == "b" else 0.1)

    def _by_night(self) -> Any:
        self.times -= 1
        return SiteCode.OUT_OF_HOURS if self.times >= 0 else 0.1


def to_tune(study: StudyConfig) -> dict[str, Message]:
    from normfed_common.wire import offers
    from normfed_common.wire.offers import Offer

    nodes = {site: number for number, site in enumerate(PEOPLE, 1)}
    return requests(nodes, Letterhead(study).request(FineTune(round=1)), offers.encode(Offer(({},))))


def test_a_site_outside_its_hours_is_asked_for_the_same_again_in_the_same_round(study: StudyConfig) -> None:
    asker, said = Asker(Nightly(), threading.Event(), forgiving=True), list[str]()
    asker.asked_again = lambda site, why: said.append(f"{site}: {why}")
    collection = Collection(asker, to_tune(study), Closing(PEOPLE, 3, 0.0, 60.0))
    assert [site for site, _ in collection] == list("abcd")
    assert said == [
        "b: it is outside the hours in which the site works; it answers later (code 253 OUT_OF_HOURS)"
    ]  # and not each time


def test_its_round_closes_without_it_when_patience_is_over_and_it_is_late_not_broken(study: StudyConfig) -> None:
    asker = Asker(Nightly(math.inf), threading.Event(), forgiving=True)
    collection = Collection(asker, to_tune(study), Closing(PEOPLE, 3, 0.0, 0.1))
    assert [site for site, _ in collection] == list("acd")
    assert collection.outcomes["b"] is Outcome.LATE
    assert "code 253 OUT_OF_HOURS" in collection.reasons["b"]


@pytest.mark.parametrize(("times", "there"), [(2, "abcd"), (math.inf, "acd")])
def test_sums_and_figures_wait_for_its_hours_as_long_as_for_a_site_that_is_not_connected(
    study: StudyConfig, times: float, there: str
) -> None:
    missed: dict[str, str] = {}
    patience_s = 60.0 if times == 2 else 0.1
    asker = Asker(Nightly(times), threading.Event(), patience_s, forgiving=True)
    assert list(asker.ask(to_tune(study), missed=missed)) == list(there)
    assert list(missed) == [site for site in "abcd" if site not in there]
    assert all("OUT_OF_HOURS" in why for why in missed.values())
