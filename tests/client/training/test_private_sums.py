"""Noise comes from a secret and from all that a release depends on, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic import People, setting

from normfed_client.imaging.cohort import PreparedCohort
from normfed_client.training.private_sums import private_sums
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.noise import SecretNoise


def release(key: bytes = b"k" * 32, multiplier: float = 1.0, count: int = 3) -> Arrays:
    model = build(MODELS, {"name": "atlas"}, replace(setting(), private=True))
    return private_sums(model, "moments", People(count), SecretNoise(key), 5, multiplier)


def test_the_same_release_has_the_same_noise() -> None:
    for name, array in release().items():
        np.testing.assert_array_equal(array, release()[name])


def test_another_release_has_noise_of_its_own() -> None:
    difference = release(b"l" * 32)["mean"] - release()["mean"]
    assert np.std(difference) == pytest.approx(np.sqrt(2), rel=0.2)


def test_without_noise_neighbours_differ_by_the_one_person_alone() -> None:
    """What the others draw does not depend on who is there."""
    more, fewer = release(multiplier=0.0, count=4), release(multiplier=0.0, count=3)
    length = np.sqrt(sum(((more[name] - fewer[name]) ** 2).sum() for name in ("mean", "squares")))
    assert 0 < length <= 1 + 1e-9


def test_sums_that_nothing_bounds_do_not_leave() -> None:
    model = build(MODELS, {"name": "atlas", "regress": ["age"]}, replace(setting(), private=True))
    with pytest.raises(SiteError) as raised:
        private_sums(model, "moments", People(3), SecretNoise(b"k" * 32), 5, 1.0)
    assert raised.value.code == SiteCode.STUDY_REFUSED


def test_the_content_of_a_cohort_is_whose_scans_they_are_what_they_hold_and_what_is_told() -> None:
    def content(visit: str = "sub-1", key: str = "k", age: float | None = 40.0) -> str:
        participant = SimpleNamespace(subject="sub-1", age=age, sex="F")
        entry = SimpleNamespace(folder=Path("cache") / key, size=1)
        of: Any = [(SimpleNamespace(name=visit, participant=participant), entry)]
        return PreparedCohort(of).content()

    assert content() == content()
    assert len({content(), content(visit="sub-2"), content(key="l"), content(age=None)}) == 4
