"""Random scans for tests that need no anatomy."""

from __future__ import annotations

import numpy as np
import torch

from normfed_common.learning.anatomy import Anatomy
from normfed_common.learning.cohort import Person, Scan
from normfed_common.learning.setting import Setting
from normfed_common.study.preprocessing import PreprocessingConfig

SHAPE = (26, 28, 6)
DEVICE = torch.device("cpu")  # of networks; `pytest --device cuda` puts another here


def anatomy(shape: tuple[int, int, int] = SHAPE) -> Anatomy:
    """Shells: fluid inside, white matter around it, then grey, in an ellipsoid brain."""
    radius = sum(a**2 for a in np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    grey, white, fluid = (
        ((low <= radius) & (radius < high)).astype(np.float32) for low, high in ((0.5, 0.9), (0.1, 0.5), (0, 0.1))
    )
    return Anatomy(0.6 * grey + 0.9 * white + 0.3 * fluid, grey, white, fluid)


def setting(modalities: tuple[str, ...] = ("T1w", "FLAIR"), shape: tuple[int, int, int] = SHAPE) -> Setting:
    """That of a study with its defaults."""
    return Setting(
        modalities,
        2,
        shape,
        seed=3,
        device=DEVICE,
        value_range=PreprocessingConfig().value_range,
        open_anatomy=lambda: anatomy(shape),
    )


def scan(rng: np.random.Generator, channels: int = 2, shape: tuple[int, int, int] = SHAPE, person: int = 0) -> Scan:
    """Noise inside an ellipsoid brain that differs a little from scan to scan; every third person has no age or sex."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mask = sum(a**2 for a in axes) + 0.1 * rng.standard_normal(shape) < 0.9
    images = rng.random((channels, *shape), np.float32) * mask
    whose = Person(person, 30.0 + 9 * person, "F" if person % 2 else "M") if person % 3 else Person(person)
    return Scan(images, mask, np.flatnonzero(mask).astype(np.int32), np.ones(channels, bool), whose)


class People:
    """A cohort of random scans in memory."""

    def __init__(self, count: int, seed: int = 0, channels: int = 2, visits: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.scans = [scan(rng, channels, person=person) for person in range(count) for _ in range(visits)]

    def __len__(self) -> int:
        return len(self.scans)

    def people(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for index, one in enumerate(self.scans):
            found.setdefault(one.person.index, []).append(index)
        return list(found.values())

    def scan(self, index: int) -> Scan:
        return self.scans[index]


def split(people: People, *sizes: int) -> list[People]:
    """The same scans as several smaller cohorts."""
    parts, start = [], 0
    for size in sizes:
        part = People(0)
        part.scans = people.scans[start : start + size]
        parts.append(part)
        start += size
    return parts
