"""What a study may say of privacy: nothing that reads like a promise and adds no noise."""

from __future__ import annotations

from typing import Any

import pytest

from normfed_common.foundation.errors import StudyError
from normfed_common.study.privacy import PrivacyConfig
from normfed_common.study.validation import validate


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"delta": 1e-6}, "delta without epsilon: no noise would be added. Add epsilon, such as 4, or leave it out"),
        ({"unit": "sample", "clip_norm": 2.0}, "unit, clip_norm without epsilon: .* or leave them out"),
        ({"secure_aggregation": True, "sampling_rate": 0.5}, "sampling_rate without epsilon"),
    ],
)
def test_parameters_of_epsilon_without_it_are_refused(said: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        validate(PrivacyConfig, said, "study.yaml")
    validate(PrivacyConfig, said | {"epsilon": 4.0}, "study.yaml")


def test_distributed_noise_without_epsilon_is_refused() -> None:
    said = {"secure_aggregation": {"noise": "distributed"}}
    with pytest.raises(StudyError, match="noise is distributed, without epsilon: no noise would be added"):
        validate(PrivacyConfig, said, "study.yaml")
    assert validate(PrivacyConfig, said | {"epsilon": 4.0}, "study.yaml").noise_sites == 3


def test_noise_is_of_the_sites_that_are_left_in_the_smallest_sum_when_those_that_collude_take_theirs_off() -> None:
    def sites(**secure: Any) -> int:
        return PrivacyConfig.model_validate({"epsilon": 4.0, "secure_aggregation": secure}).noise_sites

    assert sites(noise="distributed", minimum_sites=9, colluding_sites=3) == 6
    assert sites(minimum_sites=9, colluding_sites=3) == 1
    assert PrivacyConfig(epsilon=4.0).noise_sites == 1


def test_a_study_that_says_nothing_of_whose_noise_it_is_keeps_its_digest() -> None:
    written = PrivacyConfig.model_validate({"epsilon": 4.0, "secure_aggregation": {}}).model_dump(mode="json")
    assert "noise" not in written["secure_aggregation"]


def test_all_defaults_without_epsilon_as_a_run_writes_them_are_taken() -> None:
    written = PrivacyConfig().model_dump(mode="json")
    assert validate(PrivacyConfig, written, "study.yaml") == PrivacyConfig()
