"""Which rounds of a site's own part are kept, against a store that forgets nothing."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from flips import flip
from hypothesis import example, given
from hypothesis import strategies as st

from normfed_client.hospital.personal import STALE, PersonalStore
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


def filled(value: float) -> dict[str, np.ndarray]:
    return {"w": np.full(3, value, np.float32)}


def test_a_round_begins_from_what_was_before_it_however_often_it_is_asked(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "personal" / "ditto")
    assert store.load(before=1) == {}
    assert store.latest() == {}
    for round in (1, 2, 3):
        store.save(round, filled(round), since=round - 1)
    assert store.load(before=3)["w"][0] == 2
    assert store.latest()["w"][0] == 3
    store.save(3, filled(33), since=2)
    assert store.load(before=3)["w"][0] == 2
    assert store.latest()["w"][0] == 33


def test_old_rounds_are_forgotten_but_never_the_last_one_that_counted(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "p")
    for round in range(1, 8):
        store.save(round, filled(round), since=min(round - 1, 3))  # since round 3 no update was used
    assert store.load(before=4)["w"][0] == 3
    assert store.load(before=3) == {}
    store.save(8, filled(8), since=7)
    assert store.load(before=4)["w"][0] == 3  # a server that lost round 7 asks for it again, and that began from here
    store.save(9, filled(9), since=8)
    assert len(list((tmp_path / "p").iterdir())) == 3


def test_a_server_that_goes_back_finds_no_state_of_its_future(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "p")
    for round in (1, 2, 3):
        store.save(round, filled(round), since=1)
    store.save(2, filled(22), since=1)
    assert store.latest()["w"][0] == 22


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "personal" / "x")
    store.save(1, filled(1), since=0)
    (path,) = (tmp_path / "personal" / "x").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_strange_files_are_left_alone(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    store.save(1, filled(1), since=0)
    assert store.load(before=2)["w"][0] == 1
    assert (tmp_path / "notes.txt").exists()


def test_the_digest_of_a_state_is_that_of_what_is_loaded_and_leaves_a_damaged_file_to_be_told(tmp_path: Path) -> None:
    store = used(tmp_path, 2)
    assert store.digest(9) != store.digest(2) != store.digest(1)
    of_round(tmp_path, 2).write_bytes(b"torn")
    assert store.digest(9) == store.digest(2)
    assert store.notes == ()
    store.load(before=9)
    assert store.notes == (STALE,)


def of_round(folder: Path, round: int) -> Path:
    return folder / f"round-{round:06d}.safetensors"


def used(folder: Path, rounds: int) -> PersonalStore:
    """A site whose every update was used."""
    found = PersonalStore(folder)
    for round in range(1, rounds + 1):
        found.save(round, filled(round), since=round - 1)
    return found


def test_of_a_damaged_personal_part_that_of_the_round_before_is_used_and_said(tmp_path: Path, said: list[str]) -> None:
    personal = used(tmp_path, 3)
    flip(of_round(tmp_path, 3))
    assert personal.notes == ()
    assert personal.load(before=4, since=3)["w"][0] == 2
    assert personal.notes == (STALE,)  # the server is told as well: the result is another one
    assert "round-000003.safetensors: damaged" in said[0]
    assert "that of an earlier round is used" in said[0]
    assert personal.load(before=4, since=3)["w"][0] == 2  # the same when it is asked again
    assert personal.latest()["w"][0] == 2
    assert len(said) == 1


def test_a_site_that_lost_its_personal_part_refuses_and_never_begins_anew(tmp_path: Path) -> None:
    personal = used(tmp_path, 3)
    for path in tmp_path.iterdir():
        flip(path)
    for _ in range(2):  # set apart at the first time, still lost at the second
        with pytest.raises(SiteError) as caught:
            personal.load(before=4)
        assert caught.value.code is SiteCode.PERSONAL_PART_MISSING
        with pytest.raises(SiteError):
            personal.latest()
    with pytest.raises(SiteError):
        PersonalStore(tmp_path / "deleted").load(before=4, since=3)  # the server used an update from it
    assert PersonalStore(tmp_path / "new").load(before=4) == {}  # a site that has just joined
    assert personal.load(before=1) == {}  # a server that begins again


def test_a_server_that_lost_a_round_finds_every_state_that_it_began_from(tmp_path: Path) -> None:
    """Sites are at round 7 when the server is back at the end of round 5 and asks for round 6 again."""
    personal = used(tmp_path, 7)
    assert personal.load(before=6)["w"][0] == 5
    personal = PersonalStore(tmp_path / "seldom used")  # updates of rounds 1 and 4 counted: those begin from there
    for round, since in ((1, 0), (2, 1), (3, 1), (4, 1), (5, 4)):
        personal.save(round, filled(round), since)
    assert personal.load(before=2)["w"][0] == 1  # round 4 again, whose controls are of round 1


def test_what_another_strategy_left_is_refused(tmp_path: Path) -> None:
    """Fine-tuning leaves what it trained without noise: rounds that begin from it would tell of people."""
    PersonalStore(tmp_path, "fine-tuning").save(1, state(1), 0)
    with pytest.raises(SiteError) as caught:
        PersonalStore(tmp_path, "fedper").load(2)
    assert caught.value.code is SiteCode.BAD_REQUEST
    for whose in ("fine-tuning", ""):
        np.testing.assert_array_equal(PersonalStore(tmp_path, whose).load(2)["round"], state(1)["round"])
