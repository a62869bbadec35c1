"""Where the brain lies in a head, against heads that were made around the template's brain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from normfed_client.imaging.head_search import HeadSearch
from normfed_client.imaging.nifti import Image
from normfed_client.imaging.registration import resample
from normfed_client.imaging.template import BRAIN_LEVEL, whole

CORNERS = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-40, 70)]).T


def head(known: np.ndarray, neck: bool = True) -> Image:
    """The template's brain in a dark skull and a bright scalp, on a neck, seen through a known affine, at 4 mm."""
    t1, affine = whole("t1", 4)
    room = [(12, 12), (12, 12), (30 if neck else 4, 12)]
    brain, full = np.pad(t1, room), affine.copy()
    full[:3, 3] -= 4 * np.array([low for low, _ in room])
    inside = brain > BRAIN_LEVEL
    near = ndimage.distance_transform_edt(~inside, sampling=4.0)
    body = np.where((near > 8) & (near < 18), 1.3, np.where(inside, brain, 0.1 * (near < 18)))
    x, y, z = np.indices(brain.shape)
    bottom = np.argwhere(inside)[:, 2].min()
    column = (np.hypot(x - brain.shape[0] / 2, y - brain.shape[1] / 2.3) < 14) & (z < bottom + 4) & ~inside & (near > 8)
    body[column] = 0.9
    data = resample(Image(body.astype(np.float32), full, Path("x")), np.linalg.inv(known), body.shape, full)
    return Image(data, full, Path("head"))


def pose(angles: tuple[float, float, float], shift: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    known = np.eye(4)
    known[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag([0.95, 0.93, 0.9])
    known[:3, 3] = shift
    return known


@pytest.mark.parametrize(
    "known", [pose((25, 0, 0), (0, 0, 15)), pose((-15, 15, -10)), pose((0, -30, 30))], ids=["up", "aslant", "turned"]
)
def test_the_brain_of_a_tilted_head_on_a_neck_is_found(known: np.ndarray) -> None:
    search = HeadSearch(head(known))
    found, likeness = search.best()
    assert np.linalg.norm(((found - known) @ CORNERS)[:3], axis=0).max() < 12  # mm: gradients lead on from there
    away = known.copy()
    away[:3, 3] += (0, 30, -20)
    assert search.likeness(away) < 0.3 < 0.5 < likeness


def test_the_search_does_not_depend_on_brightness_or_on_where_the_scanner_put_the_head() -> None:
    scan = head(pose((15, 0, 0)), neck=False)
    elsewhere = scan.affine.copy()
    elsewhere[:3, 3] += (40.0, -80.0, 120.0)
    there, _ = HeadSearch(Image(0.5 * scan.data, elsewhere, scan.path)).best()
    here, _ = HeadSearch(scan).best()
    away = there[:3, 3] - here[:3, 3]
    np.testing.assert_allclose(away, (40, -80, 120), atol=1.0)
    np.testing.assert_allclose(there[:3, :3], here[:3, :3], atol=0.01)


def test_noise_smaller_than_a_step_is_searched_without_a_fault() -> None:
    noise = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    matrix, likeness = HeadSearch(Image(noise, np.diag([0.1, 0.1, 0.1, 1.0]), Path("x"))).best()
    assert np.isfinite(matrix).all()
    assert likeness < 0.35
