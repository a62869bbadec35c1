"""Means over cubes of places: what they keep, and what they no longer tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from normfed_common.foundation.errors import SiteError
from normfed_common.learning.setting import Places
from normfed_common.privacy.cubes import averaged

SIDES = st.tuples(*3 * [st.integers(1, 7)])
LAYOUTS = ("grid last", "grid first", "flat last", "flat first")


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


@pytest.mark.parametrize("shape", [(), (3,), (4, 4), (4, 4, 5), (2, 4, 5, 4), (4, 16), (2, 64, 3), (1, 4, 4, 4, 1)])
def test_what_is_not_over_the_places_leaves_only_if_the_model_says_so(shape: tuple[int, ...]) -> None:
    sums = {"sum": np.ones((4, 4, 4)), "other": np.random.default_rng(0).random(shape)}
    assert averaged(sums, Places((4, 4, 4), 1.0, beside=("other",)), 2.0)["other"] is sums["other"]
    with pytest.raises(SiteError) as refused:
        averaged(sums, Places((4, 4, 4), 1.0), 2.0)
    assert refused.value.detail.startswith(f"other of shape {shape} must not leave")
    assert "do not name it as beside them" in refused.value.detail


def test_what_is_over_the_places_is_averaged_whatever_the_model_says() -> None:
    sums = {"sum": np.arange(64.0).reshape(4, 4, 4)}
    found = averaged(sums, Places((4, 4, 4), 1.0, beside=("sum",)), 2.0)
    np.testing.assert_allclose(found["sum"], slow(sums["sum"], 2))


@given(SIDES, st.sampled_from(LAYOUTS), st.lists(st.integers(1, 5), max_size=2), st.integers(2, 4), st.integers(0, 99))
def test_every_layout_is_averaged_alike(
    shape: tuple[int, int, int], layout: str, others: list[int], width: int, seed: int
) -> None:
    grids = np.random.default_rng(seed).random((*others, *shape))
    size = int(np.prod(shape))
    assume(not {size, *shape} & set(others))  # where the places are is plain
    axes = len(others)
    first = np.moveaxis(grids, range(axes), range(-axes, 0))
    array = {
        "grid last": grids,
        "grid first": first,
        "flat last": grids.reshape(*others, size),
        "flat first": first.reshape(size, *others),
    }[layout]
    expected = np.empty(grids.shape)
    for number in np.ndindex(*others):
        expected[number] = slow(grids[number], width)
    found = averaged({"sum": array}, Places(shape, 1.0), float(width))["sum"]
    assert found.shape == array.shape
    back = found.reshape(*shape, *others) if "first" in layout else found.reshape(*others, *shape)
    back = np.moveaxis(back, range(3), range(-3, 0)) if "first" in layout else back
    np.testing.assert_allclose(back, expected)


@given(st.data(), st.tuples(*3 * [st.integers(1, 3)]), st.integers(2, 3))
def test_what_leaves_is_the_same_all_over_a_cube_whichever_axes_are_the_places(
    data: st.DataObject, shape: tuple[int, int, int], width: int
) -> None:
    """Of any shape, made of what could be the places and what could not; refused otherwise."""
    size = int(np.prod(shape))
    parts = st.sampled_from([shape, (size,), (2,), (3,)])
    whole = tuple(length for part in data.draw(st.lists(parts, max_size=2)) for length in part)
    array = np.random.default_rng(0).random(whole)
    try:
        found = averaged({"sum": array}, Places(shape, 1.0), float(width))["sum"]
    except SiteError:
        return
    readings = [
        np.moveaxis(found.reshape(*shape, -1), 3, 0) if at_start else found.reshape(-1, *shape)
        for places in (shape, (size,))
        for at_start in (True, False)
        if (whole[: len(places)] if at_start else whole[-len(places) :]) == places
    ]
    assert readings
    for reading in readings:
        for grid in reading:
            np.testing.assert_allclose(grid, slow(grid, width))


@pytest.mark.parametrize("shape", [(8, 8), (2, 2, 2, 8), (2, 2, 2, 2), (8, 3, 2, 2, 2)])
def test_where_the_places_may_be_at_two_ends_nothing_leaves(shape: tuple[int, ...]) -> None:
    with pytest.raises(SiteError) as refused:
        averaged({"sum": np.zeros(shape)}, Places((2, 2, 2), 1.0, beside=("sum",)), 2.0)
    assert "more than one of its axes may be the places" in refused.value.detail


def test_columns_of_flat_places_are_averaged_each_for_itself() -> None:
    shape = (3, 4, 5)
    columns = np.random.default_rng(0).random((60, 2, 3))
    found = averaged({"sum": columns}, Places(shape, 1.0), 2.0)["sum"]
    assert found.shape == columns.shape
    for column in np.ndindex(2, 3):
        np.testing.assert_allclose(found[:, *column].reshape(shape), slow(columns[:, *column].reshape(shape), 2))


def test_sums_over_pairs_of_places_are_those_of_scans_averaged_first() -> None:
    """Products of what two modalities' scans have in two tissues at places."""
    values = np.random.default_rng(0).normal(size=(2, 4, 2, 3, 2, 4))
    pairs, places = Places((3, 2, 4), 2.0, pairs=("products",)), Places((3, 2, 4), 2.0)
    coarse = averaged({"values": values}, places, 4.0)["values"]
    found, expected = (np.einsum("mntxyz,mnuabc->mtxyzuabc", one, one) for one in (values, coarse))
    np.testing.assert_allclose(averaged({"products": found}, pairs, 4.0)["products"], expected, rtol=0, atol=1e-12)
