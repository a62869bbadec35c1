"""The common grid, against nilearn's template where it lies in the world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nilearn import datasets, image
from scipy import ndimage

from normfed_client.imaging import template
from normfed_client.imaging.cache import ROOT_VARIABLE
from normfed_client.imaging.template import MARGIN, anatomy, common_grid, whole


@pytest.mark.parametrize("size_mm", [2, 4])
def test_the_grids_brain_is_nilearns_mask_at_the_same_place(size_mm: int) -> None:
    grid = common_grid(size_mm)
    theirs = datasets.load_mni152_brain_mask(resolution=size_mm)
    on_grid = image.resample_img(theirs, grid.affine, grid.shape, interpolation="nearest", force_resample=True)
    inside = on_grid.get_fdata() > 0
    assert inside.sum() == (theirs.get_fdata() > 0).sum()  # nothing is cut off
    both = (inside & grid.brain).sum()
    assert 2 * both / (inside.sum() + grid.brain.sum()) > 0.99
    np.testing.assert_allclose(nibabel.affines.voxel_sizes(grid.affine), size_mm)


@pytest.mark.parametrize("size_mm", [2, 4])
def test_around_the_brain_there_is_the_margin_or_the_templates_end(size_mm: int) -> None:
    grid, (template, affine) = common_grid(size_mm), whole("t1", size_mm)
    start = np.linalg.solve(affine[:3, :3], grid.affine[:3, 3] - affine[:3, 3])
    np.testing.assert_allclose(start, np.round(start), atol=1e-6)  # whole voxels: nothing was interpolated
    voxels = np.argwhere(grid.brain)
    for axis, margin in enumerate(MARGIN):
        before, after = voxels[:, axis].min(), grid.shape[axis] - 1 - voxels[:, axis].max()
        end = round(start[axis]) + grid.shape[axis]
        assert before == margin or (before < margin and round(start[axis]) == 0)
        assert after == margin or (after < margin and end == template.shape[axis])


@pytest.mark.parametrize("kind", ["t1", "gm", "wm"])
def test_a_template_is_shared_by_all_so_nobody_can_change_it(kind: str) -> None:
    data, _ = whole(kind, 4)  # type: ignore[arg-type]
    assert 0 <= data.min() < data.max() <= 1
    with pytest.raises(ValueError, match="read-only"):
        data[0, 0, 0] = 1


@pytest.mark.parametrize("size_mm", [2, 4])
def test_tissues_of_the_grid_are_those_of_the_template_and_sum_to_its_brain(size_mm: int) -> None:
    found, grid = anatomy(size_mm), common_grid(size_mm)
    assert {array.shape for array in (found.t1, *found.tissues())} == {grid.shape}
    total = found.grey + found.white + found.fluid
    assert total.min() >= 0
    assert total.max() <= 1 + 1e-5
    deep = ndimage.binary_erosion(grid.brain, iterations=3)
    np.testing.assert_allclose(total[deep], 1, atol=1e-2)
    # On T1 fluid is darkest and white matter brightest.
    means = [found.t1[tissue > 0.8].mean() for tissue in (found.fluid, found.grey, found.white)]
    assert means == sorted(means)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a process that has asked for no template."""
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "cache"))
    template.whole.cache_clear()
    yield tmp_path / "cache"
    template.whole.cache_clear()


def test_a_template_that_another_process_has_resampled_is_the_same_and_is_not_resampled_again(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, affine = whole("gm", 4)
    template.whole.cache_clear()
    monkeypatch.delattr(template, "_resampled")
    again, same_affine = whole("gm", 4)
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(same_affine, affine)
    assert len(list((fresh / "templates").iterdir())) == 1


def test_without_room_for_it_a_template_is_resampled_by_every_process(fresh: Path) -> None:
    fresh.write_text("not a folder")
    expected = datasets.load_mni152_gm_template(resolution=4).get_fdata()
    np.testing.assert_allclose(whole("gm", 4)[0], expected)
