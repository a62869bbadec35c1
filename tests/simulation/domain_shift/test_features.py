"""What is taken from a scan: of scans that are made to be known."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_common.learning.cohort import UNNUMBERED, Person, Scan
from normfed_simulation.domain_shift.features import FeatureExtractor, ScanFeatures, common

SHAPE, SIZE_MM = (30, 30, 30), 4.0
LEVELS = np.array([0.5, 0.9, 0.1])  # grey matter, white matter, fluid
RNG = np.random.default_rng(3)


def thirds() -> np.ndarray:
    """Three tissues (3, X, Y, Z), one behind the other."""
    place = np.arange(SHAPE[0]) * 3 // SHAPE[0]
    found = (place == np.arange(3)[:, None]).astype(np.float32)
    return np.broadcast_to(found[:, :, None, None], (3, *SHAPE)).copy()


def extractor() -> FeatureExtractor:
    return FeatureExtractor(thirds(), SIZE_MM, (0.0, 2.0))


def scan(image: np.ndarray, mask: np.ndarray) -> Scan:
    images = np.where(mask, image, 0).astype(np.float32)[None]
    return Scan(images, mask, np.flatnonzero(mask).astype(np.int32), np.ones(1, bool), Person(UNNUMBERED))


def ball(radius: int) -> np.ndarray:
    centre = np.indices(SHAPE) - np.array([14.5] * 3)[:, None, None, None]
    found: np.ndarray = (centre**2).sum(0) < radius**2
    return found


def extracted(image: np.ndarray, mask: np.ndarray) -> ScanFeatures:
    return extractor().extract(scan(image, mask))


def test_volumes_are_those_of_the_voxels_nearest_to_the_levels_of_everybody() -> None:
    people, expected = [], []
    for radius in (9, 11, 13):
        mask = ball(radius)
        kind = RNG.choice(3, SHAPE, p=[0.1, 0.2, 0.7])
        truth = np.where(thirds().argmax(0) == 0, 0, kind)  # a person's tissue is not where the template has it
        truth[thirds()[1] > 0] = 1
        truth[thirds()[2] > 0] = 2
        truth[14, 14, :] = RNG.choice(3, SHAPE[2])
        people.append(extracted(LEVELS[truth] + RNG.normal(0, 0.01, SHAPE), mask))
        expected.append([(truth[mask] == tissue).sum() * SIZE_MM**3 / 1000 for tissue in range(3)])
    np.testing.assert_allclose(extractor().volumes_ml(people), expected)


def test_a_brighter_scanner_moves_volumes_and_its_harmonization_moves_them_back() -> None:
    mask = ball(12)
    plain = LEVELS[thirds().argmax(0)]
    alike = extractor().volumes_ml([extracted(plain, mask), extracted(plain, mask)])
    other = extractor().volumes_ml([extracted(plain, mask), extracted(plain * 1.9, mask)])
    np.testing.assert_array_equal(alike[0], alike[1])
    assert (other[0] != other[1]).any()


def test_a_small_image_is_of_the_brain_alone_however_large_and_what_not_everybody_has_is_left_out() -> None:
    even = [extracted(np.full(SHAPE, 0.7), ball(radius)) for radius in (9, 13)]
    for one in even:
        np.testing.assert_allclose(one.image[np.isfinite(one.image)], 0.7, rtol=1e-5)
    unlike = [even[0].image, 2 * even[1].image]
    assert 0 < common(unlike).shape[1] == np.isfinite(even[0].image).sum() < np.isfinite(even[1].image).sum()


def test_what_differs_between_people_by_rounding_alone_is_left_out() -> None:
    rows = np.array([[1.0, 0.5, np.nan], [2.0, 0.5 + 1e-7, 1.0], [3.0, 0.5 - 1e-7, 2.0]])
    np.testing.assert_array_equal(common(list(rows)), rows[:, :1])


def test_features_are_quantiles_of_the_brain_then_figures_of_tissues_then_means_of_cubes() -> None:
    image, mask = RNG.uniform(0, 1, SHAPE), ball(9)
    found = extracted(image, mask).features
    values = image.astype(np.float32)[mask]
    assert found[9] == pytest.approx(np.median(values))
    grey = image.astype(np.float32)[mask & (thirds()[0] > 0)]
    assert found[19:21] == pytest.approx([grey.mean(), grey.std()])
    cubes = found[19 + 3 * 7 :]
    assert len(cubes) == 27  # 120 mm by 40
    middle = (slice(10, 20),) * 3
    assert cubes[13] == pytest.approx(image.astype(np.float32)[middle][mask[middle]].mean())
    assert np.isnan(cubes[0])  # a corner has no brain
