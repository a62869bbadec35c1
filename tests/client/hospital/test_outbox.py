"""What is answered twice is answered alike; whatever happens to the disk."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from flips import flip

from normfed_client.hospital.outbox import Outbox, digest
from normfed_client.hospital.rules import Rules
from normfed_common.foundation import arrays as named
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.wire.answers import Answer, Described, Trained
from normfed_common.wire.requests import FineTune, Request, Sums, TrainRound

ANSWER = Answer(site="a", subjects=7, notes=("n",), payload=Described(counts={"test": -1}, kinds=("MS",)))


RULES = Rules()


REQUEST = Request(study="{}", arm="local-A_B~2", model={"name": "x"}, run="r", payload=TrainRound(round=3))


ARRAYS = {"w": np.arange(4.0, dtype=np.float32), "n": np.array(3)}


TRAINED = Answer(site="a", subjects=7, notes=("n",), payload=Trained(loss=0.25))


def key_of(asked: Request, arrays: Arrays = ARRAYS, rules: Rules = RULES) -> str:
    return digest(asked, digests.of_arrays("", arrays), rules)


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


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    box, key = Outbox(tmp_path), key_of(REQUEST)
    assert box.get(key, REQUEST) is None
    box.put(key, REQUEST, TRAINED, ARRAYS)
    answer, arrays = Outbox(tmp_path).get(key, REQUEST) or pytest.fail("lost")
    assert answer == TRAINED
    assert {name: array.tolist() for name, array in arrays.items()} == {"w": [0, 1, 2, 3], "n": 3}
    (path,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.parent == tmp_path  # an arm's name leads nowhere else


@pytest.mark.parametrize(
    ("change", "arrays"),
    [
        ({"payload": FineTune(round=3)}, ARRAYS),
        ({"payload": TrainRound(round=4)}, ARRAYS),
        ({"payload": TrainRound(round=3, since=1)}, ARRAYS),
        ({"payload": TrainRound(round=3, compression="fp16")}, ARRAYS),
        ({"payload": Sums(phase="moments")}, ARRAYS),
        ({"run": "s"}, ARRAYS),
        ({"arm": "federated"}, ARRAYS),
        ({"repeat": 1}, ARRAYS),
        ({}, {**ARRAYS, "w": ARRAYS["w"] + 1}),
        ({}, {**ARRAYS, "w": ARRAYS["w"].reshape(2, 2)}),
        ({}, {"w": ARRAYS["w"]}),
    ],
    ids=range(11),
)
def test_another_request_has_another_answer(change: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    other = REQUEST.model_copy(update=change)
    assert key_of(other, arrays) != key_of(REQUEST)


def test_the_iterations_of_a_phase_have_answers_of_their_own() -> None:
    first, second = (REQUEST.model_copy(update={"payload": Sums(phase="em", iteration=number)}) for number in (0, 1))
    assert key_of(first) != key_of(second)


def test_an_answer_given_under_other_rules_of_the_hospital_is_not_given_again() -> None:
    assert key_of(REQUEST, ARRAYS, Rules(minimum_people=35)) != key_of(REQUEST)


def test_a_damaged_answer_is_worked_out_again(tmp_path: Path) -> None:
    box, key = Outbox(tmp_path), key_of(REQUEST)
    box.put(key, REQUEST, TRAINED, ARRAYS)
    (path,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    path.write_bytes(path.read_bytes()[:40])
    assert box.get(key, REQUEST) is None
    assert not path.exists()
    box.put(key, REQUEST, TRAINED, ARRAYS)
    assert box.get(key, REQUEST) is not None


def test_answers_go_when_their_round_is_closed(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    sums = REQUEST.model_copy(update={"payload": Sums(phase="mean")})
    for request in (sums, REQUEST, REQUEST.model_copy(update={"payload": TrainRound(round=4)})):
        box.put(key_of(request, {}), request, TRAINED, {})
    rounds = sorted(path.name[:6] for path in tmp_path.rglob("*.safetensors"))
    assert rounds == ["000000", "000004"]  # the third is closed; sums have no round


def test_an_answer_in_which_bits_flipped_is_never_sent(tmp_path: Path, said: list[str]) -> None:
    box, key = Outbox(tmp_path), key_of(REQUEST)
    box.put(key, REQUEST, TRAINED, ARRAYS)
    (path,) = tmp_path.rglob("*.safetensors")
    flip(path)
    assert box.get(key, REQUEST) is None
    (kept,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert kept.name.startswith(f"{path.name}.damaged-")
    (line,) = said
    assert line.startswith(f"{path}: damaged (")
    assert line.endswith(f"It is kept as {kept.name}; the request is worked on again.")
    box.put(key, REQUEST, TRAINED, ARRAYS)
    assert box.get(key, REQUEST) is not None
