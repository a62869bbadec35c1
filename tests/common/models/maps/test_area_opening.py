"""Peaks smaller than an area are cut down to where they are as large: the definition, threshold by threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from normfed_common.models.maps.area_opening import area_opening

TOUCHING = np.ones((3, 3, 3), bool)


def by_definition(values: np.ndarray, voxels: int) -> np.ndarray:
    """The highest threshold at which a voxel is in a component large enough, one label map per threshold."""
    found = np.zeros_like(values)
    for level in np.unique(values[values > 0]):
        labels, _ = ndimage.label(values >= level, TOUCHING)
        large = np.bincount(labels.ravel()) >= voxels
        large[0] = False
        found[large[labels]] = level
    return found


@pytest.mark.parametrize("levels", [None, 6], ids=["all different", "many ties"])
@pytest.mark.parametrize("voxels", [2, 3, 5, 20, 60])
def test_a_voxel_has_the_highest_level_at_which_its_cluster_is_large_enough(levels: int | None, voxels: int) -> None:
    rng = np.random.default_rng(voxels)
    values = rng.random((9, 11, 12)) * (rng.random((9, 11, 12)) > 0.6)
    values = (values if levels is None else np.floor(levels * values)).astype(np.float32)
    found = area_opening(values, voxels)
    assert found.dtype == np.float32
    assert (found < values).any()
    np.testing.assert_array_equal(found, by_definition(values, voxels))


def test_at_every_threshold_no_cluster_is_smaller_and_large_ones_keep_all_their_voxels() -> None:
    rng = np.random.default_rng(0)
    values = ndimage.gaussian_filter(rng.random((12, 12, 12)), 0.7).astype(np.float32)
    found = area_opening(values, 8)
    for level in np.quantile(values, [0.1, 0.5, 0.9, 0.99]):
        labels, count = ndimage.label(values >= level, TOUCHING)
        large = [values_at for values_at in range(1, count + 1) if (labels == values_at).sum() >= 8]
        np.testing.assert_array_equal(found >= level, np.isin(labels, large))


def test_what_lies_apart_and_is_too_small_is_gone_and_nothing_is_made_of_nothing() -> None:
    values = np.zeros((5, 5, 5), np.float32)
    np.testing.assert_array_equal(area_opening(values, 4), values)
    values[0, 0, :2] = 3.0
    np.testing.assert_array_equal(area_opening(values, 2), values)
    assert not area_opening(values, 3).any()


@pytest.mark.parametrize("voxels", [0, 1])
def test_one_voxel_is_a_peak_that_stays(voxels: int) -> None:
    values = np.random.default_rng(0).random((4, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(area_opening(values, voxels), values)
