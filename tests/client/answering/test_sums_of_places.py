"""Sums per place are over less than the site trains on; what a transform learns of the site is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic import SHAPE, People, setting
from toys import SiteCentring

from normfed_client.answering import tasks
from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Places
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.study.base import Frozen
from normfed_common.study.privacy import NONE
from normfed_common.transforms.transformed import transformed
from normfed_common.wire.requests import Sums


def test_sums_per_place_are_of_the_scans_that_the_model_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, told = People(3), People(2, seed=1)
    asked_of: list[bool] = []

    def cohort_of_places(site: object, age_and_sex: bool, places: Places) -> People:
        assert places.shape == SHAPE
        asked_of.append(age_and_sex)
        return told

    model = Pipeline([SiteCentring(Frozen(), setting())], build(MODELS, {"name": "atlas"}, setting()))
    site: Any = SimpleNamespace(
        config=SimpleNamespace(name="a"),
        study=SimpleNamespace(seed=0, model={"name": "siamese"}, federation=SimpleNamespace(rounds=1), privacy=NONE),
        custody=None,
        train=(),
        training_people=3,
        training_cohort=lambda *_: whole,
    )
    job: Any = SimpleNamespace(
        site=site,
        model=lambda: model,
        request=SimpleNamespace(model={"name": "atlas"}),
        seed=0,
        payload=Sums(phase="moments"),
        of_cohorts=False,
        arrays={},
        mechanism=lambda model: None,
        release=lambda kind, scans: None,
    )
    monkeypatch.setattr(tasks, "cohort_of_places", cohort_of_places)
    _, found = tasks.sums(job)
    assert asked_of == [False]
    model.personalise(whole, np.random.default_rng(1))
    scored = [transformed(scan, model.transforms) for scan in told.scans]
    np.testing.assert_allclose(found["sum"], sum(normal(scan) for scan in scored))


def normal(scan: Scan) -> np.ndarray:
    """Images in float64, 0 where tissue is not normal."""
    return scan.images.astype(np.float64) * scan.mask
