"""Classes with heavy tails against SciPy, and against Gaussians, which they become without them."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from mixing import beginning, rounds, voxels
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma

from normfed_common.models.mixtures import multiple_scale_t
from normfed_common.models.mixtures.multiple_scale_t import FREEDOM, MultipleScaleT, freedom_of


def test_the_density_is_a_product_of_students_along_the_axes() -> None:
    y = voxels(0, 3)
    *_, (found, _) = islice(rounds(MultipleScaleT, [y], 2), 10)
    assert isinstance(found, MultipleScaleT)
    expected = np.zeros(y.shape[1])
    for weight, mean, axes, scales, freedom in zip(
        found.weights, found.means, found.axes, found.scales, found.freedom, strict=True
    ):
        along = axes.T @ (y - mean[:, None])
        expected += weight * stats.t.pdf(along, freedom[:, None], scale=np.sqrt(scales)[:, None]).prod(0)
    np.testing.assert_allclose(found.log_density(y), np.log(expected), rtol=1e-8, atol=1e-8)


def test_one_class_of_one_modality_ends_at_the_likeliest_student() -> None:
    y = stats.t.rvs(4, loc=1, scale=0.1, size=3000, random_state=np.random.default_rng(0))
    *_, (found, _) = islice(rounds(MultipleScaleT, [y[None]], 1), 400)
    assert isinstance(found, MultipleScaleT)
    freedom, mean, scale = stats.t.fit(y)
    expected = stats.t.logpdf(y, freedom, mean, scale).sum()
    assert float(found.log_density(y[None]).sum()) == pytest.approx(expected, abs=1e-3)
    assert found.freedom[0, 0] == pytest.approx(freedom, rel=1e-2)
    assert found.means[0, 0] == pytest.approx(mean, abs=1e-3)
    assert np.sqrt(found.scales[0, 0]) == pytest.approx(scale, rel=1e-2)


def test_without_tails_one_class_is_the_likeliest_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    """The axes are then those of the covariance: by Hadamard, the product of variances is least along them."""
    monkeypatch.setattr(multiple_scale_t, "FREEDOM", (1e9, 1e9))
    monkeypatch.setattr(multiple_scale_t, "START", 1e9)
    y = voxels(1, 3)
    (found, _), *_ = islice(rounds(MultipleScaleT, [y], 1), 1)
    np.testing.assert_allclose(found.means[0], y.mean(1), rtol=1e-7)
    covariance = np.einsum("im,m,jm->ij", found.axes[0], found.scales[0], found.axes[0])
    np.testing.assert_allclose(covariance, np.cov(y, bias=True), rtol=1e-6)
    gaussian = stats.multivariate_normal(y.mean(1), np.cov(y, bias=True)).logpdf(y.T)
    np.testing.assert_allclose(found.log_density(y), gaussian, rtol=1e-4, atol=1e-5)


def test_sums_are_those_of_the_weights_of_every_voxel() -> None:
    y = voxels(2)
    *_, (found, _) = islice(rounds(MultipleScaleT, [y], 3), 5)
    assert isinstance(found, MultipleScaleT)
    sums = found.sums(y)
    for k in range(3):
        for m in range(2):
            total = np.zeros(3)
            for n in range(y.shape[1]):
                q = (found.axes[k, :, m] @ (y[:, n] - found.means[k])) ** 2 / found.scales[k, m]
                a, b = (found.freedom[k, m] + 1) / 2, (found.freedom[k, m] + q) / 2
                r = np.exp(_log_class(found, y[:, n], k)) / np.exp(found.log_density(y[:, [n]]))[0]
                total += r * np.array([a / b, digamma(a) - np.log(b), a / b * y[0, n] * y[1, n]])
            given = [sums["weight"][k, m], sums["log_weight"][k, m], sums["second"][k, m, 0, 1]]
            np.testing.assert_allclose(given, total, rtol=1e-8)


def _log_class(found: MultipleScaleT, y: np.ndarray, k: int) -> float:
    along = found.axes[k].T @ (y - found.means[k])
    density = stats.t.logpdf(along, found.freedom[k], scale=np.sqrt(found.scales[k])).sum()
    return float(density + np.log(found.weights[k]))


@pytest.mark.parametrize("difference", [-1.01, -1.1, -2.0, -5.0])
def test_degrees_of_freedom_are_the_root_of_their_equation(difference: float) -> None:
    def left(nu: float) -> float:
        return difference - float(digamma(nu / 2)) + float(np.log(nu / 2)) + 1

    assert freedom_of(np.array(difference)) == pytest.approx(brentq(left, *FREEDOM, xtol=1e-13), rel=1e-9)


def test_degrees_of_freedom_end_where_their_range_does() -> None:
    np.testing.assert_allclose(freedom_of(np.array([-1.0, -1e6])), [FREEDOM[1], FREEDOM[0]], rtol=1e-9)


def test_it_finds_axes_that_are_narrow_and_tails_that_are_heavy() -> None:
    """Of one class with tails along one oblique axis alone, up to the order and the sign of the axes."""
    rng, angle = np.random.default_rng(3), 0.5
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    y = axes @ np.stack([0.1 * rng.standard_t(3, 20_000), 0.03 * rng.standard_normal(20_000)])
    *_, (found, _) = islice(rounds(MultipleScaleT, [y], 1), 150)
    assert isinstance(found, MultipleScaleT)
    alike = np.abs(axes.T @ found.axes[0])
    order = alike.argmax(1)
    assert sorted(order) == [0, 1]
    assert alike.max(1).min() > 0.9999
    assert found.freedom[0, order[0]] == pytest.approx(3, rel=0.1)
    assert found.freedom[0, order[1]] > 20


def test_the_number_of_parameters_is_that_of_its_arrays() -> None:
    """Proportions, means, scales, degrees of freedom, angles of a rotation; less 1, as proportions add up to 1."""
    found = beginning(MultipleScaleT, [voxels(0, 3)], 10)
    assert isinstance(found, MultipleScaleT)
    free = found.weights.size + found.means.size + found.scales.size + found.freedom.size + 10 * 3 - 1
    assert MultipleScaleT.parameters(10, 3) == free == 129
