"""Asking all sites and waiting for them: in which order answers are given on, and what becomes of those without one."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import PEOPLE, ScriptedGrid

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, WireError
from normfed_common.study.config import StudyConfig
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, ScoredPeople
from normfed_common.wire.messages import decode_answer, error_code, requests
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import FineTune, ScorePeople
from normfed_server.sites import exchange
from normfed_server.sites.asking import Asker, Interrupted, SiteFailed, cure
from normfed_server.sites.letterhead import Letterhead
from normfed_simulation.engines.local import identify


class RememberingGrid(ScriptedGrid):
    """Knows which requests nobody waits for any more."""

    forgotten: tuple[str, ...] = ()

    def forget(self, message_ids: Iterable[str]) -> None:
        self.forgotten += tuple(message_ids)


class OneByOne(ScriptedGrid):
    """Hands out one answer per look, in a given order of the sites; keeps how many are asked after."""

    def __init__(self, order: str) -> None:
        super().__init__(lambda site, _: 0.1)
        self.order, self.asked_after = list(order), list[int]()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ids = list(message_ids)
        self.asked_after.append(len(ids))
        there = {reply.metadata.src_node_id: reply for reply in super().pull_messages(ids)}
        return [there[self.connected[self.order.pop(0)]]] if self.order else []


class Unpaused(Asker):
    """Looks again without a pause; a wait without end fails."""

    looks = 0

    def pause(self) -> None:
        self.looks += 1
        assert self.looks < 50, "waits without end"
        if self.stop.is_set():
            raise Interrupted("stopped")


@pytest.fixture
def messages(study: StudyConfig) -> dict[str, Message]:
    identify()
    nodes = {site: number for number, site in enumerate(PEOPLE, 1)}
    return made(study, nodes)


def made(study: StudyConfig, nodes: dict[str, int]) -> dict[str, Message]:
    offer = offers.encode(Offer(({"w": np.zeros(3)},)))
    return requests(dict(reversed(nodes.items())), Letterhead(study).request(ScorePeople()), offer)


@pytest.mark.parametrize("order", ["".join(p) for p in itertools.permutations("abcd")])
def test_answers_are_given_on_in_the_order_of_names_as_soon_as_those_before_are_there(
    messages: dict[str, Message], order: str
) -> None:
    grid = OneByOne(order)
    given_on, looked = [], []
    for site, _ in Unpaused(grid, threading.Event()).answers(messages):
        given_on.append(site)
        looked.append(len(grid.asked_after))
    assert given_on == list("abcd")
    # Each after the look that brought the last of it and of those before it: the running maximum of the places.
    assert looked == list(itertools.accumulate((order.index(site) + 1 for site in "abcd"), max))
    assert grid.asked_after == [4, 3, 2, 1]  # nobody who answered is asked after again


def test_a_run_that_is_asked_to_stop_waits_no_longer(messages: dict[str, Message]) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match="stopped"):
        list(Asker(ScriptedGrid(silent("c")), stop).answers(messages))


def test_sums_and_figures_beyond_what_memory_may_hold_come_back_from_disk_and_refusals_with_them(
    messages: dict[str, Message], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "early"
    monkeypatch.setattr(exchange, "EARLY_BYTES", 0)
    monkeypatch.setattr(exchange.tempfile, "mkdtemp", lambda prefix: folder.mkdir() or str(folder))
    asker = Unpaused(
        ScriptedGrid(lambda site, _: REFUSED if site == "b" else ord(site) / 1000), threading.Event(), forgiving=True
    )
    found = {}
    for site, reply in asker.answers(messages, (REFUSED,)):
        found[site] = None if reply.has_error() else float(decode_answer(reply)[1]["w"][0])
        assert len(list(folder.iterdir())) == {"a": 2, "b": 2, "c": 1, "d": 0}[site]
    assert found == {"a": pytest.approx(0.097), "b": None, "c": pytest.approx(0.099), "d": pytest.approx(0.1)}
    assert not folder.exists()


def test_whoever_breaks_off_waits_for_nobody_any_more(messages: dict[str, Message]) -> None:
    grid = RememberingGrid(silent("c", "d"))
    answers = Unpaused(grid, threading.Event()).answers(messages)
    assert next(answers)[0] == "a"
    answers.close()  # type: ignore[attr-defined]
    assert sorted(grid.forgotten) == ["2", "3"]


REFUSED = SiteCode.COHORT_TOO_SMALL


def refusing(site: str, _: int) -> Any:
    return REFUSED if site == "b" else 0.1


def test_a_refusal_that_is_allowed_is_an_answer_like_any_other(messages: dict[str, Message]) -> None:
    missed: dict[str, str] = {}
    asker = Unpaused(ScriptedGrid(refusing), threading.Event(), forgiving=True)
    found = asker.ask(messages, codes_allowed=(REFUSED,), missed=missed)
    assert list(found) == list("abcd")
    assert error_code(found["b"]) is REFUSED
    assert missed == {}


@pytest.mark.parametrize(("forgiving", "missed"), [(False, None), (False, {}), (True, None)])
def test_a_refusal_stops_a_run_where_nobody_forgives_or_nobody_keeps_count(
    messages: dict[str, Message], forgiving: bool, missed: dict[str, str] | None
) -> None:
    asker = Unpaused(ScriptedGrid(refusing), threading.Event(), forgiving=forgiving)
    sentence = (
        "Site b could not answer evaluate.score of federated: the site has fewer subjects than its minimum cohort "
        r"\(code 203 COHORT_TOO_SMALL\)\. Fix that and resume\."
    )
    with pytest.raises(SiteFailed, match=sentence) as caught:
        asker.ask(messages, (SiteCode.NO_TEST_SUBJECTS,), missed)
    assert caught.value.site == "b"
    assert not missed


def test_the_site_that_a_simulation_makes_up_is_called_pooled_training() -> None:
    failed = SiteFailed("pooled", "train.round of pooled", "it is out of memory")
    assert str(failed).startswith("Pooled training could not answer train.round of pooled: it is out of memory. ")
    assert failed.site == "pooled"


def test_a_code_that_is_none_of_ours_is_an_error_inside_the_site(messages: dict[str, Message]) -> None:
    grid = ScriptedGrid(refusing)
    reply = grid._reply

    def strange(message: Message) -> Message | None:
        found = reply(message)
        if found is not None and found.has_error():
            found.error.__dict__["_code"] = 7
        return found

    grid._reply = strange  # type: ignore[method-assign]
    missed: dict[str, str] = {}
    assert set(Unpaused(grid, threading.Event(), forgiving=True).ask(messages, missed=missed)) == set("acd")
    assert "code 200 INTERNAL" in missed["b"]


def gone(grid: ScriptedGrid, *sites: str) -> ScriptedGrid:
    """Whose connections are cut once they are asked."""
    there = [node for site, node in grid.connected.items() if site not in sites]
    grid.get_node_ids = lambda: there  # type: ignore[method-assign]
    return grid


def silent(*sites: str) -> Callable[[str, int], Any]:
    return lambda site, _: None if site in sites else 0.1


@settings(max_examples=50)
@given(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd")))
def test_who_is_given_up_is_silent_and_gone_and_either_excused_or_beyond_patience(
    study: StudyConfig, quiet: set[str], cut: set[str], excused: set[str]
) -> None:
    identify()
    messages = made(study, {site: number for number, site in enumerate(PEOPLE, 1)})
    for patience_s in (0.0, math.inf):
        over = patience_s == 0.0
        given_up = {site for site in quiet if site in cut and (over or site in excused)}
        grid = RememberingGrid(silent(*quiet))
        asker = Unpaused(gone(grid, *cut), threading.Event(), patience_s, True, lambda: frozenset(excused))
        if given_up != quiet:
            with pytest.raises(AssertionError, match="waits without end"):
                asker.ask(messages, missed={})
            continue
        missed: dict[str, str] = {}
        found = asker.ask(messages, missed=missed)
        assert list(found) == sorted(set("abcd") - quiet)
        assert missed == dict.fromkeys(given_up, "not connected")
        assert sorted(grid.forgotten) == sorted(str("abcd".index(site)) for site in given_up)


def test_where_nobody_forgives_a_site_that_is_gone_is_waited_for(messages: dict[str, Message]) -> None:
    grid = gone(ScriptedGrid(silent("b")), "b")
    with pytest.raises(AssertionError, match="waits without end"):
        Unpaused(grid, threading.Event(), 0.0, False, lambda: frozenset("b")).ask(messages, missed={})


def other(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
    return Answer(site="a", payload=ScoredPeople()), arrays


def too_small(site: str, answer: Answer, arrays: Arrays) -> float:
    if site == "c":
        raise WireError("too small")
    return float(arrays["w"].mean())


def test_what_is_heard_is_made_of_every_answer_that_can_be_used(messages: dict[str, Message]) -> None:
    behaviour = {"a": 0.25, "b": other, "c": 1.0, "d": SiteCode.NO_TEST_SUBJECTS}
    grid = ScriptedGrid(lambda site, _: behaviour[site])
    missed: dict[str, str] = {}
    asker = Unpaused(grid, threading.Event(), forgiving=True)
    found = dict(asker.heard(messages, too_small, (SiteCode.NO_TEST_SUBJECTS,), missed))
    assert found == {"a": 0.25}
    assert missed == {
        "b": "its answer cannot be used: the answer says it is another site's",
        "c": "its answer cannot be used: too small",
    }


@pytest.mark.parametrize(("forgiving", "missed"), [(False, {}), (True, None)])
def test_an_answer_that_cannot_be_used_stops_a_run_where_nobody_forgives_or_nobody_keeps_count(
    messages: dict[str, Message], forgiving: bool, missed: dict[str, str] | None
) -> None:
    heard = Unpaused(ScriptedGrid(silent()), threading.Event(), forgiving=forgiving).heard(
        messages, too_small, (), missed
    )
    assert [next(heard)[0], next(heard)[0]] == ["a", "b"]
    with pytest.raises(SiteFailed, match=r"evaluate\.score of federated: its answer cannot be used: too small\. Fix"):
        next(heard)


def test_who_failed_in_a_round_is_said_with_the_model_and_the_round_and_a_new_run_if_the_study_is_at_fault(
    study: StudyConfig,
) -> None:
    identify()
    header = Letterhead(study).request(FineTune(round=4), arm="local-b")
    grid = ScriptedGrid(lambda site, _: SiteCode.TOO_MUCH_ASKED)
    asked = requests({"b": grid.connected["b"]}, header, offers.encode(Offer(({"w": np.zeros(3)},))))
    with pytest.raises(SiteFailed, match=r"Site b could not answer train\.personal of local-b in round 4: ") as caught:
        Unpaused(grid, threading.Event()).ask(asked)
    assert str(caught.value).endswith(". A run keeps its study: change the study and begin a new run.")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (SiteCode.OUT_OF_SPACE, "Fix that and resume, or go on without it: normfed server excuse r7 b"),
        (
            SiteCode.STUDY_REFUSED,
            "A run keeps its study: change the study and begin a new run, or go on without it: "
            "normfed server excuse r7 b",
        ),
        (
            SiteCode.MINIMUM_TOO_LOW,
            "A run keeps its study: change the study and begin a new run (most hospitals ask for 10), "
            "or go on without it: normfed server excuse r7 b",
        ),
        (
            SiteCode.NAMES_PEOPLE,
            "A run keeps its study: change the study and begin a new run; the hospital lists such people under "
            "`exclude` of its own site.yaml, or go on without it: normfed server excuse r7 b",
        ),
        (
            SiteCode.BUDGET_SPENT,
            "A run keeps its study: change the study and begin a new run with a smaller privacy.epsilon or fewer "
            "models; or resume, once the hospital has raised the budget of its own site.yaml, or go on without it: "
            "normfed server excuse r7 b",
        ),
    ],
)
def test_a_refusal_s_cure_is_a_new_run_only_where_the_study_is_at_fault(code: SiteCode, sentence: str) -> None:
    assert cure(code, "r7", "b") == sentence
    assert cure(code, "r7", "b").startswith("A run keeps its study") == code.of_the_study
