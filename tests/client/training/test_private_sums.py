"""A site's sums with noise: people draw apart, and what nothing bounds stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic import People, setting

from normfed_client.training.private_sums import private_sums
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.noise import SecretNoise
from normfed_common.studies import validate_learner

ATLAS: dict[str, Any] = {"name": "atlas"}
LOCATION: dict[str, Any] = {"name": "location", "patch_size": 5, "latents": 2, "pairs_per_subject": 50}


def release(entry: dict[str, Any], people: int, multiplier: float = 0.0, key: int = 0, seed: int = 5) -> Arrays:
    model = build(MODELS, validate_learner(MODELS, entry, "test"), replace(setting(), private=True))
    noise = SecretNoise(bytes([key] * 32))
    return private_sums(model, model.phases()[0].name, People(people), noise, seed, multiplier)


@pytest.mark.parametrize("entry", [ATLAS, LOCATION], ids=lambda entry: entry["name"])
def test_without_noise_neighbours_differ_by_the_one_person_alone(entry: dict[str, Any]) -> None:
    """What the others draw does not depend on who is there."""
    more, fewer = release(entry, 4), release(entry, 3)
    noisy = [name for name in more if name not in ("people", "voxels", "centre")]
    assert 0 < np.sqrt(sum(((more[name] - fewer[name]) ** 2).sum() for name in noisy)) <= 1 + 1e-9


def test_what_people_draw_follows_the_seed_and_the_noise_its_key() -> None:
    assert (release(LOCATION, 3, seed=6)["spectrum"] != release(LOCATION, 3)["spectrum"]).any()
    noise = release(ATLAS, 3, 1.0, key=1)["mean"] - release(ATLAS, 3, 1.0)["mean"]
    assert noise.std() == pytest.approx(np.sqrt(2), rel=0.2)


def test_sums_that_nothing_bounds_do_not_leave() -> None:
    with pytest.raises(SiteError) as raised:
        release({"name": "atlas", "regress": ["age"]}, 3)
    assert raised.value.code == SiteCode.STUDY_REFUSED
