"""Every bound on what a server may ask, from both sides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from normfed_client.answering import bounds
from normfed_client.hospital.asked import Asked
from normfed_client.hospital.rules import Rules
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.studies import resolve
from normfed_common.study.federation import PLAIN
from normfed_common.wire.messages import Request, Task

STUDY = resolve(
    {
        "name": "asked",
        "data": {"modalities": ["T1w"]},
        "model": {"name": "siamese", "patch_size": 9},
        "strategy": {"name": "fedprox", "mu": 0.1},
        "federation": {"rounds": 3, "minimum_cohort": 10, "compression": "fp16"},
        "comparisons": {
            "baselines": [{"name": "atlas"}],
            "strategies": ["ditto"],
            "compressions": ["int8"],
            "repeats": 2,
        },
    },
    "test",
)
ROUNDS = ("train.round", "train.personal")
Ask = Callable[..., None]


def request(**fields: Any) -> Request:
    values = {
        "study": "{}",
        "arm": "federated",
        "model": STUDY.model,
        "strategy": STUDY.strategy,
        "compression": "fp16",
    }
    return Request(**{**values, **fields})


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Put one question to a hospital whose run keeps count."""

    def put(task: str = "train.round", key: str = "k", rules: Rules | None = None, **fields: Any) -> None:
        fields.setdefault("round", 1 if task in ROUNDS else 0)
        bounds.check(task, key, request(**fields), STUDY, rules or Rules(), Asked(tmp_path))

    return put


def refusal(work: Callable[[], object]) -> SiteError:
    with pytest.raises(SiteError) as caught:
        work()
    return caught.value


@pytest.mark.parametrize(
    "fields",
    [
        {"model": STUDY.comparisons.baselines[0]},
        {"strategy": PLAIN},
        {"strategy": STUDY.comparisons.strategies[0]},
        {"compression": "none"},
        {"compression": "int8"},
        {"round": 4, "since": 4},
        {"round": 4, "since": 3},
        {"repeat": 1},
    ],
    ids=str,
)
def test_what_the_study_contains_may_be_asked(ask: Ask, fields: dict[str, Any]) -> None:
    ask(**fields)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"model": {"name": "intensity"}}, "the study has no such model"),
        ({"model": STUDY.model | {"pairs_per_subject": 1}}, "the study has no such model"),
        ({"strategy": STUDY.strategy | {"mu": 0.2}}, "the study has no such strategy"),
        ({"strategy": {"name": "fedrep"}}, "the study has no such strategy"),
        ({"compression": "bf16"}, "the study has no compression bf16"),
        ({"round": 5}, "round 5, repeat 0 are beyond the study"),
        ({"round": 2, "since": 3}, "round 2, repeat 0 are beyond the study"),
        ({"repeat": 2}, "round 1, repeat 2 are beyond the study"),
    ],
)
def test_what_the_study_does_not_contain_is_refused(ask: Ask, fields: dict[str, Any], sentence: str) -> None:
    error = refusal(lambda: ask(**fields))
    assert (error.code, error.detail) == (SiteCode.BAD_REQUEST, sentence)


@pytest.mark.parametrize("task", get_args(Task))
def test_training_has_a_round_and_nothing_else_has(ask: Ask, task: str) -> None:
    right, wrong = (2, 0) if task in ROUNDS else (0, 2)
    ask(task, round=right)
    error = refusal(lambda: ask(task, "other", round=wrong))
    assert (error.code, error.detail) == (SiteCode.BAD_REQUEST, f"{task} in round {wrong}")


def test_so_many_models_are_asked_about_and_no_more(ask: Ask) -> None:
    rules = Rules(most_models=2)
    for arm in ("a", "b", "a"):
        ask("query.describe", rules=rules, arm=arm)
    error = refusal(lambda: ask("query.describe", rules=rules, arm="c"))
    assert (error.code, error.detail) == (SiteCode.TOO_MUCH_ASKED, "most_models: 3 models were asked about")


def test_so_many_questions_are_answered_of_each_kind_about_each_model_and_no_more(ask: Ask) -> None:
    rules = Rules(most_requests_per_model=3)
    for _ in range(2):  # the same question is not another
        for number in range(3):
            ask("train.sums", f"sums {number}", rules)
    error = refusal(lambda: ask("train.sums", "sums 3", rules))
    assert (error.code, error.detail) == (
        SiteCode.TOO_MUCH_ASKED,
        "train.sums of federated was asked in 4 ways; at most 3",
    )
    ask("evaluate.score", "scores", rules)
    ask("train.sums", "others", rules, arm="other")


def test_a_round_is_asked_in_ten_ways_and_no_more(ask: Ask) -> None:
    rules = Rules(most_requests_per_model=1)  # is about what has no round
    for number in range(10):
        ask(key=f"round 1, model {number}", rules=rules)
    error = refusal(lambda: ask(key="round 1, model 10", rules=rules))
    assert error.detail == "train.round of federated was asked in 11 ways; at most 10"
    ask(key="round 2", rules=rules, round=2)


def test_a_question_beyond_the_study_is_not_counted(ask: Ask) -> None:
    rules = Rules(most_models=1)
    refusal(lambda: ask(rules=rules, arm="made-up", repeat=2))
    ask(rules=rules, arm="federated")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with two entries of 600 and 400 bytes of arrays, and what does not count."""
    for name, size in (("a/images.npy", 600), ("b/mask.npy", 400), ("b/meta.json", 50), ("loose.npy", 50)):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0" * size)
    return tmp_path / "cache"


def test_so_many_runs_are_kept_and_no_more(tmp_path: Path, cache: Path) -> None:
    state = tmp_path / "state"
    for run in ("one", "two"):
        (state / run).mkdir(parents=True)
    bounds.check_run(state / "new", cache, Rules(most_runs=3))
    error = refusal(lambda: bounds.check_run(state / "new", cache, Rules(most_runs=2)))
    assert error.code is SiteCode.TOO_MUCH_ASKED
    assert error.detail.startswith(f"most_runs: 2 runs are kept in {state}. ")


def test_a_new_run_is_refused_where_prepared_scans_fill_more_than_the_hospital_gives(
    tmp_path: Path, cache: Path
) -> None:
    new = tmp_path / "state" / "new"
    bounds.check_run(new, cache, Rules(largest_cache_gb=1000e-9))
    error = refusal(lambda: bounds.check_run(new, cache, Rules(largest_cache_gb=999e-9)))
    assert error.code is SiteCode.TOO_MUCH_ASKED
    assert error.detail.startswith(f"largest_cache_gb: {cache} holds ")
    bounds.check_run(new, tmp_path / "no cache yet", Rules(largest_cache_gb=999e-9))


def test_all_arrays_of_a_message_together_have_a_size(tmp_path: Path) -> None:
    rules = Rules(largest_message_mb=0.001)
    arrays = {"w": np.zeros(100, np.float64), "n": np.zeros(200, np.int8)}
    bounds.check_size(arrays, rules)
    error = refusal(lambda: bounds.check_size(arrays | {"one more": np.zeros(1, np.int8)}, rules))
    assert error.code is SiteCode.TOO_MUCH_ASKED
    assert error.detail.startswith("largest_message_mb: ")
