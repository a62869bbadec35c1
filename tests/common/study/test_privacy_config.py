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


def test_all_defaults_without_epsilon_as_a_run_writes_them_are_taken() -> None:
    written = PrivacyConfig().model_dump(mode="json")
    assert validate(PrivacyConfig, written, "study.yaml") == PrivacyConfig()
