"""A round's answers on a scripted grid: whose come, in which order, who is late, and what is left behind."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from scripted import PEOPLE, ScriptedGrid

from normfed_common.foundation.errors import SiteCode
from normfed_common.study.config import StudyConfig
from normfed_common.wire import offers
from normfed_common.wire.messages import decode_answer, requests, size_of
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import TrainRound
from normfed_server.sites import collecting, exchange
from normfed_server.sites.asking import Asker, Interrupted
from normfed_server.sites.closing import Closing, Outcome
from normfed_server.sites.collecting import Collection, Reminder
from normfed_server.sites.letterhead import Letterhead
from normfed_simulation.engines.local import identify

Behaviour = Callable[[str, int], Any]
WEIGHTS = np.zeros(1000, np.float32)


class RememberingGrid(ScriptedGrid):
    """Knows which requests nobody waits for any more."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(behaviour)
        self.forgotten: set[str] = set()

    def forget(self, message_ids: Iterable[str]) -> None:
        self.forgotten |= set(message_ids)


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Set when a wait lasts so long that it has no end."""
    identify()
    found = threading.Event()
    limit = threading.Timer(30, found.set)
    limit.start()
    yield found
    limit.cancel()


Collect = Callable[..., Collection]


@pytest.fixture
def collect(study: StudyConfig, stop: threading.Event) -> Collect:
    """The answers of a behaviour, by a rule of waiting."""

    def made(
        behaviour: Behaviour, rule: Mapping[str, Any] | None = None, asked: str = "abcd", **how: Any
    ) -> Collection:
        grid = RememberingGrid(behaviour)
        nodes = {site: grid.connected[site] for site in asked}
        messages = requests(
            nodes, Letterhead(study).request(TrainRound(round=1)), offers.encode(Offer(({"w": WEIGHTS},)))
        )
        closing = Closing(**({"people": PEOPLE, "sites": 2, "share": 0.0, "patience_s": 0.0} | dict(rule or {})))
        return Collection(Asker(grid, stop), messages, closing, **how)

    return made


def silent(*sites: str) -> Behaviour:
    return lambda site, _: None if site in sites else 0.1


def forgotten(collection: Collection) -> set[str]:
    grid = collection.grid
    assert isinstance(grid, RememberingGrid)
    return {sorted(collection.requests)[int(number)] for number in grid.forgotten}


def test_answers_come_in_the_order_of_names_each_its_own(collect: Collect) -> None:
    collection = collect(lambda site, _: ord(site) / 1000, {"patience_s": math.inf})
    found = {site: decode(message) for site, message in collection}
    assert list(found) == list("abcd")  # though the last asked answers first
    assert found == {site: (site, pytest.approx(ord(site) / 1000)) for site in "abcd"}
    assert set(collection.outcomes.values()) == {Outcome.TOOK_PART}
    assert collection.reasons == {}


def decode(message: Message) -> tuple[str, float]:
    answer, arrays = decode_answer(message)
    return answer.site, float(arrays["w"].mean())


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        *((code, Outcome.REFUSED) for code in SiteCode if code.of_the_study),
        (SiteCode.BAD_REQUEST, Outcome.REFUSED),
        (SiteCode.TOO_CLOSE_TO_EARLIER, Outcome.REFUSED),
        (SiteCode.RECORD_UNUSABLE, Outcome.REFUSED),
        (SiteCode.COHORT_NOT_LOOKED_AT, Outcome.REFUSED),
        (SiteCode.NOTHING_PAIRED, Outcome.NO_PART),
        (SiteCode.INTERNAL, Outcome.FAILED),
        (SiteCode.NOT_FINITE, Outcome.FAILED),
        (SiteCode.TOOK_TOO_LONG, Outcome.FAILED),
        (SiteCode.WORKER_DIED, Outcome.FAILED),
    ],
)
def test_a_site_that_would_not_refused_and_one_that_could_not_failed(
    collect: Collect, code: SiteCode, outcome: Outcome
) -> None:
    collection = collect(lambda site, _: code if site == "b" else 0.1)
    assert [site for site, _ in collection] == list("acd")
    assert collection.outcomes["b"] is outcome
    assert collection.reasons == {"b": f"{code.sentence} (code {int(code)} {code.name})"}


def test_bytes_are_those_of_the_arrays_that_came_and_a_refusal_has_none(collect: Collect) -> None:
    collection = collect(lambda site, _: SiteCode.INTERNAL if site == "b" else 0.1)
    sizes = [size_of(message) for _, message in collection]
    assert collection.bytes == sum(sizes) > 3 * WEIGHTS.nbytes


def test_who_is_late_by_the_virtual_clock_is_not_waited_for_and_its_answer_not_used(collect: Collect) -> None:
    arrivals = {"a": 10.0, "b": 70.0, "c": 20.0, "d": 61.4}
    collection = collect(silent("b"), {"patience_s": 60.0, "sites": 2}, arrivals=arrivals)
    assert collection.outcomes == {"b": Outcome.LATE, "d": Outcome.LATE}  # known before anybody is asked
    assert [site for site, _ in collection] == ["a", "c"]
    assert collection.outcomes["d"] is Outcome.LATE
    assert collection.reasons == {
        "b": "would arrive 10 s after the round's end",
        "d": "would arrive 1 s after the round's end",
    }


def test_who_arrives_at_the_very_end_is_in_time(collect: Collect) -> None:
    arrivals = {"a": 0.0, "b": 60.0, "c": 0.0, "d": 61.0}
    assert [site for site, _ in collect(silent(), {"patience_s": 60.0}, arrivals=arrivals)] == ["a", "b", "c"]


def test_patience_begins_to_matter_when_the_quorum_is_there(collect: Collect) -> None:
    collection = collect(silent("c", "d"), {"sites": 2})
    assert [site for site, _ in collection] == ["a", "b"]
    assert collection.reasons == {"c": "no answer within 0 s", "d": "no answer within 0 s"}
    assert forgotten(collection) == {"c", "d"}


def test_without_the_quorum_nobody_is_late_until_the_run_is_stopped(collect: Collect, stop: threading.Event) -> None:
    pulls = []
    collection = collect(silent("d"), {"sites": 4})
    pull = collection.grid.pull_messages

    def counted(ids: Iterable[str]) -> Iterable[Message]:
        pulls.append(1)
        if len(pulls) > 5:
            stop.set()
        return pull(ids)

    collection.grid.pull_messages = counted  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        list(collection)
    assert "d" not in collection.outcomes
    assert forgotten(collection) == {"d"}


def empty(message: Message) -> Message:
    """Neither content nor an error."""
    found = Message(RecordDict({}), reply_to=message)
    found.__dict__["_content"] = None
    return found


def test_a_largest_whose_answer_is_empty_holds_up_no_round(collect: Collect, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = collect(silent("d"), {"largest": "a"})
    grid = collection.grid
    assert isinstance(grid, RememberingGrid)
    reply = grid._reply
    monkeypatch.setattr(grid, "_reply", lambda m: empty(m) if m.metadata.dst_node_id == 1 else reply(m))
    assert [site for site, _ in collection] == ["b", "c"]
    assert collection.outcomes["a"] is Outcome.SET_ASIDE
    assert collection.outcomes["d"] is Outcome.LATE
    assert collection.reasons["a"] == "its answer is empty"


def test_a_largest_that_is_not_asked_again_holds_up_no_round(collect: Collect) -> None:
    """Its update was barred; the others are asked again, and one of them is still silent."""
    collection = collect(silent("d"), {"largest": "a"}, asked="bcd")
    assert [site for site, _ in collection] == ["b", "c"]
    assert collection.outcomes["d"] is Outcome.LATE


@pytest.mark.parametrize("held", [0, 1, 2, 3])
def test_answers_beyond_what_memory_may_hold_wait_on_disk_until_their_turn(
    collect: Collect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    (sent,) = {size_of(message) for _, message in collect(silent())}
    folder = tmp_path / "early"
    monkeypatch.setattr(exchange, "EARLY_BYTES", held * sent)
    monkeypatch.setattr(exchange.tempfile, "mkdtemp", lambda prefix: folder.mkdir() or str(folder))
    on_disk = []
    for site, message in collect(lambda site, _: ord(site) / 1000):
        assert decode(message) == (site, pytest.approx(ord(site) / 1000))
        on_disk.append(len(list(folder.iterdir())) if folder.exists() else 0)
    # d, c and b come before a, whose turn it is: the first to come are in memory, the others leave from b on.
    waiting = 3 - held
    assert on_disk == [max(waiting - turn, 0) for turn in range(4)]
    assert not folder.exists()


def test_a_round_that_is_broken_off_leaves_no_file(
    collect: Collect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "early"
    monkeypatch.setattr(exchange, "EARLY_BYTES", 0)
    monkeypatch.setattr(exchange.tempfile, "mkdtemp", lambda prefix: folder.mkdir() or str(folder))
    answers = iter(collect(silent()))
    next(answers)
    assert len(list(folder.iterdir())) == 3
    answers.close()  # type: ignore[attr-defined]
    assert not folder.exists()


def test_a_reminder_comes_after_pauses_twice_as_long_every_time_up_to_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(collecting.time, "monotonic", lambda: now[0])
    reminder, told = Reminder(), list[int]()
    for second in range(1, 3001):
        now[0] = 1000.0 + second
        assert reminder.seconds() == second
        if reminder.due():
            told.append(second)
    pauses = [later - earlier for earlier, later in zip([0, *told], told, strict=False)]
    assert pauses == [16, 31, 61, 121, 241, 481, 601, 601, 601]  # looked at once a second, so one later than due


def test_who_is_waited_for_is_told_with_whether_each_is_connected(
    collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "TELL_S", -1.0)
    told: list[dict[str, bool]] = []
    excused: set[str] = set()

    def tell(sites: dict[str, bool], seconds: float) -> None:
        told.append(sites)
        excused.update(sites)

    rule = {"patience_s": math.inf, "excused": lambda: frozenset(excused)}
    collection = collect(silent("b", "d"), rule, tell=tell)
    monkeypatch.setattr(collection.grid, "get_node_ids", lambda: [1, 2, 3])
    assert [site for site, _ in collection] == ["a", "c"]
    assert told[0] == {"b": True, "d": False}


@pytest.mark.parametrize("how", [{"wall_clock": False}, {"arrivals": dict.fromkeys("abcd", 0.0)}])
def test_where_no_clock_on_the_wall_counts_nobody_is_told_to_wait(collect: Collect, how: dict[str, Any]) -> None:
    collection = collect(silent(), tell=lambda sites, seconds: None, **how)
    assert collection.tell is None
    assert collection.patience_s == math.inf
