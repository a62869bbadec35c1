"""Sums that nobody can have make no model: whatever the people of the site that is served, it says the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import SHAPE, People, setting

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.learning.entries import build
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.cubes import averaged
from normfed_common.study.preprocessing import PreprocessingConfig

ENTRIES: dict[str, dict[str, object]] = {
    "atlas": {"name": "atlas"},
    "location": {"name": "siamese", "patch_size": 9, "one_class": {"fit_on": "location", "spacing_mm": 8.0}},
    "federated": {"name": "siamese", "patch_size": 9, "one_class": {"fit_on": "federated", "features": 32}},
}


def model(name: str) -> NormativeModel:
    return build(MODELS, ENTRIES[name], replace(setting(), value_range=(0.0, 2.0)))


def honest(name: str, stage: str, people: int = 4) -> Arrays:
    rng = np.random.default_rng(0)
    found = model(name).statistics(stage, People(people), rng)
    return {key: np.asarray(value, np.float64) for key, value in found.items()}


HOSTILE = {
    "a mean that is not finite": ("atlas", "moments", {"count": 1e-300, "sum": 1e300}),
    "a mean that is barely finite": ("atlas", "moments", {"count": 1.0, "sum": 1e300, "squares": 1e300}),
    "a negative count": ("atlas", "moments", {"count": -1.0}),
    "negative squares": ("atlas", "moments", {"squares": -1.0}),
    "values where nobody is": ("atlas", "moments", {"count": 0.0}),
    "products below 0": ("location", "moments", {"products": -1e9}),
    "a negative count of latents": ("location", "moments", {"count": -1.0}),
    "latents where nobody is": ("location", "moments", {"count": 0.0}),
    "a mean beyond float32": ("location", "moments", {"count": 1.0, "sum": 1e300}),
    "no entries": ("federated", "variance", {"entries": 0.0}),
    "squares that contradict the sum": ("federated", "variance", {"sum": 1e9}),
    "a machine of no people": ("federated", "machine", {"people": 0.0}),
    "a machine that nobody trains": ("federated", "machine", {"weights": 1e9}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_sums_of_nobody_are_refused_before_anybody_is_scored(what: str) -> None:
    """At one place in a corner alone: a site without a brain there says the same as one with."""
    name, stage, entries = HOSTILE[what]
    total = honest(name, stage)
    model(name).absorb(stage, {key: value.copy() for key, value in total.items()})
    for key, value in entries.items():
        total[key] = total[key].copy()
        if name == "atlas":
            total[key][..., SHAPE[0] // 2, SHAPE[1] // 2, SHAPE[2] // 2] = value
        elif name == "location":
            total[key][np.argmax(honest(name, stage)["count"])] = value
        else:
            total[key][...] = value
    with pytest.raises(WireError):
        model(name).absorb(stage, total)


def test_sums_of_another_shape_are_refused() -> None:
    total = honest("atlas", "moments")
    with pytest.raises(WireError, match="there is no squares"):
        model("atlas").absorb("moments", {name: total[name] for name in ("count", "sum")})
    with pytest.raises(WireError, match=r"sum is of shape \(1, 26, 28, 6\), not \(2, 26, 28, 6\)"):
        model("atlas").absorb("moments", {**total, "sum": total["sum"][:1]})


@pytest.mark.parametrize("name", ["atlas", "location"])
@pytest.mark.parametrize("people", [1, 2, 9])
def test_honest_sums_and_their_means_over_cubes_are_taken(name: str, people: int) -> None:
    total, made = honest(name, "moments", people), model(name)
    places = made.places("moments")
    assert places is not None
    for edge_mm in (2.0, 6.0, 20.0):
        found = averaged(total, places, edge_mm)
        made.check("moments", found)
        made.absorb("moments", found)


@pytest.mark.parametrize("nu", [0.01, 0.03, 0.5, 1.0])
def test_no_honest_machine_is_longer_than_is_believed(nu: float) -> None:
    entry = {"name": "siamese", "patch_size": 9, "one_class": {"fit_on": "federated", "features": 32, "nu": nu}}
    made = build(MODELS, entry, setting())
    for people in (1, 5):
        cohort, rng = People(people), np.random.default_rng(people)
        made.absorb("variance", made.statistics("variance", cohort, rng))
        made.absorb("machine", made.statistics("machine", cohort, rng))


def test_a_distance_beyond_float32_is_far_and_not_infinite() -> None:
    """Whoever has tissue at that place must not be told from who has not by an error."""
    made, people = model("location"), People(3)
    total = honest("location", "moments")
    made.absorb("moments", total)
    made.head.gaussians.whitening[:] = 1e38  # type: ignore[attr-defined]
    with np.errstate(over="ignore"):
        found = made.score([people.scan(0)], np.random.default_rng(0)).anomaly
    assert np.isfinite(found).all()
    assert found.max() == np.float32(1e18)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, (0.0, 2.0)), ({"clip": (-1.0, 3.0)}, (-1.0, 3.0)), ({"normalisation": "z-score"}, (-5, 5))],
)
def test_the_range_of_values_is_what_they_are_clipped_to(changes: dict[str, object], expected: tuple[int, int]) -> None:
    assert PreprocessingConfig(**changes).value_range == expected  # type: ignore[arg-type]


def test_a_brain_has_no_more_voxels_than_a_mask_that_overlaps_enough() -> None:
    """A mask half as large again as the template's brain, all of it inside, has a Dice of 2 / 2.5 = 0.8."""
    assert PreprocessingConfig(voxel_size_mm=1).most_voxels == pytest.approx(1.5 * 1.9e6)
    assert PreprocessingConfig(voxel_size_mm=4).most_voxels == pytest.approx(1.5 * 1.9e6 / 64)
    assert PreprocessingConfig(voxel_size_mm=1, minimum_overlap=0).most_voxels == 8e6


def test_a_clip_beyond_any_value_is_refused() -> None:
    with pytest.raises(ValueError, match="clip must ascend within"):
        PreprocessingConfig(clip=(0.0, 1e300))
