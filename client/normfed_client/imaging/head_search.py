"""Where the brain lies in a whole head, roughly: registration by gradients takes over from there.

A head has a neck, a scalp and often a tilt: neither its centre of mass nor the field of view's is near the brain's, and
gradients lead from there to the nearest optimum, not to the brain. So poses below the top of the head are tried, tilted
forwards and backwards, rolled and turned, and the likeliest are improved without gradients (Powell 1964), first with
one scale, then with three; all but the last step in a few places only. They start small: a template that is too large
finds the scalp. Likeness is the correlation ratio of the scan given the template (Roche 1998), over the brain and the
dark rim of fluid and skull around it; what lies outside the field of view counts as 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from normfed_client.imaging.nifti import Image
from normfed_client.imaging.template import BRAIN_LEVEL, whole

STEP_MM = 4  # of the grid on which poses are compared
SMOOTHING_MM = 3.0  # of the scan before, as a standard deviation
RIM = 2  # steps around the brain that are compared as well
EVERY = 4  # one place in so many is compared: neighbours say the same
LEVELS = 16  # of the template's intensity
CLIPPED = 98  # percentile: fat is many times brighter than the brain
FOREGROUND = 0.15  # of the range of intensities: above is head, below is air
TOP_MM2 = 2000.0  # the top of the head is the highest plane in which it is this large
UPPER_MM = 120.0  # of the head, without neck and most of the face
SPARSE = 4  # of the compared places one in so many until a pose is chosen
PITCHES = range(-45, 61, 15)  # degrees, chin up
ROLLS = YAWS = (-25, 0, 25)  # degrees, to a shoulder and about the neck
DEPTHS_MM = range(20, 121, 20)  # of the brain's centre below the top of the head
FORWARDS_MM = (-40.0, -20.0, 0.0, 20.0)
KEPT = 10  # starts that are improved with one scale
STRETCHED = 2  # of them that are with three, from their own scale and from a small one
START_SCALE, SMALL_SCALE = -16.0, -18.0  # of 100 ln(scale)
APART = 8.0  # degrees or mm: poses that are nearer than this to each other are one
USUAL_SCALE, SCALE_SPREAD, SCALE_WEIGHT = -9.0, 7.0, 0.02  # of 100 ln(scale): MNI152 is larger than most brains

Pose = Sequence[float]  # three angles in degrees, three shifts in mm, one or three of 100 ln(scale)


class HeadSearch:
    """A scan, its head's top, and the likeness of poses of the template in it."""

    def __init__(self, scan: Image) -> None:
        t1, affine = whole("t1", STEP_MM)
        brain = t1 > BRAIN_LEVEL
        compared = ndimage.binary_dilation(brain, iterations=RIM)
        self._points = _places(compared, affine)[::EVERY].T
        self._centre = _places(brain, affine).mean(0)
        smooth = ndimage.gaussian_filter(t1 * brain, 0.5)[compared][::EVERY]
        self._level = np.clip(smooth * LEVELS, 0, LEVELS - 1).astype(int)
        self._values, moved = _coarse(scan)
        self._to_voxel = np.linalg.inv(moved)
        self._top = _top(self._values, moved)
        self._values = np.minimum(self._values, np.percentile(self._values[_head(self._values)], CLIPPED))

    def best(self) -> tuple[np.ndarray, float]:
        """The likeliest affine from the template's world to the scan's, (4, 4), and its likeness, 0 to 1."""
        similar = self._likeliest(self._improved(start, 10.0, SPARSE) for start in self._starts())
        scales = ((*pose[:6], *[scale] * 3) for pose in similar[:STRETCHED] for scale in (pose[6], SMALL_SCALE))
        stretched = self._likeliest(self._improved(start, 5.0, SPARSE) for start in scales)
        found = self._improved(stretched[0], 2.0)
        matrix = self._matrix(found)
        return matrix, self.likeness(matrix)

    def likeness(self, matrix: np.ndarray, every: int = 1) -> float:
        """Correlation ratio of the scan given the template, 0 to 1, in the brain and its rim, under an affine from the
        template's world to the scan's, (4, 4); of one in ``every`` of the places."""
        to_voxel = self._to_voxel @ matrix
        places = to_voxel[:3, :3] @ self._points[:, ::every] + to_voxel[:3, 3:]
        values = ndimage.map_coordinates(self._values, places, order=1, prefilter=False)
        level = self._level[::every]
        counts = np.maximum(np.bincount(level, minlength=LEVELS), 1)
        sums, mean = np.bincount(level, values, LEVELS), values.mean()
        between = (counts * (sums / counts - mean) ** 2).sum()
        return float(between / max(((values - mean) ** 2).sum(), 1e-9))

    def _starts(self) -> list[Pose]:
        """At every tilt the likeliest place below the top of the head; of these the likeliest."""
        return self._likeliest(map(self._likeliest_at, itertools.product(PITCHES, ROLLS, YAWS)))[:KEPT]

    def _likeliest(self, poses: Iterable[Pose]) -> list[Pose]:
        """Likeliest first, without those that are near a likelier one."""
        kept: list[Pose] = []
        for pose in sorted(poses, key=lambda pose: self._cost(pose, SPARSE)):
            if all(np.abs(np.subtract(pose, other))[:6].max() > APART for other in kept):
                kept.append(pose)
        return kept

    def _likeliest_at(self, tilt: tuple[float, float, float]) -> Pose:
        """Of all places below the top of the head."""
        places = itertools.product(FORWARDS_MM, DEPTHS_MM)
        poses = ((*tilt, 0.0, forward, -depth, START_SCALE) for forward, depth in places)
        return min(poses, key=lambda pose: self._cost(pose, SPARSE))

    def _improved(self, start: Pose, step: float, every: int = 1) -> Pose:
        directions = np.diag([step] * 6 + [5.0] * (len(start) - 6))
        options = {"xtol": 0.05, "ftol": 2e-3, "maxfev": 600, "direc": directions}
        found: list[float] = optimize.minimize(self._cost, start, (every,), "Powell", options=options).x.tolist()
        return found

    def _matrix(self, pose: Pose) -> np.ndarray:
        """The template turned and stretched about its brain's centre, which comes to lie at a shift from the head's
        top."""
        matrix = np.eye(4)
        turned = Rotation.from_euler("xyz", pose[:3], degrees=True).as_matrix()
        matrix[:3, :3] = turned * np.exp(np.asarray(pose[6:]) / 100)
        matrix[:3, 3] = self._top + pose[3:6] - matrix[:3, :3] @ self._centre
        return matrix

    def _cost(self, pose: Pose, every: int = 1) -> float:
        unusual = np.mean(((np.asarray(pose[6:]) - USUAL_SCALE) / SCALE_SPREAD) ** 2)
        return SCALE_WEIGHT * float(unusual) - self.likeness(self._matrix(pose), every)


def _places(where: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(N, 3), world coordinates of voxels."""
    found: np.ndarray = np.argwhere(where) @ affine[:3, :3].T + affine[:3, 3]
    return found


def _coarse(scan: Image) -> tuple[np.ndarray, np.ndarray]:
    """The scan at about STEP_MM, from 0 on, and its affine."""
    size = scan.voxel_size_mm
    step = np.maximum(1, np.round(STEP_MM / size)).astype(int)
    x, y, z = step
    values = ndimage.gaussian_filter(scan.data, SMOOTHING_MM / size)[::x, ::y, ::z]
    affine = scan.affine.copy()
    affine[:3, :3] = affine[:3, :3] * step
    return np.maximum(values - np.percentile(values, 1), 0), affine


def _head(values: np.ndarray) -> np.ndarray:
    """bool, of the same shape: what is brighter than air; everything, if all is alike."""
    head: np.ndarray = values >= FOREGROUND * np.percentile(values, 99)
    return head


def _top(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(3,), world coordinates of the middle of the head at the height of its top."""
    places = _places(_head(values), affine)
    plane = np.floor(places[:, 2] / STEP_MM).astype(int)
    area = np.bincount(plane - plane.min()) * abs(np.linalg.det(affine[:3, :3])) / STEP_MM
    large = np.flatnonzero(area > TOP_MM2)
    top = STEP_MM * (plane.min() + (large.max() + 1 if large.size else area.size))
    upper = places[places[:, 2] > top - UPPER_MM, :2]
    return np.array([*(upper.mean(0) / 2 + (upper.min(0) + upper.max(0)) / 4), top])
