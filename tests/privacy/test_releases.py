"""A hospital never releases two things whose difference is about fewer people than its minimum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normfed_client.hospital.blocks import Member, blocks, releasable
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.releases import Releases
from normfed_common.foundation.errors import UserError

SECRET = PeopleSecret(b"secret")


def members(*numbers: int, version: str = "v") -> frozenset[Member]:
    return frozenset(Member(f"{number:03d}", version) for number in numbers)


@pytest.fixture
def record(tmp_path: Path) -> Releases:
    return Releases.create(tmp_path / "releases.sqlite", SECRET)


@pytest.mark.parametrize(
    ("second", "allowed"),
    [
        (members(*range(20)), True),  # the same people
        (members(*range(19)), False),  # one fewer: the difference is that one
        (members(*range(21)), False),  # one more
        (members(*range(1, 21)), False),  # one exchanged
        (members(*range(10)), True),  # ten are left behind
        (members(*range(11)), False),  # nine are
        (members(*range(30)), True),  # ten are new
        (members(*range(20, 40)), True),  # nobody in common
        (members(*range(9)), False),  # fewer than the minimum
        (members(*range(19)) | members(19, version="w"), False),  # one was exported anew: what changed is one person's
        (members(*range(10)) | members(*range(10, 20), version="w"), True),
    ],
)
def test_a_second_release_differs_by_the_minimum_or_not_at_all(
    record: Releases, second: frozenset[Member], allowed: bool
) -> None:
    assert record.record("learning", members(*range(20)), 10, "sums", "r1")
    for kind in ("learning", "figures"):  # a figure of a made-up model may be a sum
        assert record.record(kind, second, 10, "anything", "r2") is allowed  # type: ignore[arg-type]


def test_three_large_sets_that_cross_in_one_person_are_noticed(record: Releases) -> None:
    """A + B, B + C and A + C differ by ten and more pairwise, and give B."""
    a, b, c = range(10), range(10, 11), range(11, 21)
    assert record.record("learning", members(*a, *c), 10, "sums", "r1")
    assert not record.record("learning", members(*a, *b), 10, "sums", "r2")
    assert not record.record("learning", members(*b, *c), 10, "sums", "r3")


def test_a_hospital_may_raise_its_minimum(record: Releases) -> None:
    """Blocks that were large enough once are no news; a new one must be large enough now."""
    assert record.record("learning", members(*range(30)), 10, "sums", "r1")
    assert record.record("learning", members(*range(20)), 10, "sums", "r2")  # leaves a block of ten
    assert record.record("learning", members(*range(20)), 15, "sums", "r3")
    assert releasable(members(*range(30)), record.sets(), 15, float) == members(*range(30))
    assert not record.record("learning", members(*range(20, 30)), 15, "sums", "r4")  # ten, and fifteen are asked
    assert not record.record("learning", members(*range(14)), 15, "sums", "r5")
    assert record.record("learning", members(*range(50)), 15, "sums", "r6")


def test_what_was_refused_leaves_no_trace_and_what_was_allowed_is_counted(record: Releases) -> None:
    for run in ("r1", "r2"):
        assert record.record("learning", members(*range(20)), 10, f"sums of {run}", run)
    assert not record.record("learning", members(*range(19)), 10, "sums", "r3")
    (release,) = record.all()
    assert (release.people, release.times, release.what, release.run) == (20, 2, "sums of r2", "r2")


def test_scans_are_prepared_in_so_many_ways_and_no_more(record: Releases) -> None:
    """Every way of preparing the same people's scans is one more equation about each of them."""
    assert all(record.admit(recipe, 3, "r") for recipe in "abcabc")
    assert not record.admit("d", 3, "r")
    assert record.admit("a", 3, "r")


def test_without_its_record_a_hospital_releases_nothing(record: Releases) -> None:
    record.path.write_bytes(b"damaged" * 100)
    with pytest.raises(UserError, match="nothing is released"):
        record.record("learning", members(*range(20)), 10, "sums", "r")
    record.path.unlink()
    with pytest.raises(UserError, match="from a backup"):
        Releases(record.path, SECRET)


people = st.sets(st.integers(0, 30))


@settings(max_examples=200)
@given(earlier=st.lists(people, max_size=4), wanted=people, changed=people, minimum=st.integers(1, 6))
def test_whatever_was_released_before_the_next_release_leaves_no_small_block(
    earlier: list[set[int]], wanted: set[int], changed: set[int], minimum: int
) -> None:
    """Seen from outside: every sum that linear algebra can make of the released sums is about enough people."""
    released: list[frozenset[Member]] = []
    for numbers in [*earlier, wanted]:
        asked = members(*(numbers - changed)) | members(*(numbers & changed), version=f"v{len(released) % 2}")
        found = releasable(asked, released, minimum, float)
        assert found <= asked
        if found:
            released.append(found)
            assert all(len({person for person, _ in block}) >= minimum for block in blocks(released).values())
    everybody = sorted({member for found in released for member in found})
    if not everybody:
        return
    # In the span of the released indicator vectors no vector has fewer than `minimum` people: its rows are constant
    # on blocks, and no block is smaller.
    matrix = np.array([[member in found for member in everybody] for found in released], float)
    _, strengths, rows = np.linalg.svd(matrix, full_matrices=False)
    for row in rows[strengths > 1e-9]:
        for block in blocks(released).values():
            inside = [row[i] for i, m in enumerate(everybody) if (m.person, m.version) in block]
            assert np.ptp(inside) < 1e-6 if inside else True


@given(numbers=people, minimum=st.integers(1, 6))
def test_nobody_waits_without_need(numbers: set[int], minimum: int) -> None:
    asked = members(*numbers)
    assert releasable(asked, [], minimum, float) == (asked if len(asked) >= minimum else frozenset())
    if len(asked) >= minimum:
        assert releasable(asked, [asked], minimum, float) == asked
