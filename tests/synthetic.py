"""Random volumes for tests that need no anatomy."""

from __future__ import annotations

import numpy as np

from normfed_common.learning.cohort import Volume
from normfed_common.learning.setting import Setting

SHAPE = (26, 28, 6)


def setting(modalities: tuple[str, ...] = ("T1w", "FLAIR"), shape: tuple[int, int, int] = SHAPE) -> Setting:
    return Setting(modalities, 2, shape, seed=3)


def volume(rng: np.random.Generator, channels: int = 2, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """Noise inside an ellipsoid brain that differs a little from one volume to the next."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mask = sum(a**2 for a in axes) + 0.1 * rng.standard_normal(shape) < 0.9
    images = rng.random((channels, *shape), np.float32) * mask
    return Volume(images, mask, np.flatnonzero(mask).astype(np.int32))


class People:
    """A cohort of random volumes in memory."""

    def __init__(self, count: int, seed: int = 0, channels: int = 2) -> None:
        rng = np.random.default_rng(seed)
        self.volumes = [volume(rng, channels) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.volumes)

    def volume(self, subject: int) -> Volume:
        return self.volumes[subject]


def split(people: People, *sizes: int) -> list[People]:
    """The same volumes as several smaller cohorts."""
    parts, start = [], 0
    for size in sizes:
        part = People(0)
        part.volumes = people.volumes[start : start + size]
        parts.append(part)
        start += size
    return parts
