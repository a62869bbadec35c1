"""Draw patches from volumes, without a Python loop over patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from normfed_common.learning.cohort import Cohort, Scan

SUBJECTS_PER_BATCH = 4  # different people in one batch, so that a step does not follow one person's scanner


def extract(images: np.ndarray, flat_index: np.ndarray, patch_size: int) -> np.ndarray:
    """Axial patches centred at voxels whose patch lies inside the grid.

    Parameters
    ----------
    images
        (C, X, Y, Z).
    flat_index
        (n,) flat indices into (X, Y, Z).

    Returns
    -------
    float32 of shape (n, C, p, p).
    """
    x, y, z = np.unravel_index(flat_index, images.shape[1:])
    radius = patch_size // 2
    windows = sliding_window_view(images, (patch_size, patch_size), axis=(1, 2))
    return np.moveaxis(windows[:, x - radius, y - radius, z], 0, 1)


def shared_locations(first: Scan, second: Scan, count: int, patch_size: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` voxels, with replacement, that are normal in both volumes and whose patch lies inside the grid.

    Fewer than ``count`` where the two hardly overlap, none where they do not overlap at all.
    """
    found: list[np.ndarray] = []
    missing = count
    for _ in range(8):  # each turn finds what the last one missed; brains on a common grid overlap by nine tenths
        candidates = rng.choice(first.normal_index, size=missing + missing // 4 + 8)
        inside = _inside(candidates, first.mask.shape, patch_size)
        candidates = candidates[inside & second.is_normal(candidates)][:missing]
        found.append(candidates)
        missing -= len(candidates)
        if missing == 0:
            break
    return np.concatenate(found)


def normal_locations(scan: Scan, count: int, patch_size: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` normal voxels, with replacement, whose patch lies inside the grid; none where none is such."""
    candidates = scan.normal_index[_inside(scan.normal_index, scan.mask.shape, patch_size)]
    return rng.choice(candidates, count) if len(candidates) else candidates


def _inside(flat_index: np.ndarray, shape: tuple[int, ...], patch_size: int) -> np.ndarray:
    """Around which voxels a patch lies inside the grid."""
    x, y, _z = np.unravel_index(flat_index, shape)
    radius = patch_size // 2
    found: np.ndarray = (x >= radius) & (x < shape[0] - radius) & (y >= radius) & (y < shape[1] - radius)
    return found


def siamese_batches(
    cohort: Cohort,
    pairs_per_subject: int,
    batch_size: int,
    patch_size: int,
    rng: np.random.Generator,
    usable: Callable[[Scan], Scan] = lambda scan: scan,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch of patch pairs at the same location of two different people.

    Every scan is the first of a pair ``pairs_per_subject`` times; the partner is drawn anew for every batch, among the
    scans of all other people. A lone person is paired with themselves.

    Parameters
    ----------
    usable
        Is called on every scan that is opened; may raise.

    Yields
    ------
    float32 of shape (n, 2, C, p, p), and int64 of shape (n, 2): the people whose patches they are.
    """
    owner = np.empty(len(cohort), int)
    for person, visits in enumerate(cohort.people()):
        owner[list(visits)] = person
    share = max(1, batch_size // min(SUBJECTS_PER_BATCH, len(cohort)))
    turns = np.repeat(np.arange(len(cohort)), -(-pairs_per_subject // share))
    sizes = np.minimum(
        share, pairs_per_subject - share * np.tile(np.arange(-(-pairs_per_subject // share)), len(cohort))
    )
    parts: list[np.ndarray] = []
    people: list[np.ndarray] = []
    for turn in rng.permutation(len(turns)):
        first = int(turns[turn])
        following = (first + 1 + np.arange(len(cohort) - 1)) % len(cohort)
        partners = following[owner[following] != owner[first]]
        other = int(partners[rng.integers(len(partners))]) if len(partners) else first
        scans = usable(cohort.scan(first)), usable(cohort.scan(other))
        where = shared_locations(*scans, int(sizes[turn]), patch_size, rng)
        if len(where):
            parts.append(np.stack([extract(scan.images, where, patch_size) for scan in scans], 1))
            people.append(np.tile([scan.person.index for scan in scans], (len(where), 1)))
        if sum(map(len, parts)) >= batch_size:
            yield np.concatenate(parts), np.concatenate(people)
            parts, people = [], []
    if parts:
        yield np.concatenate(parts), np.concatenate(people)
