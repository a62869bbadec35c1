"""Parcels of the template, and what is made of noisy sums over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from synthetic import SHAPE, People, anatomy, setting

from normfed_common.foundation.errors import WireError
from normfed_common.learning import parcels as of_template
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.parcels import PARCELS, ParcelMeans, Parcels, shrunk
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released

PLACES = Parcels(setting())


def values(person: Cohort, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    for number in range(len(person)):
        scan = person.scan(number)
        yield scan.normal_index, scan.images.reshape(2, -1)[:, scan.normal_index].T


def means(**more: object) -> ParcelMeans:
    return ParcelMeans(PLACES, values, np.ones(2), (0.0, 1.0), **more)  # type: ignore[arg-type]


def test_parcels_are_all_of_the_templates_brain_and_nothing_else() -> None:
    brain = anatomy(SHAPE).tissues().sum(0) > 0.5
    np.testing.assert_array_equal((PLACES.place >= 0).reshape(SHAPE), brain)
    assert PLACES.voxels.sum() == brain.sum()
    assert PLACES.place.max() < PARCELS


def test_without_noise_the_sums_are_the_means_and_squares_of_parcels_over_people() -> None:
    """Each person's mean counts alike, however much normal tissue they have."""
    people, bounded = People(3), means(squares=np.full(2, 5.0))
    found = bounded.repaired(released(bounded, people, np.random.default_rng, SecretNoise(bytes(32)), 0.0), 0.0)
    for parcel in np.flatnonzero(PLACES.voxels):
        first, second = [], []
        for scan in people.scans:
            here = scan.normal_index[PLACES.place[scan.normal_index] == parcel]
            of = scan.images.reshape(2, -1)[:, here].astype(np.float64)
            first.append(of.mean(1) if len(here) else np.zeros(2))
            second.append((of**2).mean(1) if len(here) else np.zeros(2))
        count = 3 * PLACES.voxels[parcel]
        assert found["count"][parcel] == count
        np.testing.assert_allclose(found["sum"][parcel], count * np.mean(first, 0), rtol=1e-9)
        expected = np.mean(second, 0)
        least = 0.1 * (found["squares"] / found["count"].clip(1)[:, None]).max()
        np.testing.assert_allclose(found["squares"][parcel] / count, expected, rtol=1e-6, atol=least)


def test_products_are_those_of_the_whole_brain_and_never_indefinite() -> None:
    people, bounded = People(3), means(products=True)
    total = released(bounded, people, np.random.default_rng, SecretNoise(bytes(32)), 0.0)
    for noise in (0.0, 5.0):
        noisy = total | {"products": total["products"] + noise * np.array([-1.0, 3.0, -1.0])}
        found = bounded.repaired(noisy, noise)["products"]
        matrix = np.array([[found[0], found[1]], [found[1], found[2]]])
        assert np.linalg.eigvalsh(matrix).min() > 0


def test_shrinking_is_the_posterior_mean_of_a_gaussian_process() -> None:
    """scikit-learn's, about the same centre and with the same variance."""
    rng = np.random.default_rng(3)
    level, depth = np.divmod(np.arange(PARCELS), of_template.DEPTHS)
    x = np.stack([level / of_template.REACH[0], depth / of_template.REACH[1]], 1)
    noisy, share = np.sin(x[:, :1]) + 0.3 * rng.standard_normal((PARCELS, 1)), np.full(PARCELS, 1 / PARCELS)
    centre, signal = noisy.mean(), noisy.var() - 0.09
    own = of_template.ALONE
    kernel = ConstantKernel(signal * (1 - own)) * RBF(1.0) + WhiteKernel(signal * own)
    fitted = GaussianProcessRegressor(kernel, alpha=0.09, optimizer=None).fit(x, noisy[:, 0] - centre)
    # What is each parcel's own is signal here, and noise there, where it is not predicted.
    residual = noisy[:, 0] - centre - fitted.predict(x)
    expected = centre + fitted.predict(x) + signal * own / (signal * own + 0.09) * residual
    found = shrunk(noisy, share, np.full((PARCELS, 1), 0.09), of_template._alike())
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-8)


def test_shrinking_leaves_what_has_no_noise_and_is_the_mean_where_there_is_nothing_else() -> None:
    rng = np.random.default_rng(0)
    given, share = rng.standard_normal((PARCELS, 2)), np.full(PARCELS, 1 / PARCELS)
    np.testing.assert_array_equal(shrunk(given, share, np.zeros_like(given)), given)
    np.testing.assert_allclose(shrunk(given, share, np.full_like(given, 1e3)), np.tile(given.mean(0), (PARCELS, 1)))


def test_shrunk_means_are_nearer_to_the_truth_than_noisy_ones() -> None:
    level, depth = np.divmod(np.arange(PARCELS), of_template.DEPTHS)
    truth, share = (level / 8 + 0.2 * depth)[:, None], np.full(PARCELS, 1 / PARCELS)
    errors = []
    for seed in range(20):
        noisy = truth + 0.7 * np.random.default_rng(seed).standard_normal(truth.shape)
        found = shrunk(noisy, share, np.full(truth.shape, 0.49), of_template._alike())
        errors.append(((found - truth) ** 2).mean() / ((noisy - truth) ** 2).mean())
    assert np.mean(errors) < 0.3


@pytest.mark.parametrize(
    "change", [{"people": np.asarray(0.0)}, {"voxels": np.zeros(PARCELS)}, {"voxels": -np.ones(PARCELS)}]
)
def test_sums_of_nobody_are_refused(change: dict[str, np.ndarray]) -> None:
    bounded = means()
    total = released(bounded, People(2), np.random.default_rng, SecretNoise(bytes(32)), 0.0)
    with pytest.raises(WireError, match="cover no people"):
        bounded.repaired(total | change, 1.0)


def test_where_no_scan_is_opened_there_are_no_parcels() -> None:
    assert not Parcels(replace(setting(), open_anatomy=None)).known
