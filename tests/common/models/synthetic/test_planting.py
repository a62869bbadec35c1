"""Planted anomalies: where they may be, what shape they have, what is asked of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normfed_common.models.synthetic.planting import Recipe, Tissue, blob_at, planted, smooth_noise, target_of

SHAPE = (30, 34, 12)
RECIPE = Recipe(
    main=1,
    sides=np.array([-1.0, 1.0], np.float32),
    blobs=6.0,
    radius_mm=(2.0, 12.0),
    amplitude=(1.0, 3.0),
    beside=0.6,
    foreign=0.3,
    in_white=0.5,
    voxel_size_mm=2,
)


def tissue(seed: int) -> Tissue:
    rng = np.random.default_rng(seed)
    normal = np.zeros(SHAPE, bool)
    normal[4:-4, 4:-4, 2:-2] = True
    normal[10:16, 10:20, 4:9] = False  # a lesion
    return Tissue(rng.normal(0, 0.3, (2, *SHAPE)).astype(np.float32), normal)


def white() -> np.ndarray:
    found = np.zeros(SHAPE, np.float32)
    found[18:24, 8:28, 3:9] = 1
    return found


def grown(recipe: Recipe, seed: int) -> tuple[Tissue, np.ndarray, np.ndarray]:
    before = tissue(1)
    after, foreign = planted(before, white(), tissue(2), recipe, np.random.default_rng(seed))
    return before, after, foreign


@pytest.mark.parametrize("foreign", [0.0, 0.5, 1.0])
def test_lesions_and_whatever_is_outside_stay_as_they_were_and_normal_tissue_does_not(foreign: float) -> None:
    changed = 0
    for seed in range(10):
        before, after, _ = grown(replace(RECIPE, foreign=foreign), seed)
        np.testing.assert_array_equal(after[:, ~before.normal], before.units[:, ~before.normal])
        changed += (after != before.units).any()
        assert np.isfinite(after).all()
    assert changed >= 8
    np.testing.assert_array_equal(before.units, tissue(1).units)


def test_only_slices_that_are_named_have_anything_of_the_donor() -> None:
    """Another donor with the same normal tissue changes these, and no others."""
    named = 0
    for seed in range(20):
        _, one, foreign = grown(RECIPE, seed)
        other = replace(tissue(2), units=tissue(2).units + np.float32(0.5))
        two, again = planted(tissue(1), white(), other, RECIPE, np.random.default_rng(seed))
        np.testing.assert_array_equal(foreign, again)
        np.testing.assert_array_equal((one != two).any((0, 1, 2)), foreign)
        named += int(foreign.any())
    assert named > 5


def test_blobs_are_bright_on_flair_in_nine_of_ten_and_dark_on_t1_more_often_than_bright() -> None:
    recipe = replace(RECIPE, blobs=1.0, foreign=0.0, amplitude=(3.0, 3.0), radius_mm=(8.0, 8.0))
    largest = []
    for seed in range(300):
        before, after, _ = grown(recipe, seed)
        shift = after - before.units
        if np.abs(shift).max() > 1.5:
            at = np.unravel_index(np.abs(shift[1]).argmax(), SHAPE)
            largest.append(shift[(slice(None), *at)])
    t1, flair = np.array(largest).T
    assert len(flair) > 100
    seen = flair[np.abs(flair) > 1.5]
    assert (seen > 0).mean() == pytest.approx(0.9, abs=0.08)
    assert (t1 < -0.5).sum() > 1.5 * (t1 > 0.5).sum() > 0


def test_centres_are_in_white_matter_as_often_as_asked() -> None:
    for share in (0.0, 1.0):
        recipe = replace(RECIPE, blobs=1.0, foreign=0.0, in_white=share, radius_mm=(2.0, 2.0), amplitude=(3.0, 3.0))
        strongest = []
        for seed in range(150):
            before, after, _ = grown(recipe, seed)
            shift = np.abs(after - before.units).max(0)
            if shift.max() > 1.5:
                strongest.append(white()[np.unravel_index(shift.argmax(), SHAPE)] > 0)
        # A rough edge may put the maximum beside the centre.
        expected = 1.0 if share else white()[tissue(1).normal].mean()
        assert np.mean(strongest) == pytest.approx(expected, abs=0.15)


def test_a_blob_without_roughness_is_a_sigmoid_of_the_distance_in_an_ellipsoid(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "normfed_common.models.synthetic.planting"
    for name, value in {"ROUGHNESS": 0.0, "AXES_SPREAD": 0.0, "SOFTNESS_MM": (1.6, 1.6)}.items():
        monkeypatch.setattr(f"{module}.{name}", value)
    box, blob = blob_at((15, 3, 6), SHAPE, 8.0, 2, np.random.default_rng(0))
    found = np.zeros(SHAPE)
    found[box] = blob
    for voxel in np.ndindex(*SHAPE):
        distance = sum((a - b) ** 2 for a, b in zip(voxel, (15, 3, 6), strict=True)) ** 0.5
        expected = 1 / (1 + np.exp((distance - 4) / 0.8))
        assert found[voxel] == pytest.approx(expected if expected >= 0.01 else 0, abs=1e-5)


@pytest.mark.parametrize("voxel_size_mm", [1, 2])
@pytest.mark.parametrize("radius_mm", [1.6, 4.0, 18.0])
def test_blobs_are_of_the_size_asked_on_any_grid(radius_mm: float, voxel_size_mm: int) -> None:
    """Half of the maximum is reached at the edge, so that voxels above it fill about the ellipsoid."""
    rng = np.random.default_rng(3)
    shape = (128 // voxel_size_mm,) * 3
    centre = (64 // voxel_size_mm,) * 3
    volumes = [(blob_at(centre, shape, radius_mm, voxel_size_mm, rng)[1] >= 0.5).sum() for _ in range(60)]
    assert np.median(volumes) * voxel_size_mm**3 == pytest.approx(4 / 3 * np.pi * radius_mm**3, rel=0.5)


def test_edges_are_as_soft_in_mm_on_any_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws at half the voxel size: every second voxel is the same."""
    monkeypatch.setattr("normfed_common.models.synthetic.planting.ROUGHNESS", 0.0)
    for seed in range(10):
        volumes = []
        for size, shape, centre in ((2, (32, 32, 32), (16, 16, 16)), (1, (64, 64, 64), (32, 32, 32))):
            box, blob = blob_at(centre, shape, 10.0, size, np.random.default_rng(seed))
            volumes.append(np.zeros(shape))
            volumes[-1][box] = blob
        np.testing.assert_allclose(volumes[1][::2, ::2, ::2], volumes[0], atol=1e-6)


def test_the_target_is_the_change_less_what_nobody_sees() -> None:
    rng = np.random.default_rng(0)
    clean, ill = rng.normal(0, 1, (2, 2, *SHAPE))
    found = target_of(ill, clean)
    for voxel in ((0, 0, 0), (3, 4, 5), (29, 33, 11)):
        change = max(abs(ill[(c, *voxel)] - clean[(c, *voxel)]) for c in range(2))
        assert found[voxel] == pytest.approx(min(max(change - 0.7, 0), 1))
    assert 0 == found.min() < found.max() == 1


def test_smooth_noise_is_of_its_shape_and_smooth() -> None:
    found = smooth_noise((21, 5, 1), 5.0, np.random.default_rng(0))
    assert found.shape == (21, 5, 1)
    assert np.abs(np.diff(found, axis=0)).max() < 0.5 * np.ptp(found)


def test_nothing_normal_is_left_alone() -> None:
    nothing = replace(tissue(1), normal=np.zeros(SHAPE, bool))
    units, foreign = planted(nothing, white(), tissue(2), RECIPE, np.random.default_rng(0))
    np.testing.assert_array_equal(units, nothing.units)
    assert not foreign.any()
    only_foreign = replace(RECIPE, foreign=1.0)
    units, foreign = planted(tissue(1), white(), nothing, only_foreign, np.random.default_rng(0))
    np.testing.assert_array_equal(units, tissue(1).units)
    assert not foreign.any()
