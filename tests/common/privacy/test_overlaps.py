"""People with two voxels at a place are as many as those with one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.learning.setting import Places
from normfed_common.privacy.overlaps import in_common

tissue = st.lists(st.integers(0, 2**12 - 1), min_size=1, max_size=9)


def scans(rows: list[int]) -> list[np.ndarray]:
    """A scan of twelve voxels per number, by its bits."""
    return [np.array([[row >> voxel & 1 for voxel in range(12)]], bool) for row in rows]


@given(rows=tissue, minimum=st.integers(1, 4), width=st.sampled_from([2, 3, 4, 6, 12]))
def test_of_whatever_parts_a_place_is_made_enough_people_have_several_or_nobody(
    rows: list[int], minimum: int, width: int
) -> None:
    """Seen from outside: parts of every smaller spacing; people with one part alone add nothing to their difference."""
    people = scans(rows)
    count = np.sum(people, 0)[0]
    told = (count == 0) | (count >= minimum)
    told &= in_common(lambda: people, told, np.arange(12) // width, minimum)
    for part in (1, 2, 3, 4, 6):
        if part < width and width % part == 0:
            parts = np.array([(has[0] & told).reshape(-1, width // part, part).any(2).sum(1) for has in people])
            several = (parts > 1).sum(0)
            assert ((several == 0) | (several >= minimum)).all()


@given(rows=tissue, minimum=st.integers(1, 4))
def test_where_every_voxel_is_a_place_nothing_more_is_withheld(rows: list[int], minimum: int) -> None:
    people = scans(rows)
    count = np.sum(people, 0)[0]
    told = (count == 0) | (count >= minimum)
    assert in_common(lambda: people, told, np.arange(12), minimum)[told].all()


def test_two_scans_of_a_person_have_in_common_what_both_have() -> None:
    """Each voxel is in a scan of both people, and in one scan no person has both."""
    people = [np.array([[True, False], [False, True]])] * 2
    assert not in_common(lambda: people, np.ones(2, bool), np.zeros(2, int), 2).any()


@pytest.mark.parametrize(("edge_mm", "shape"), [(4.0, (7, 5, 3)), (8.0, (4, 3, 2)), (1000.0, (1, 1, 1))])
def test_voxels_are_numbered_by_the_place_that_they_lie_in(edge_mm: float, shape: tuple[int, int, int]) -> None:
    grid, cell = (7, 5, 3), round(edge_mm / 4)
    found = Places(shape, edge_mm).of_voxels(grid, 4.0).reshape(grid)
    for voxel in np.ndindex(grid):
        assert found[voxel] == np.ravel_multi_index([axis // cell for axis in voxel], shape)
