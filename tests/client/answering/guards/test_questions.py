"""So much may be asked, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from jobs import hospital, job

from normfed_client.answering.guards.questions import Questions
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.wire.answers import Answer, Described
from normfed_common.wire.requests import Describe, Payload, ScorePeople, Sums, TrainRound

SUMS = Sums(phase="moments")


class Asked:
    """A hospital that keeps count of one run."""

    def __init__(self, folder: Path, **rules: int) -> None:
        self.folder, self.guard = folder, Questions(hospital(folder, **rules))

    def ask(self, payload: Payload, key: str = "k", arm: str = "federated", kept: bool = False) -> None:
        asked = job(self.folder, payload, key=key, arm=arm)
        if kept:
            asked.__dict__["kept"] = (Answer(site="a", payload=Described(counts={})), {})
        self.guard.inbound(asked)

    def refused(self, payload: Payload, key: str = "k", arm: str = "federated") -> str:
        with pytest.raises(SiteError) as caught:
            self.ask(payload, key, arm)
        assert caught.value.code is SiteCode.TOO_MUCH_ASKED
        return caught.value.detail


def test_so_many_models_are_asked_about_and_no_more(tmp_path: Path) -> None:
    asked = Asked(tmp_path, most_models=2)
    for arm in ("a", "b", "a"):
        asked.ask(Describe(), arm=arm)
    assert asked.refused(Describe(), arm="c") == "most_models: 3 models were asked about"


def test_so_many_questions_are_answered_of_each_kind_about_each_model_and_no_more(tmp_path: Path) -> None:
    asked = Asked(tmp_path, most_requests_per_model=3)
    for _ in range(2):  # the same question is not another
        for number in range(3):
            asked.ask(SUMS, f"sums {number}")
    assert asked.refused(SUMS, "sums 3") == "train.sums of federated was asked in 4 ways; at most 3"
    asked.ask(ScorePeople(), "scores")
    asked.ask(SUMS, "others", arm="other")


def test_a_round_is_asked_in_ten_ways_and_no_more(tmp_path: Path) -> None:
    asked = Asked(tmp_path, most_requests_per_model=1)  # is about what has no round
    for number in range(10):
        asked.ask(TrainRound(round=1), f"round 1, model {number}")
    sentence = "train.round of federated was asked in 11 ways; at most 10"
    assert asked.refused(TrainRound(round=1), "round 1, model 10") == sentence
    asked.ask(TrainRound(round=2), "round 2")


def test_what_was_answered_before_is_answered_again_however_much_was_asked_since(tmp_path: Path) -> None:
    asked = Asked(tmp_path, most_requests_per_model=1)
    asked.ask(SUMS, "first")
    asked.refused(SUMS, "second")
    asked.refused(SUMS, "first")  # if the answer was lost
    asked.ask(SUMS, "first", kept=True)
