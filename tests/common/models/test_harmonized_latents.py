"""ComBat of latents: what scanners add is taken off before the score behind sees it, by sums as of all in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracles import combat as oracle
from synthetic import SHAPE, setting

from normfed_common.foundation.arrays import add
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.models.harmonized_latents import HarmonizedHead
from normfed_common.scoring.base import LatentField
from normfed_common.scoring.catalogue import build_head
from normfed_common.transforms.combat.rows import Rows

RNG = np.random.default_rng(0)
D = 4


def head(**values: Any) -> HarmonizedHead:
    found = build_head(
        {"fit_on": "combat", "minimum_people": 2, "then": {"fit_on": "location", "spacing_mm": 8.0}, **values},
        D,
        setting(),
    )
    assert isinstance(found, HarmonizedHead)
    return found


def fields(**scanners: int) -> list[LatentField]:
    """Latents of people, which a scanner shifts and scales."""
    rng, found = np.random.default_rng(3), []
    for name, count in scanners.items():
        shift, scale = rng.normal(0, 3, D), rng.uniform(0.5, 2, D)
        for _ in range(count):
            latents = rng.normal(size=(300, D)) + scale * rng.normal(size=D) + shift
            index = np.sort(rng.choice(int(np.prod(SHAPE)), 300, replace=False))
            found.append(LatentField(torch.from_numpy(latents).float(), index, SHAPE, len(found), name))
    return found


def test_latents_of_sites_are_harmonized_as_all_in_one_place_would_be_and_keep_their_pattern() -> None:
    people, model = fields(a=8, b=6, c=9), head()
    sites = [people[:8], people[8:]]
    model.absorb("scanners", add([model.statistics("scanners", site, RNG) for site in sites]))
    means = np.array([field.latents.double().mean(0).numpy() for field in people])
    expected = oracle.harmonized(means, np.array([field.scanner for field in people]), np.zeros((23, 0)))
    total, harmonized = [], []
    for site, part in zip(sites, (slice(0, 8), slice(8, 23)), strict=True):
        model.personalise(site, len(site), RNG)
        moved = list(model._harmonized(site, model.learnt))
        found = np.array([field.latents.double().mean(0).numpy() for field in moved])
        assert model.learnt is not None
        exact = model.learnt.harmonized(Rows.of(means[part], [field.scanner for field in site]))
        np.testing.assert_allclose(exact, expected[part], rtol=0, atol=1e-9)
        np.testing.assert_allclose(found, expected[part], rtol=0, atol=1e-6)  # latents are float32
        for before, after in zip(site, moved, strict=True):
            assert (after.latents - before.latents).std(0).max() < 1e-6
        total.append(model.statistics("moments", site, RNG))
        harmonized += moved
    plain = build_head({"fit_on": "location", "spacing_mm": 8.0}, D, setting())
    wanted = plain.statistics("moments", harmonized, RNG)
    assert set(wanted) == set(total[0])
    for name, array in add(total).items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-6, atol=1e-6)


def test_of_one_scanner_in_all_and_of_one_that_nobody_learnt_from_latents_stay() -> None:
    people = fields(a=5, b=5)
    alone, both = head(), head()
    alone.absorb("scanners", alone.statistics("scanners", people[:5], RNG))
    alone.personalise(people[:5], 5, RNG)
    assert [*alone._harmonized(people[:1], alone.learnt)] == people[:1]
    both.absorb("scanners", add([both.statistics("scanners", part, RNG) for part in (people[:5], people[5:])]))
    both.personalise(people[:5], 5, RNG)
    (other,) = both._harmonized(people[5:6], both.learnt)
    np.testing.assert_array_equal(other.latents, people[5].latents)


def test_a_scanner_with_too_few_people_is_refused() -> None:
    with pytest.raises(SiteError) as refused:
        head().statistics("scanners", fields(a=1), RNG)
    assert refused.value.code is SiteCode.SCANNER_TOO_SMALL
