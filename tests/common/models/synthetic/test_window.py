"""The window: cut and put back, and stacks built by hand."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import SHAPE, anatomy

from normfed_common.learning.anatomy import Anatomy
from normfed_common.models.synthetic.window import Window, stacks

RNG = np.random.default_rng(0)


def shifted(margin: int) -> Anatomy:
    """The shells in a larger grid, so that the window is smaller than the grid."""
    inner = anatomy()
    larger = [np.pad(v, ((margin, margin), (margin, margin), (1, 1))) for v in (inner.t1, *inner.tissues())]
    return Anatomy(*larger)


@pytest.mark.parametrize("margin", [0, 3, 9])
def test_sides_halve_twice_and_hold_the_brain(margin: int) -> None:
    shells = shifted(margin)
    window = Window(shells, 2)
    assert all(side % 4 == 0 for side in window.sides)
    brain = shells.tissues().sum(0)
    assert window.slab(brain, 0, brain.shape[2]).sum() == pytest.approx(brain.sum())
    assert window.area == pytest.approx((brain > 0.05).sum() / (brain > 0.05).any((0, 1)).sum())


@pytest.mark.parametrize("margin", [0, 9])
@pytest.mark.parametrize("first", [-3, 0, 2, 50])
def test_a_slab_is_the_volume_where_there_is_one(margin: int, first: int) -> None:
    shells = shifted(margin)
    window = Window(shells, 2)
    volume = RNG.random((2, *shells.t1.shape))
    found = window.slab(volume, first, 5, outside=-5.0)
    assert found.shape == (2, *window.sides, 5)
    for voxel in np.ndindex(*found.shape[1:]):
        at = np.add(voxel, (*window.start, first))
        inside = (at >= 0).all() and (at < volume.shape[1:]).all()
        np.testing.assert_array_equal(found[(slice(None), *voxel)], volume[(slice(None), *at)] if inside else -5.0)


def test_back_undoes_the_cut_within_the_window() -> None:
    for margin in (0, 9):
        shells = shifted(margin)
        window, volume = Window(shells, 2), RNG.random(shells.t1.shape)
        slices = np.moveaxis(window.slab(volume, 0, window.depth), 2, 0)
        found = window.back(slices, volume.shape, outside=-8.0)
        here = found != -8.0
        np.testing.assert_array_equal(found[here], volume[here])
        assert here[shells.tissues().sum(0) > 0.05].all()


def test_a_stack_is_three_slices_of_every_modality_and_where_they_are() -> None:
    window = Window(anatomy(), 2)
    units = RNG.random((2, *SHAPE))
    found = stacks(window.slab(units, -1, SHAPE[2] + 2, -5.0), window.slab(window.guides, -1, SHAPE[2] + 2))
    assert found.shape == (SHAPE[2], 12, *window.sides)
    assert found.dtype == np.float32
    row, column, x, y = 9 - window.start[0], 11 - window.start[1], 9, 11
    for z in range(SHAPE[2]):
        of_two = [
            units[channel, x, y, z + step] if 0 <= z + step < SHAPE[2] else -5.0
            for channel in range(2)
            for step in (-1, 0, 1)
        ]
        np.testing.assert_allclose(found[z, :, row, column], [*of_two, *window.guides[:, x, y, z]], rtol=1e-6)


def test_places_run_from_minus_1_to_1_over_the_brain_and_know_no_left_or_right() -> None:
    guides = Window(anatomy(), 2).guides
    np.testing.assert_allclose(guides[3], guides[3][::-1], atol=1e-6)
    brain = anatomy().tissues().sum(0) > 0
    for axis, low in ((3, 0), (4, -1), (5, -1)):
        assert guides[axis][brain].min() == pytest.approx(low, abs=0.1)
        assert guides[axis][brain].max() == pytest.approx(1, abs=0.1)


def test_guides_and_margins_are_as_wide_in_mm_on_any_grid() -> None:
    """A cube of white matter of 8 mm: variance of its guide along an axis, in mm, and room around the brain."""
    variances = []
    for voxel_size_mm in (1, 2):
        cube = np.zeros([64 // voxel_size_mm] * 3, np.float32)
        cube[tuple([slice(28 // voxel_size_mm, 36 // voxel_size_mm)] * 3)] = 1
        window = Window(Anatomy(cube, 0 * cube, cube, 0 * cube), voxel_size_mm)
        assert window.start[0] * voxel_size_mm == 28 - 4
        profile = window.guides[1].sum((1, 2))
        at = (np.arange(len(profile)) + 0.5) * voxel_size_mm
        variances.append(np.average((at - 32) ** 2, weights=profile) + voxel_size_mm**2 / 12)
    # A uniform cube's variance is 8^2 / 12, and variances add up.
    np.testing.assert_allclose(variances, 8**2 / 12 + 1.4**2, rtol=0.02)
