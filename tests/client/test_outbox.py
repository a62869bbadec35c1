from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from normfed_client.hospital.outbox import Outbox, digest, expire
from normfed_client.hospital.rules import Rules
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.requests import FineTune, Request, Sums, TrainRound

RULES = Rules()
REQUEST = Request(study="{}", arm="local-A_B~2", model={"name": "x"}, run="r", payload=TrainRound(round=3))
ARRAYS = {"w": np.arange(4.0, dtype=np.float32), "n": np.array(3)}
ANSWER = Answer(site="a", subjects=7, notes=("n",), payload=Trained(loss=0.25))


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    box, key = Outbox(tmp_path), digest(REQUEST, ARRAYS, RULES)
    assert box.get(key, REQUEST) is None
    box.put(key, REQUEST, ANSWER, ARRAYS)
    answer, arrays = Outbox(tmp_path).get(key, REQUEST) or pytest.fail("lost")
    assert answer == ANSWER
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
    assert digest(other, arrays, RULES) != digest(REQUEST, ARRAYS, RULES)


def test_the_iterations_of_a_phase_have_answers_of_their_own() -> None:
    first, second = (REQUEST.model_copy(update={"payload": Sums(phase="em", iteration=number)}) for number in (0, 1))
    assert digest(first, ARRAYS, RULES) != digest(second, ARRAYS, RULES)


def test_an_answer_given_under_other_rules_of_the_hospital_is_not_given_again() -> None:
    assert digest(REQUEST, ARRAYS, Rules(minimum_people=35)) != digest(REQUEST, ARRAYS, RULES)


def test_a_damaged_answer_is_worked_out_again(tmp_path: Path) -> None:
    box, key = Outbox(tmp_path), digest(REQUEST, ARRAYS, RULES)
    box.put(key, REQUEST, ANSWER, ARRAYS)
    (path,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    path.write_bytes(path.read_bytes()[:40])
    assert box.get(key, REQUEST) is None
    assert not path.exists()
    box.put(key, REQUEST, ANSWER, ARRAYS)
    assert box.get(key, REQUEST) is not None


def test_answers_go_when_their_round_is_closed(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    sums = REQUEST.model_copy(update={"payload": Sums(phase="mean")})
    for request in (sums, REQUEST, REQUEST.model_copy(update={"payload": TrainRound(round=4)})):
        box.put(digest(request, {}, RULES), request, ANSWER, {})
    rounds = sorted(path.name[:6] for path in tmp_path.rglob("*.safetensors"))
    assert rounds == ["000000", "000004"]  # the third is closed; sums have no round


def test_what_is_old_is_thrown_away(tmp_path: Path) -> None:
    for run in ("old", "new"):
        Outbox(tmp_path / run).folder.mkdir()
        Outbox(tmp_path / run).put("k", REQUEST, ANSWER, {})
    for path in (tmp_path / "old").rglob("*.safetensors"):
        os.utime(path, (time.time() - 15 * 86_400,) * 2)
    expire(tmp_path, days=14)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
