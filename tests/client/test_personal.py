import stat
from pathlib import Path

import numpy as np

from normfed_client.hospital.personal import PersonalStore


def state(value: float) -> dict[str, np.ndarray]:
    return {"w": np.full(3, value, np.float32)}


def test_a_round_begins_from_what_was_before_it_however_often_it_is_asked(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "personal" / "ditto")
    assert store.load(before=1) == {}
    assert store.latest() == {}
    for round in (1, 2, 3):
        store.save(round, state(round), since=round - 1)
    assert store.load(before=3)["w"][0] == 2
    assert store.latest()["w"][0] == 3
    store.save(3, state(33), since=2)
    assert store.load(before=3)["w"][0] == 2
    assert store.latest()["w"][0] == 33


def test_old_rounds_are_forgotten_but_never_the_last_one_that_counted(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "p")
    for round in range(1, 8):
        store.save(round, state(round), since=min(round - 1, 3))  # since round 3 no update was used
    assert store.load(before=4)["w"][0] == 3
    assert store.load(before=3) == {}
    store.save(8, state(8), since=7)
    assert store.load(before=4)["w"][0] == 3  # a server that lost round 7 asks for it again, and that began from here
    store.save(9, state(9), since=8)
    assert len(list((tmp_path / "p").iterdir())) == 3


def test_a_server_that_goes_back_finds_no_state_of_its_future(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "p")
    for round in (1, 2, 3):
        store.save(round, state(round), since=1)
    store.save(2, state(22), since=1)
    assert store.latest()["w"][0] == 22


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "personal" / "x")
    store.save(1, state(1), since=0)
    (path,) = (tmp_path / "personal" / "x").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_strange_files_are_left_alone(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    store.save(1, state(1), since=0)
    assert store.load(before=2)["w"][0] == 1
    assert (tmp_path / "notes.txt").exists()
