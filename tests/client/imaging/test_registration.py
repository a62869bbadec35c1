"""The arithmetic of registration, against SimpleITK's own reading and resampling."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from normfed_client.imaging import registration
from normfed_client.imaging.nifti import Image, read
from normfed_client.imaging.template import whole

SHAPE = (10, 12, 9)
TILTED = Rotation.from_euler("xyz", [10, -6, 15], degrees=True).as_matrix()


def image(axes: np.ndarray, seed: int = 0) -> Image:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, [-11.0, 7.0, 3.0]
    return Image(np.random.default_rng(seed).random(SHAPE).astype(np.float32), affine, Path("x"))


@pytest.mark.parametrize("axes", [np.diag([1.5, 2.0, 2.5]), TILTED * [1.5, 2.0, 2.5]], ids=["straight", "tilted"])
def test_an_image_in_memory_is_what_simpleitk_reads_from_its_file(tmp_path: Path, axes: np.ndarray) -> None:
    path = tmp_path / "x.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image(axes).data, image(axes).affine), path)
    ours, theirs = registration.to_sitk(read(path)), sitk.ReadImage(str(path), sitk.sitkFloat32)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))
    for corner in ((0, 0, 0), (9, 0, 0), (0, 11, 8)):
        np.testing.assert_allclose(
            ours.TransformIndexToPhysicalPoint(corner), theirs.TransformIndexToPhysicalPoint(corner), atol=1e-4
        )


@pytest.mark.parametrize("nearest", [False, True])
def test_resampling_is_simpleitks(nearest: bool) -> None:
    moving, fixed = image(TILTED * [1.5, 2.0, 2.5]), image(np.diag([2.0, 1.0, 2.0]), seed=1)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [-5, 9, 4], degrees=True).as_matrix() * [1.1, 0.9, 1.0]
    matrix[:3, 3] = [1.3, -2.1, 0.7]
    in_lps = registration.LPS @ matrix @ registration.LPS
    transform = sitk.AffineTransform(in_lps[:3, :3].ravel().tolist(), in_lps[:3, 3].tolist())
    kind = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    theirs = sitk.Resample(registration.to_sitk(moving), registration.to_sitk(fixed), transform, kind, -1.0)
    expected = sitk.GetArrayFromImage(theirs).transpose(2, 1, 0)
    found = registration.resample(moving, matrix, SHAPE, fixed.affine, nearest)
    inside = expected >= 0  # at the rim the two differ by half a voxel
    assert 100 < inside.sum() < inside.size
    close = np.isclose(found, expected, atol=1e-4)[inside & (found != 0)]
    assert close.mean() > 0.99 if nearest else close.all()  # a tie of two neighbours may go either way


def test_where_an_image_does_not_reach_it_is_zero() -> None:
    moving = image(np.diag([2.0, 2.0, 2.0]))
    shifted = np.eye(4)
    shifted[0, 3] = 6.0  # three voxels
    found = registration.resample(moving, shifted, SHAPE, moving.affine)
    np.testing.assert_allclose(found[:-3], moving.data[3:], atol=1e-6)
    assert not found[-3:].any()


@pytest.mark.parametrize(
    ("linear", "expected"),
    [
        (np.diag([1.0, 0.601, 1.599]), True),
        (np.diag([1.0, 0.599, 1.0]), False),
        (np.diag([1.0, 1.0, 1.601]), False),
        (TILTED @ np.diag([0.7, 1.5, 1.0]) @ TILTED.T, True),
        (TILTED @ np.diag([0.5, 1.0, 1.0]) @ TILTED.T, False),  # along no axis of the grid
        (np.diag([-1.0, 1.0, 1.0]), False),  # left is not right
        (np.diag([-1.0, -1.0, 1.0]), True),  # turned by half
        (np.zeros((3, 3)), False),
    ],
)
def test_an_affine_is_plausible_that_stretches_no_brain_beyond_any_adults(linear: np.ndarray, expected: bool) -> None:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, 300.0  # where the scanner put the head says nothing
    assert registration.plausible(matrix) is expected


@pytest.mark.parametrize("away_mm", [(0.0, 0.0, 0.0), (150.0, -80.0, 60.0)])
def test_scans_of_one_person_are_aligned_from_their_headers_or_from_their_centres(
    away_mm: tuple[float, float, float],
) -> None:
    """A scanner's frame is shared within a visit, else the two need not even overlap."""
    t1, affine = whole("t1", 4)
    elsewhere = affine.copy()
    elsewhere[:3, 3] += away_mm
    found = registration.rigid(Image(t1, affine, Path("a")), Image(t1, elsewhere, Path("b")))
    known = np.eye(4)
    known[:3, 3] = away_mm
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-40, 70)]).T
    assert np.linalg.norm(((found - known) @ corners)[:3], axis=0).max() < 1.0  # mm, a quarter of a voxel
