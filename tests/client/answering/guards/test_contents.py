"""What the study contains may be asked, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jobs import STUDY, job

from normfed_client.answering.guards.contents import Contents
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.study.federation import PLAIN
from normfed_common.wire.requests import Canary, Describe, FineTune, Payload, Sums, TrainRound

TUNED = STUDY.comparisons.strategies[1]
ROUND = TrainRound(round=1, compression="fp16")


@pytest.mark.parametrize(
    ("payload", "header"),
    [
        (ROUND, {}),
        (ROUND, {"model": STUDY.comparisons.baselines[0]}),
        (ROUND, {"strategy": PLAIN}),
        (ROUND, {"strategy": STUDY.comparisons.strategies[0]}),
        (ROUND, {"repeat": 1}),
        (TrainRound(round=1, compression="none"), {}),
        (TrainRound(round=1, compression="int8"), {}),
        (TrainRound(round=4, since=4), {}),
        (TrainRound(round=4, since=3), {}),
        (FineTune(round=4), {"strategy": TUNED}),
        (Canary(compression="fp16"), {}),
        (Describe(), {}),
        (Sums(phase="moments", iteration=99), {"model": STUDY.comparisons.baselines[0]}),
    ],
    ids=str,
)
def test_what_the_study_contains_may_be_asked(tmp_path: Path, payload: Payload, header: dict[str, Any]) -> None:
    Contents().inbound(job(tmp_path, payload, **header))


@pytest.mark.parametrize(
    ("payload", "header", "sentence"),
    [
        (ROUND, {"model": {"name": "intensity"}}, "the study has no such model"),
        (ROUND, {"model": STUDY.model | {"pairs_per_subject": 1}}, "the study has no such model"),
        (Describe(), {"model": {"name": "intensity"}}, "the study has no such model"),
        (ROUND, {"strategy": STUDY.strategy | {"mu": 0.2}}, "the study has no such strategy"),
        (ROUND, {"strategy": {"name": "fedrep"}}, "the study has no such strategy"),
        (TrainRound(round=1, compression="bf16"), {}, "the study has no compression bf16"),
        (Canary(compression="bf16"), {}, "the study has no compression bf16"),
        (TrainRound(round=2, since=3), {}, "round 2, repeat 0 are beyond the study"),
        (FineTune(round=4), {}, "strategy fedprox has no fine-tuning"),
        (ROUND, {"repeat": 2}, "round 1, repeat 2 are beyond the study"),
    ],
    ids=str,
)
def test_what_the_study_does_not_contain_is_refused(
    tmp_path: Path, payload: Payload, header: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SiteError) as caught:
        Contents().inbound(job(tmp_path, payload, **header))
    assert (caught.value.code, caught.value.detail) == (SiteCode.BAD_REQUEST, sentence)
