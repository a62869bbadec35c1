"""What classes of both distributions keep to."""

from __future__ import annotations

from dataclasses import fields
from itertools import islice

import numpy as np
import pytest
from mixing import RANGE, moments_of, rounds, voxels

from normfed_common.foundation.errors import WireError
from normfed_common.models.mixtures import start
from normfed_common.models.mixtures.classes import Classes
from normfed_common.models.mixtures.gaussian import Gaussian
from normfed_common.models.mixtures.multiple_scale_t import MultipleScaleT

EACH = pytest.mark.parametrize("kind", [Gaussian, MultipleScaleT])


def fitted(kind: type[Classes], y: np.ndarray, classes: int = 3, turns: int = 5) -> Classes:
    return next(islice(rounds(kind, [y], classes), turns - 1, None))[0]


@EACH
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_the_likelihood_never_falls(kind: type[Classes], size: int, seed: int) -> None:
    """Nor where a class shrinks onto clipped voxels, down to the floor."""
    y = voxels(seed, size, clipped=seed % 2 == 1)
    found = np.array([likelihood for _, likelihood in islice(rounds(kind, [y], 5), 60)])
    assert np.diff(found).min() > -1e-12
    assert found[-1] > found[0] + 0.01


def test_a_class_that_shrinks_onto_clipped_voxels_stops_at_the_floor() -> None:
    y = voxels(1, clipped=True)
    found = fitted(Gaussian, y, classes=6, turns=150)
    assert found.scales.min() == pytest.approx(moments_of(y).floor)


@EACH
def test_the_sums_of_sites_make_the_classes_of_all_voxels_in_one_place(kind: type[Classes]) -> None:
    y = voxels(0, size=3, count=4000)
    sites = [y[:, :50], y[:, 50:2500], y[:, 2500:]]
    federated = fitted_at(kind, sites, turns=40)
    pooled = fitted_at(kind, [y], turns=40)
    for field in fields(pooled):
        expected = getattr(pooled, field.name)
        np.testing.assert_allclose(getattr(federated, field.name), expected, rtol=1e-10, atol=1e-10)


def fitted_at(kind: type[Classes], sites: list[np.ndarray], turns: int) -> Classes:
    return next(islice(rounds(kind, sites, 4), turns - 1, None))[0]


@EACH
def test_axes_stay_orthogonal_and_weights_add_up_to_1(kind: type[Classes]) -> None:
    found = fitted(kind, voxels(2, size=4), turns=20)
    np.testing.assert_allclose(np.swapaxes(found.axes, 1, 2) @ found.axes, np.stack([np.eye(4)] * 3), atol=1e-12)
    assert found.weights.sum() == pytest.approx(1, abs=1e-12)


@EACH
def test_no_density_is_above_its_bounds(kind: type[Classes]) -> None:
    y = voxels(3)
    found, moments = fitted(kind, y, turns=20), moments_of(y)
    everywhere = np.concatenate([y, found.means.T], axis=1)
    highest = found.log_density(everywhere).max()
    assert highest <= found.highest_log_density
    assert found.log_classes(np.zeros((3, 2, 1))).max() <= moments.log_peak


@EACH
def test_a_density_has_the_integral_1(kind: type[Classes]) -> None:
    found = fitted(kind, voxels(4, size=1), turns=10)
    axis = np.sinh(np.linspace(-16, 16, 100_001))
    np.testing.assert_allclose(np.trapezoid(np.exp(found.log_density(axis[None])), axis), 1, rtol=1e-5)


@EACH
def test_a_voxel_far_from_every_class_is_less_near_than_one_at_a_mean(kind: type[Classes]) -> None:
    found = fitted(kind, voxels(5), turns=20)
    near, far = found.proximity(np.stack([found.means[0], [9.0, -9.0]], axis=1))
    assert far < 0.5 * near


@EACH
def test_a_class_that_nobody_is_in_stays_a_number(kind: type[Classes]) -> None:
    y = voxels(6)
    moments = moments_of(y)
    lost = kind.start(start.nearest(np.array([[1.0, 1.0], [1e6, 1e6]]), y), y.shape[1], moments)
    for _ in range(3):
        lost = kind.of(lost.sums(y), y.shape[1], moments)
        assert all(np.isfinite(getattr(lost, field.name)).all() for field in fields(lost))
    assert np.isfinite(lost.log_density(y)).all()


HOSTILE = {
    "a negative responsibility": ("responsibility", lambda a: np.array([-1.0, a.sum() + 1, 0.0])),
    "responsibilities of more voxels": ("responsibility", lambda a: 2 * a),
    "values above the range": ("first", lambda a: 2.1 * np.abs(a).max() + 0 * a),
    "values below the range": ("first", lambda a: -a),
    "squares that contradict the sum": ("second", lambda a: 0.5 * a),
    "squares above the range": ("second", lambda a: 1e6 * a),
    "products that are not symmetric": ("second", lambda a: a + np.triu(np.full(a.shape[-2:], 1.0), 1)),
}
HOSTILE_WEIGHTS = {
    "negative weights": ("weight", lambda a: -a),
    "weights beyond any degrees of freedom": ("weight", lambda a: 100 * a),
    "logarithms above those of the mean": ("log_weight", lambda a: np.abs(a) + 1e6),
    "long axes": ("axes", lambda a: 2 * a),
}


def sums_to_check(kind: type[Classes]) -> tuple[dict[str, np.ndarray], float]:
    y = voxels(7)
    found = fitted(kind, y).sums(y)
    return {name: np.asarray(array) for name, array in found.items()}, float(y.shape[1])


@pytest.mark.parametrize(
    ("kind", "what"),
    [*((Gaussian, w) for w in HOSTILE), *((MultipleScaleT, w) for w in {**HOSTILE, **HOSTILE_WEIGHTS})],
)
def test_sums_of_no_voxels_are_refused(kind: type[Classes], what: str) -> None:
    sums, count = sums_to_check(kind)
    kind.check(sums, count, 3, RANGE)
    name, spoil = {**HOSTILE, **HOSTILE_WEIGHTS}[what]
    with pytest.raises(WireError):
        kind.check({**sums, name: spoil(sums[name])}, count, 3, RANGE)


@EACH
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_sums_of_few_voxels_are_taken(kind: type[Classes], count: int) -> None:
    sums = fitted(kind, voxels(8)).sums(voxels(8)[:, :count])
    kind.check(sums, count, 3, RANGE)
