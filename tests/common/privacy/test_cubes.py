"""Means over cubes of places: what they keep, and what they no longer tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.learning.setting import Places
from normfed_common.privacy.cubes import averaged

SIDES = st.tuples(*3 * [st.integers(1, 7)])


def slow(grid: np.ndarray, width: int) -> np.ndarray:
    """Place by place: the mean over all places of the same cube."""
    found = np.empty(grid.shape)
    for place in np.ndindex(grid.shape):
        cube = tuple(slice(p // width * width, (p // width + 1) * width) for p in place)
        found[place] = grid[cube].mean()
    return found


@given(SIDES, st.integers(2, 5), st.integers(0, 99))
def test_every_place_has_the_mean_of_its_cube_and_totals_stay(
    shape: tuple[int, int, int], width: int, seed: int
) -> None:
    grid = np.random.default_rng(seed).integers(0, 100, shape)
    found = averaged({"sum": grid}, Places(shape, 1.0), float(width))["sum"]
    np.testing.assert_allclose(found, slow(grid, width))
    assert found.sum() == pytest.approx(grid.sum())


def test_moving_what_one_place_has_within_its_cube_changes_nothing() -> None:
    shape, rng = (6, 6, 6), np.random.default_rng(0)
    grid = rng.random(shape)
    moved = grid.copy()
    moved[3, 3, 3], moved[5, 4, 5] = grid[3, 3, 3] - 0.25, grid[5, 4, 5] + 0.25
    results = [averaged({"sum": g}, Places(shape, 2.0), 6.0)["sum"] for g in (grid, moved)]
    np.testing.assert_allclose(*results)


@pytest.mark.parametrize(
    ("edge_mm", "place_mm", "width"), [(8.0, 2.0, 4), (8.1, 2.0, 5), (0.3, 0.1, 3), (3.9, 4.0, 1), (4.0, 4.0, 1)]
)
def test_a_cube_is_as_wide_as_asked_for_at_least_and_no_wider(edge_mm: float, place_mm: float, width: int) -> None:
    """0.3 / 0.1 is a little more than 3 in binary."""
    grid = np.random.default_rng(0).random((10, 10, 10))
    found = averaged({"sum": grid}, Places(grid.shape, place_mm), edge_mm)["sum"]  # type: ignore[arg-type]
    np.testing.assert_allclose(found, slow(grid, width))


@pytest.mark.parametrize("shape", [(), (3,), (4, 4), (4, 4, 5), (2, 4, 5, 4)])
def test_what_is_not_over_the_places_is_passed_on(shape: tuple[int, ...]) -> None:
    other = np.random.default_rng(0).random(shape)
    assert averaged({"other": other}, Places((4, 4, 4), 1.0), 2.0)["other"] is other


def test_columns_of_flat_places_are_averaged_each_for_itself() -> None:
    shape = (3, 4, 5)
    columns = np.random.default_rng(0).random((60, 2, 3))
    found = averaged({"sum": columns}, Places(shape, 1.0), 2.0)["sum"]
    assert found.shape == columns.shape
    for column in np.ndindex(2, 3):
        np.testing.assert_allclose(found[:, *column].reshape(shape), slow(columns[:, *column].reshape(shape), 2))
