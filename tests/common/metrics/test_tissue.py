"""Where a voxel belongs: its template's likeliest tissue, or the brain's rim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from normfed_common.metrics.tissue import CLASSES, RIM_MM, depth_mm, tissue_classes

SIDE = 41


def ball(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A template whose brain is a ball, white within a third of it and grey beyond, fluid at the centre; and depths."""
    x = np.indices((SIDE, SIDE, SIDE)) - SIDE // 2
    r = np.sqrt((x**2).sum(0))
    tissues = np.stack([r > radius / 3, (r <= radius / 3) & (r > 2), r <= 2]).astype(np.float32) * (r <= radius)
    return tissues, r


def test_depth_is_the_distance_to_the_nearest_voxel_outside_less_half_a_voxel() -> None:
    mask = np.random.default_rng(0).random((7, 8, 9)) < 0.9  # reaches the end of the grid, and has holes
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    expected = 2 * cKDTree(outside).query(np.argwhere(mask))[0] - 1
    np.testing.assert_allclose(depth_mm(mask, 2)[mask], expected)
    assert (depth_mm(mask, 2)[~mask] < 0).all()


@pytest.mark.parametrize("size", [2.0, 4.0])
def test_the_rim_is_a_voxel_deep_at_4_mm_and_two_at_2_mm(size: float) -> None:
    tissues, r = ball(18)
    reach = 4 / size
    brain = np.pad(r <= 18, 1)
    near = cKDTree(np.argwhere(~brain) - 1).query(np.argwhere(r <= 18))[0] <= reach
    found = tissue_classes(tissues, r <= 18, size)
    np.testing.assert_array_equal(found[r <= 18] == CLASSES.index("rim"), near)


@pytest.mark.parametrize("size", [1.0, 2.0])
def test_the_rim_is_what_lies_near_the_border_of_the_person_s_brain_or_the_template_s(size: float) -> None:
    tissues, r = ball(18)
    smaller = r <= 14
    found = tissue_classes(tissues, smaller, size)
    to_border = 14 - r  # in voxels, within one
    rim = CLASSES.index("rim")
    assert (found[to_border * size < RIM_MM - size] == rim).all()
    deep = to_border * size > RIM_MM + size
    assert not (found[deep] == rim).any()
    for tissue, name in zip(tissues, CLASSES[:3], strict=True):
        assert (found[deep & (tissue > 0)] == CLASSES.index(name)).all()
    larger = tissue_classes(tissues, r <= 40, size)  # reaches beyond the template
    np.testing.assert_array_equal(larger, tissue_classes(tissues, r <= 18, size))
    assert (larger[r > 18] == rim).all()


def test_a_hole_in_a_person_s_brain_has_no_rim() -> None:
    tissues, r = ball(18)
    holed = (r <= 18) & (r > 1)
    np.testing.assert_array_equal(tissue_classes(tissues, holed, 1.0), tissue_classes(tissues, r <= 18, 1.0))


def test_a_brain_that_reaches_the_end_of_the_grid_ends_there() -> None:
    tissues = np.ones((3, 12, 12, 12), np.float32) / 3
    found = tissue_classes(tissues, np.ones((12, 12, 12), bool), 2.0)
    inner = found[2:-2, 2:-2, 2:-2]
    assert (inner == CLASSES.index("grey")).all()
    assert (found == CLASSES.index("rim")).sum() == 12**3 - inner.size
