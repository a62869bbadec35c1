"""Which rounds of a site's own part are kept, against a store that forgets nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flips import flip
from hypothesis import example, given
from hypothesis import strategies as st

from normfed_client.hospital.personal import PersonalStore
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError


def state(round: int, attempt: int = 0) -> Arrays:
    return {"round": np.array([round, attempt])}


def kept(folder: Path) -> list[int]:
    return sorted(int(path.name[6:12]) for path in folder.iterdir())


class Everything:
    """A site's states and the rounds that the server used, all of them."""

    def __init__(self, folder: Path) -> None:
        self.store = PersonalStore(folder)
        self.states: dict[int, Arrays] = {}
        self.since: dict[int, int] = {}

    def save(self, round: int, since: int, attempt: int = 0) -> None:
        self.store.save(round, state(round, attempt), since)
        self.states = {r: s for r, s in self.states.items() if r < round} | {round: state(round, attempt)}
        self.since[round] = since

    def assert_begins_as_ever(self, round: int) -> None:
        """Asked again, a round begins from what was before it, and from what the server had used then."""
        since = self.since[round]
        for before in (round, min(round, since + 1)):
            expected = max((r for r in self.states if r < before), default=None)
            found = self.store.load(before, since)
            assert found.keys() == (set() if expected is None else {"round"})
            if expected is not None:
                np.testing.assert_array_equal(found["round"], self.states[expected]["round"])


steps = st.tuples(st.integers(1, 3), st.booleans(), st.booleans())


@given(st.lists(steps, min_size=1, max_size=9))
@example([(1, True, False)] * 6)
@example([(1, True, False)] * 2 + [(1, False, True)] * 4 + [(1, True, False)] * 2)
def test_a_round_asked_again_and_the_one_before_it_begin_as_if_nothing_were_forgotten(
    tmp_path_factory: pytest.TempPathFactory, run: list[tuple[int, bool, bool]]
) -> None:
    """A server that asks a site in some rounds, uses some of its updates, asks again, and at last loses a round."""
    site, round, since, before = Everything(tmp_path_factory.mktemp("personal")), 0, 0, 0
    for rounds_later, used, asked_twice in run:
        before, round = round, round + rounds_later
        for attempt in range(1 + asked_twice):
            site.save(round, since, attempt)
            site.assert_begins_as_ever(round)
            if before:
                site.assert_begins_as_ever(before)
        since = round if used else since
    if before:
        site.save(before, site.since[before], attempt=9)
        site.assert_begins_as_ever(before)
        np.testing.assert_array_equal(site.store.latest()["round"], [before, 9])


def test_of_a_site_whose_every_update_is_used_three_rounds_are_kept(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path)
    for round in range(1, 8):
        store.save(round, state(round), since=round - 1)
        assert kept(tmp_path) == list(range(max(1, round - 2), round + 1))


def test_nothing_is_forgotten_while_nobody_knows_what_the_round_before_began_from(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path)
    for round in range(1, 6):
        store.save(round, state(round), since=round - 1)
    flip(tmp_path / "round-000005.safetensors")
    store.save(6, state(6), since=5)
    assert kept(tmp_path) == [3, 4, 5, 6]


def test_only_a_state_from_before_a_round_is_missed_in_it(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path)
    store.save(4, state(4), since=0)
    flip(tmp_path / "round-000004.safetensors")
    with pytest.raises(SiteError) as caught:
        store.load(before=5)
    assert caught.value.code is SiteCode.PERSONAL_PART_MISSING
    assert caught.value.detail.startswith(f"{tmp_path}: no personal part of this model is left")
    assert store.load(before=4) == {}
    with pytest.raises(SiteError):
        store.load(before=4, since=1)  # the server used an update of round 1, so there was a state
