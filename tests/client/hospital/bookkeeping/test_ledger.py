"""What was spent stays spent: through crashes, between processes, and against old copies."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from normfed_client.hospital.bookkeeping import clock as clock_module
from normfed_client.hospital.bookkeeping import ledger as module
from normfed_client.hospital.bookkeeping.budget import BudgetRules, refusal, spent
from normfed_client.hospital.bookkeeping.counting import Signer
from normfed_client.hospital.bookkeeping.entries import Entry, Kind, Release
from normfed_client.hospital.bookkeeping.ledger import Ledger
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.privacy.accounting import epsilon
from normfed_common.privacy.mechanisms import SampledGaussian

ONE = SampledGaussian(10.0)  # epsilon of n of them is known exactly
RULES = BudgetRules(epsilon_per_year=1.0)


def most(limit: float) -> int:
    """How often `ONE` is within a limit."""
    return next(n for n in itertools.count() if epsilon([ONE] * (n + 1), RULES.budget_delta) > limit)


def release(key: str, kind: Kind = "noise", spends: Sequence[SampledGaussian] = (ONE,)) -> Release:
    return Release(key, kind, tuple(spends), "run", "federated", "train.sums")


def reserve(ledger: Ledger, key: str, rules: BudgetRules = RULES) -> str:
    return ledger.reserve(release(key), partial(refusal, rules))


def new_signer(path: Path, site: str = "north") -> Signer:
    key = ec.generate_private_key(ec.SECP384R1())
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(*formats))
    return Signer(path, site)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return new_signer(tmp_path / "site.key")


class Clock:
    """The time that the ledger sees, and the machine that keeps it; a test puts another in.

    Parameters
    ----------
    now_is
        What the clock says; the machine runs on with it.
    """

    def __init__(self) -> None:
        self.said, self.boot, self.running = datetime(2026, 6, 1, tzinfo=UTC), "boot 1", 0.0

    @property
    def now_is(self) -> datetime:
        return self.said

    @now_is.setter
    def now_is(self, time: datetime) -> None:
        self.running += max((time - self.said).total_seconds(), 0.0)
        self.said = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(clock_module, "wall", lambda: found.said)
    monkeypatch.setattr(clock_module, "started", lambda: (found.boot, found.running))
    return found


def test_a_release_is_an_entry_once_however_often_it_is_asked_for(ledger: Ledger) -> None:
    for _ in range(3):
        assert reserve(ledger, "a") == ""
    assert reserve(Ledger(ledger.path), "b") == ""
    entries = Ledger(ledger.path).entries()
    assert [entry.release for entry in entries] == [release("a"), release("b")]
    assert spent(entries, 1e-5) == epsilon([ONE, ONE], 1e-5)
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600


def test_a_release_counts_before_it_is_settled_and_after(ledger: Ledger) -> None:
    reserve(ledger, "a")
    reserve(ledger, "b")
    ledger.settle("a", "made")
    ledger.settle("never reserved", "made")
    assert ledger.settle("a", "other") == "made"
    assert [entry.settled for entry in ledger.entries()] == [True, False]
    assert spent(ledger.entries(), 1e-5) == epsilon([ONE, ONE], 1e-5)


def test_the_budget_holds_as_many_releases_as_epsilon_allows_and_says_what_is_left(
    ledger: Ledger, clock: Clock
) -> None:
    number = most(1.0)
    assert [reserve(ledger, str(n)) for n in range(number)] == [""] * number
    found = epsilon([ONE] * number, 1e-5)
    why = reserve(ledger, "one too many")
    assert why.startswith(
        f"epsilon_per_year: {found:.3g} of 1 is spent in the last 365 days, {1 - found:.3g} is left (at delta 1e-05). "
        f"With train.sums of federated it would be {epsilon([ONE] * (number + 1), 1e-5):.3g}. Wait until "
        "2027-06-01, when the first of it is a year old, ask for a study"
    )
    assert len(ledger.entries()) == number
    assert reserve(ledger, "0") == ""  # what was released before is no other release


def test_a_new_year_has_a_new_budget_and_a_life_has_one(ledger: Ledger, clock: Clock) -> None:
    rules = BudgetRules(epsilon_per_year=0.7, epsilon_for_life=1.0)
    years = [0, 0, 0]
    for year in range(3):
        clock.now_is = datetime(2026 + year, 6, 1, tzinfo=UTC)
        while not (why := reserve(ledger, f"{year} {years[year]}", rules)):
            years[year] += 1
    whole, of_a_year = most(1.0), most(0.7)
    assert years == [of_a_year, of_a_year, whole - 2 * of_a_year]
    assert 0 < years[2] < of_a_year
    assert why.startswith("epsilon_for_life: ")
    assert "Ask for a study" in why


def test_a_budget_is_not_spent_twice_around_new_year(ledger: Ledger, clock: Clock) -> None:
    """Once a calendar year had a budget: as much again was there a day later."""
    clock.now_is = datetime(2026, 12, 31, tzinfo=UTC)
    while not reserve(ledger, str(len(ledger.entries()))):
        pass
    for month, allowed in ((1, False), (12, False)):
        clock.now_is = datetime(2027, month, 30, tzinfo=UTC)
        assert (reserve(ledger, "later") == "") is allowed
    clock.now_is = datetime(2027, 12, 31, tzinfo=UTC)
    assert reserve(ledger, "later") == ""


def test_a_clock_that_is_set_back_opens_no_old_budget(ledger: Ledger, clock: Clock) -> None:
    while not reserve(ledger, str(len(ledger.entries()))):
        pass
    clock.now_is = datetime(2020, 1, 1, tzinfo=UTC)
    assert reserve(ledger, "back") != ""
    assert reserve(ledger, "back", BudgetRules()) == ""
    assert ledger.entries()[-1].year == 2026


def test_a_clock_that_is_set_forward_opens_no_new_budget(ledger: Ledger, clock: Clock) -> None:
    """Once a clock that a false time server had set two years ahead opened a year that was not yet."""
    while not reserve(ledger, str(len(ledger.entries()))):
        pass
    clock.said = datetime(2028, 6, 2, tzinfo=UTC)  # while the machine runs
    assert reserve(ledger, "forward") != ""
    clock.running += timedelta(days=366).total_seconds()
    assert reserve(ledger, "forward") == ""
    assert ledger.entries()[-1].time < "2027-06-03"


def test_across_a_start_of_the_machine_its_clock_is_believed(ledger: Ledger, clock: Clock) -> None:
    """What stays open: nobody knows how long it was off."""
    while not reserve(ledger, str(len(ledger.entries()))):
        pass
    clock.said, clock.boot, clock.running = datetime(2028, 6, 2, tzinfo=UTC), "boot 2", 0.0
    assert reserve(ledger, "later") == ""


def test_a_system_that_does_not_say_when_it_started_has_its_clock_alone(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_module, "started", lambda: None)
    assert reserve(ledger, "a") == ""
    assert ledger.entries()[0].time == "2026-06-01T00:00:00+00:00"


def test_without_a_budget_everything_is_written_down_and_a_year_without_noise_has_no_bound(ledger: Ledger) -> None:
    clear = release("clear", "without noise", [SampledGaussian(0.0)])
    assert ledger.reserve(clear, partial(refusal, BudgetRules())) == ""
    assert spent(ledger.entries(), 1e-5) == float("inf")
    why = reserve(ledger, "later")
    assert "train.sums of federated in run run left without noise on" in why
    assert "Nothing more is released" in why


def test_what_stays_is_an_entry_of_its_own_beside_what_leaves_and_costs_nothing(ledger: Ledger) -> None:
    reserve(ledger, "a")
    assert ledger.reserve(release("a", "stays", ()), partial(refusal, RULES)) == ""
    assert [entry.release.kind for entry in ledger.entries()] == ["noise", "stays"]
    assert spent(ledger.entries(), 1e-5) == epsilon([ONE], 1e-5)


class Killed(BaseException):
    """The process is gone: nothing catches it."""


class Mortal(sqlite3.Connection):
    """Dies before or after the n-th statement or commit."""

    left = 0

    def _step(self) -> None:
        Mortal.left -= 1
        if Mortal.left == 0:
            raise Killed

    def execute(self, *arguments: object) -> sqlite3.Cursor:  # type: ignore[override]
        self._step()
        found = super().execute(*arguments)  # type: ignore[arg-type]
        self._step()
        return found

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:  # type: ignore[override]
        if kind is None:
            self._step()
        found = super().__exit__(kind, *rest)  # type: ignore[arg-type]
        if kind is None:
            self._step()
        return bool(found)


def test_in_1000_crashes_at_any_statement_nothing_leaves_that_is_not_on_record_nor_beyond_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, connect = random.Random(1), sqlite3.connect
    monkeypatch.setattr(module.sqlite3, "connect", partial(connect, factory=Mortal))
    crashes = 0
    for number in itertools.count():
        ledger, left = Ledger(tmp_path / f"{number}.sqlite"), set()
        for turn in itertools.count():
            key = str(rng.randrange(40))
            Mortal.left = rng.randrange(1, 60)
            try:
                if not reserve(ledger, key):
                    left.add(key)  # the answer leaves
                    ledger.settle(key, "made")
            except Killed:
                crashes += 1
            Mortal.left = 0
            if turn % 20 == 0 or turn == 80:
                entries = ledger.entries()
                assert left <= {entry.release.key for entry in entries}
                assert {entry.release.key for entry in entries if entry.settled} <= left
                assert spent(entries, RULES.budget_delta) <= 1.0
            if turn == 80:
                break
        if crashes >= 1000:
            return


def child(work: object, write: int) -> int:
    """A process of its own that does nothing else; its number."""
    number = os.fork()
    if number == 0:
        try:
            work(write)  # type: ignore[operator]
        finally:
            os._exit(0)
    return number


def spend(ledger: Ledger, name: str, write: int) -> None:
    """Reserve one after another until refused, and say what leaves."""
    for number in range(200):
        if reserve(ledger, f"{name} {number}"):
            return
        os.write(write, f"{name} {number}\n".encode())


def said(read: int) -> list[str]:
    with os.fdopen(read) as file:
        return file.read().splitlines()


def test_a_copy_of_the_one_file_has_all_that_left_whoever_else_has_it_open(ledger: Ledger) -> None:
    """In a log beside it the last entries were once missing from `normfed site leave`, and from any backup."""
    assert not reserve(ledger, "first")
    with closing(sqlite3.connect(ledger.path)) as another_process:
        another_process.execute("SELECT * FROM entries").fetchall()
        assert not reserve(ledger, "second")
        copy = Ledger(ledger.path.with_name("copy.sqlite"))
        shutil.copy(ledger.path, copy.path)
    assert [entry.release.key for entry in copy.entries()] == ["first", "second"]


def test_two_processes_at_the_same_time_spend_the_budget_once(tmp_path: Path) -> None:
    assert epsilon([ONE], 1e-5) < 1
    for number in range(5):
        ledger = Ledger(tmp_path / f"{number}.sqlite")
        read, write = os.pipe()
        pids = [child(partial(spend, ledger, name), write) for name in ("one", "two")]
        os.close(write)
        for pid in pids:
            os.waitpid(pid, 0)
        entries = ledger.entries()
        assert sorted(said(read)) == sorted(entry.release.key for entry in entries)
        assert len(entries) == most(1.0)


@pytest.fixture
def grown(ledger: Ledger) -> tuple[Ledger, Path]:
    """A ledger of three entries, and a copy of when it had two."""
    for key in "ab":
        reserve(ledger, key)
    copy = shutil.copy(ledger.path, ledger.path.with_name("backup"))
    reserve(ledger, "c")
    return ledger, Path(copy)


def test_a_ledger_is_as_long_as_its_counter_or_longer(grown: tuple[Ledger, Path], signer: Signer) -> None:
    ledger, _ = grown
    counter = ledger.counter(signer)
    assert counter is not None
    assert counter.entries == 3
    ledger.check(counter, signer)
    reserve(ledger, "d")
    ledger.check(counter, signer)  # two models are trained at the same time: one of them heard of less


def test_an_old_copy_is_refused_on_the_word_of_the_server(grown: tuple[Ledger, Path], signer: Signer) -> None:
    ledger, copy = grown
    counter = ledger.counter(signer)
    assert counter is not None
    shutil.copy(copy, ledger.path)
    with pytest.raises(UserError, match=r"is an old copy.*has 2 of the 3 entries that the server knows of\. Restore"):
        ledger.check(counter, signer)
    reserve(ledger, "another c")
    with pytest.raises(UserError, match="another entry 3 than the one that the server knows of"):
        ledger.check(counter, signer)
    ledger.path.unlink()
    with pytest.raises(UserError, match="was deleted: it has 0 of the 3 entries"):
        ledger.check_marks([(counter.entries, counter.head, "the server")])


def test_a_counter_that_the_site_never_signed_is_refused(
    grown: tuple[Ledger, Path], signer: Signer, tmp_path: Path
) -> None:
    ledger, _ = grown
    counter = ledger.counter(signer)
    assert counter is not None
    other_site = Signer(tmp_path / "site.key", "south").signed(counter.entries, counter.head)
    stranger = new_signer(tmp_path / "other.key").signed(counter.entries, counter.head)
    for made_up in (counter.model_copy(update={"entries": 2}), other_site, stranger):
        with pytest.raises(SiteError) as caught:
            ledger.check(made_up, signer)
        assert caught.value.code is SiteCode.BAD_REQUEST


def test_a_counter_outlives_the_key_that_signed_it(grown: tuple[Ledger, Path], signer: Signer, tmp_path: Path) -> None:
    """A hospital that left and joined again has another key."""
    ledger, _ = grown
    counter = ledger.counter(signer)
    assert counter is not None
    ledger.check(counter, new_signer(tmp_path / "new.key"))


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE entries SET spent = '[[99.0, 1.0, 1]]' WHERE number = 2",
        "DELETE FROM entries WHERE number = 2",
        "DELETE FROM entries WHERE number = 1",
        "UPDATE entries SET time = '2001' || substr(time, 5) WHERE number = 3",
        "UPDATE entries SET kind = 'stays' WHERE number = 1",
        "DELETE FROM made",
    ],
)
def test_an_entry_that_was_changed_or_taken_out_shows(grown: tuple[Ledger, Path], edit: str) -> None:
    ledger, _ = grown
    with sqlite3.connect(ledger.path) as database:
        database.execute(edit)
    database.close()
    with pytest.raises(UserError, match=r"ledger\.sqlite: cannot be used \(.*without it nothing is released\. Restore"):
        ledger.entries()


def test_a_damaged_file_says_one_sentence(ledger: Ledger) -> None:
    ledger.path.write_bytes(b"no database at all" * 100)
    for use in (ledger.entries, ledger.mark, partial(reserve, ledger, "a"), partial(ledger.settle, "a", "made")):
        with pytest.raises(UserError, match=r"cannot be used \(file is not a database\)\. It says what was spent"):
            use()


def test_entries_are_plain_json_that_another_program_can_read(grown: tuple[Ledger, Path]) -> None:
    ledger, _ = grown
    with sqlite3.connect(ledger.path) as database:
        rows = [json.loads(row[0]) for row in database.execute("SELECT spent FROM entries")]
    database.close()
    assert rows == [[[10.0, 1.0, 1]]] * 3


def test_an_entry_knows_its_year() -> None:
    assert Entry(release("a"), "2031-12-31T23:59:59+00:00", False).year == 2031
