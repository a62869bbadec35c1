"""Which sets of people may be told of after which others, against a second implementation that tries everything."""

from __future__ import annotations

import itertools
import sqlite3
import stat
import tempfile
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from normfed_client.hospital import releases
from normfed_client.hospital.blocks import Item, Member, blocks, releasable, too_small
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Releases
from normfed_common.foundation.errors import UserError

SECRET = PeopleSecret(b"secret")
PEOPLE = 7

Members = frozenset[Member]


def members(numbers: Collection[int], version: str = "v") -> Members:
    return frozenset(Member(str(number), version) for number in numbers)


one_version = st.sets(st.integers(0, PEOPLE - 1)).map(members)
two_versions = st.dictionaries(st.integers(0, PEOPLE - 1), st.sampled_from("vw")).map(
    lambda chosen: frozenset(Member(str(number), version) for number, version in chosen.items())
)


def combinations(sets: Sequence[Members]) -> dict[frozenset[int], set[Item]]:
    """Whatever is in some of the sets and in none of the others, for every choice of some."""
    items = [{item for m in of for item in ((m.person, ""), (m.person, m.version))} for of in sets]
    found = {}
    for inside in itertools.chain.from_iterable(
        itertools.combinations(range(len(sets)), size) for size in range(1, len(sets) + 1)
    ):
        outside = set().union(*(items[i] for i in range(len(sets)) if i not in inside))
        left = set.intersection(*(items[i] for i in inside)) - outside
        if left:
            found[frozenset(inside)] = left
    return found


def small(sets: Sequence[Members], minimum: int) -> dict[frozenset[int], set[Item]]:
    """Combinations about too few people that the last of the sets makes possible."""
    known = list(combinations(sets[:-1]).values())
    return {
        where: left
        for where, left in combinations(sets).items()
        if len({person for person, _ in left}) < minimum and left not in known
    }


def allowed(chosen: Members, earlier: Sequence[Members], minimum: int) -> bool:
    return len(chosen) >= minimum and not small([*earlier, chosen], minimum)


@given(st.lists(two_versions, max_size=4))
def test_blocks_are_what_any_choice_of_sets_has_alone(sets: list[Members]) -> None:
    assert blocks(sets) == combinations(sets)


@given(st.lists(two_versions, min_size=1, max_size=4), st.integers(1, 4))
def test_small_blocks_are_news_only_where_no_earlier_sets_made_them(sets: list[Members], minimum: int) -> None:
    assert too_small(sets, minimum) == small(sets, minimum)


@settings(max_examples=30)  # each writes to the disk
@given(st.lists(st.tuples(two_versions, st.integers(1, 4), st.sampled_from(["learning", "figures"])), max_size=5))
@example([(members(range(6)), 2, "learning"), (members(range(5)), 1, "figures"), (members(range(5)), 4, "learning")])
def test_a_record_takes_exactly_what_leaves_no_small_combination(asked: list[tuple[Members, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = Releases.create(Path(folder) / "releases.sqlite", SECRET)
        taken: list[tuple[str, Members]] = []
        for chosen, minimum, kind in asked:
            expected = allowed(chosen, [of for _, of in taken], minimum)
            assert record.record(kind, chosen, minimum, "sums", "r") is expected  # type: ignore[arg-type]
            if expected and (kind, chosen) not in taken:
                taken.append((kind, chosen))
        reopened = Releases(record.path, SECRET)
        assert reopened.sets() == [of for _, of in taken]
        assert reopened.serial() == len(taken)


def most(people: Members, earlier: Sequence[Members], minimum: int) -> int:
    """How many people the largest set has that may be released, of all there are."""
    sizes = range(len(people), minimum - 1, -1)
    subsets = (frozenset(some) for size in sizes for some in itertools.combinations(people, size))
    return next((len(some) for some in subsets if allowed(some, earlier, minimum)), 0)


def admitted(sets: Sequence[Members], minimum: int) -> list[Members]:
    """Of some sets those that may be released one after the other."""
    taken: list[Members] = []
    for of in sets:
        taken += [of] if allowed(of, taken, minimum) else []
    return taken


@given(one_version, st.lists(one_version, max_size=3), st.integers(1, 3), st.integers(1, 3))
@example(members(range(6)), [members(range(7))], 1, 3)
@example(members(range(3)), [members(range(7)), members(range(5))], 1, 2)
def test_as_many_people_are_releasable_as_in_the_largest_set_that_may_be(
    people: Members, sets: list[Members], lower: int, minimum: int
) -> None:
    """Also where earlier releases were made under a lower minimum."""
    earlier = admitted(sets, min(lower, minimum))
    found = releasable(people, earlier, minimum, float)
    assert found <= people
    assert len(found) == most(people, earlier, minimum)
    assert not found or allowed(found, earlier, minimum)


@given(two_versions, st.lists(two_versions, max_size=3), st.integers(1, 3))
def test_after_scans_were_exported_anew_what_is_releasable_may_be_released(
    people: Members, sets: list[Members], minimum: int
) -> None:
    earlier = admitted(sets, minimum)
    found = releasable(people, earlier, minimum, float)
    assert found <= people
    assert not found or allowed(found, earlier, minimum)
    if allowed(people, earlier, minimum):
        assert found == people


def test_those_with_the_lowest_lots_wait_with_the_one_who_would_be_left_alone() -> None:
    """Twenty were released, one is gone: nine more wait, so that ten are left behind."""
    found = releasable(members(range(19)), [members(range(20))], 10, lambda person: -float(person))
    assert found == members(range(10))  # 18 has the lowest lot, then 17, ...


def test_newcomers_wait_until_there_are_enough_of_them() -> None:
    before = members(range(10))
    assert releasable(members(range(19)), [before], 10, float) == before
    assert releasable(members(range(20)), [before], 10, float) == members(range(20))


@pytest.fixture
def record(tmp_path: Path) -> Releases:
    return Releases.create(tmp_path / "releases.sqlite", SECRET)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time that the record sees; a test puts another in."""
    now = [datetime(2026, 1, 1, tzinfo=UTC)]

    class Clock:
        @staticmethod
        def now(_zone: object) -> datetime:
            return now[0]

    monkeypatch.setattr(releases, "datetime", Clock)
    return now


def test_a_release_keeps_when_it_was_first_made_and_is_listed_by_when_it_was_last(
    record: Releases, clock: list[datetime]
) -> None:
    both, start = (members(range(4)), members(range(4, 9))), clock[0]
    for day, (chosen, run) in enumerate([(both[0], "r1"), (both[1], "r2"), (both[0], "r3")]):
        clock[0] = start + timedelta(days=day)
        assert record.record("learning", chosen, 2, f"sums of {run}", run)
    times = [(r.people, r.first[:10], r.last[:10], r.times, r.what, r.run) for r in record.all()]
    assert times == [
        (5, "2026-01-02", "2026-01-02", 1, "sums of r2", "r2"),
        (4, "2026-01-01", "2026-01-03", 2, "sums of r3", "r3"),
    ]


def test_sums_and_figures_over_the_same_people_are_two_releases(record: Releases) -> None:
    for kind in ("learning", "figures"):
        assert record.record(kind, members(range(4)), 2, "x", "r")  # type: ignore[arg-type]
    assert [(release.kind, release.times) for release in record.all()] == [("learning", 1), ("figures", 1)]


def test_nobody_writes_between_what_is_read_and_what_is_written(
    record: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that each add what alone is harmless would together give a person."""
    read, refused = releases._sets, []

    def meanwhile(database: sqlite3.Connection) -> dict[int, tuple[str, Members]]:
        other = sqlite3.connect(record.path, timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
        refused.append(True)
        return read(database)

    monkeypatch.setattr(releases, "_sets", meanwhile)
    assert record.record("learning", members(range(4)), 2, "sums", "r")
    assert refused


def test_a_new_record_is_its_owners_alone_and_never_replaces_another(record: Releases) -> None:
    assert stat.S_IMODE(record.path.stat().st_mode) == 0o600
    record.record("learning", members(range(4)), 2, "sums", "r")
    with pytest.raises(FileExistsError):
        Releases.create(record.path, SECRET)
    assert record.serial() == 1


def test_a_record_of_another_secret_says_that_both_belong_together(record: Releases) -> None:
    with pytest.raises(UserError, match=r"not written with this people\.secret\. Restore both"):
        Releases(record.path, PeopleSecret(b"another"))


def test_ways_of_preparing_scans_are_counted_across_runs(record: Releases) -> None:
    assert record.admit("a", 1, "r1")
    reopened = Releases(record.path, SECRET)
    assert reopened.admit("a", 1, "r2")
    assert not reopened.admit("b", 1, "r2")
    assert reopened.admit("b", 2, "r2")  # the hospital allows one more now
