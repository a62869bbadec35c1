"""What is answered twice is answered alike; whatever happens to the disk."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
from flips import flip

from normfed_client.hospital.outbox import Outbox, expire
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.wire.answers import Answer, Described
from normfed_common.wire.requests import Request, Sums, TrainRound

ANSWER = Answer(site="a", subjects=7, notes=("n",), payload=Described(counts={"test": -1}, kinds=("MS",)))
DAY_S = 86_400


def request(round: int = 3, arm: str = "federated") -> Request:
    payload = TrainRound(round=round) if round else Sums(phase="moments")
    return Request(study="{}", arm=arm, model={"name": "x"}, payload=payload)


def arrays(value: float = 1.0) -> Arrays:
    return {"w": np.full((2, 3), value, np.float32), "none": np.zeros((0, 2)), "packed": np.array([-3], np.int8)}


def answers(box: Outbox) -> set[str]:
    return {f"{path.parent.name}/{path.stem}" for path in box.folder.rglob("*.safetensors")}


@pytest.fixture
def box(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path)


def test_the_same_answer_comes_back_however_often_and_whoever_asks(box: Outbox) -> None:
    box.put("k", request(), ANSWER, arrays())
    for _ in range(2):
        answer, found = Outbox(box.folder).get("k", request()) or pytest.fail("lost")
        assert answer == ANSWER
        assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
            name: (array.dtype, array.shape) for name, array in arrays().items()
        }
        assert all(np.array_equal(found[name], array) for name, array in arrays().items())


def test_other_keys_rounds_and_models_have_answers_of_their_own(box: Outbox) -> None:
    box.put("k", request(), ANSWER, arrays())
    others = [("other", request()), ("k", request(round=4)), ("k", request(arm="local-a"))]
    assert [box.get(key, asked) for key, asked in others] == [None] * 3


def test_a_disk_that_is_full_leaves_the_answers_that_were_there(box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("k", request(2), ANSWER, arrays())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(named, "save_file", full)
        for asked in (request(2), request(3)):
            with pytest.raises(OSError, match="No space left"):
                box.put("k", asked, ANSWER, arrays(2.0))
    assert [path.name for path in box.folder.rglob("*") if path.is_file()] == ["000002-k.safetensors"]
    _, found = box.get("k", request(2)) or pytest.fail("lost")
    np.testing.assert_array_equal(found["w"], arrays()["w"])


@pytest.mark.parametrize("damage", ["flipped", "empty", "text"])
def test_an_answer_that_is_damaged_is_set_apart_and_its_place_is_free(box: Outbox, damage: str) -> None:
    box.put("k", request(), ANSWER, arrays())
    path = box.folder / "federated" / "000003-k.safetensors"
    if damage == "flipped":
        flip(path)
    else:
        path.write_text("" if damage == "empty" else "not an answer")
    assert box.get("k", request()) is None
    assert box.get("k", request()) is None  # nothing there: not damaged a second time
    (kept,) = path.parent.iterdir()
    assert kept.name.startswith(f"{path.name}.damaged-")
    box.put("k", request(round=4), ANSWER, {})
    assert kept.exists()  # a person may look at it, though its round is closed
    assert box.get("k", request(round=4)) is not None


def test_a_later_round_closes_earlier_ones_of_its_own_model_only(box: Outbox) -> None:
    for round, arm in ((0, "a"), (1, "a"), (3, "a"), (5, "a"), (1, "b")):
        box.put("k", request(round, arm), ANSWER, {})
    assert answers(box) == {"a/000000-k", "a/000005-k", "b/000001-k"}
    box.put("other", request(5, "a"), ANSWER, {})  # the round began again from another model
    box.put("late", request(4, "a"), ANSWER, {})
    box.put("sums", request(0, "a"), ANSWER, {})
    assert answers(box) == {
        "a/000000-k",
        "a/000000-sums",
        "a/000005-k",
        "a/000005-other",
        "a/000004-late",
        "b/000001-k",
    }


def age(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (time.time() - days * DAY_S,) * 2)
    return path


def test_what_is_younger_than_the_hospital_keeps_it_stays_and_runs_go_when_nothing_is_left(tmp_path: Path) -> None:
    young, old = age(tmp_path / "mixed" / "a" / "young", 1.9), age(tmp_path / "mixed" / "a" / "old", 2.1)
    gone = age(tmp_path / "finished" / "a" / "old.damaged-x", 3)
    loose = age(tmp_path / "loose", 3)
    (tmp_path / "empty" / "a").mkdir(parents=True)
    expire(tmp_path, days=2)
    assert young.exists()
    assert not old.exists()
    assert not gone.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["mixed", loose.name])


def test_nothing_expires_where_nothing_was_ever_answered(tmp_path: Path) -> None:
    expire(tmp_path / "outbox", days=1)
    assert not (tmp_path / "outbox").exists()
