"""No answer leaves that is about people who are not on record."""

from __future__ import annotations

from pathlib import Path

import pytest
from jobs import job

from normfed_client.answering.guards.released import Released
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.wire.answers import Answer, CanaryBack, Described, Summed, Told, Trained
from normfed_common.wire.requests import Canary, Describe, Payload, Sums, TrainRound

PAIRS = [(TrainRound(round=1), Trained()), (Sums(phase="moments"), Summed()), (Canary(), CanaryBack(steps=1))]


@pytest.mark.parametrize(("payload", "told"), PAIRS, ids=["round", "sums", "canary"])
def test_an_answer_leaves_once_its_people_are_on_record(tmp_path: Path, payload: Payload, told: Told) -> None:
    asked, answer = job(tmp_path, payload), Answer(site="a", payload=told)
    with pytest.raises(SiteError) as caught:
        Released().outbound(asked, answer, {})
    assert caught.value.code is SiteCode.INTERNAL
    asked.released.append("learning")
    assert Released().outbound(asked, answer, {}) == (answer, {})


def test_a_description_may_be_about_nobody(tmp_path: Path) -> None:
    answer = Answer(site="a", payload=Described(counts={"train": -1}))
    assert Released().outbound(job(tmp_path, Describe()), answer, {}) == (answer, {})
