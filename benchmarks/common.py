"""What several benchmarks share: a line per figure, the machine, and a synthetic cohort in memory."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import numpy as np
import torch

from normfed_common.learning.cohort import Person, Scan
from normfed_common.learning.setting import Setting

SHAPE = (89, 106, 80)  # the common grid at 2 mm


def machine() -> str:
    """One line about where this ran."""
    threads = torch.get_num_threads()
    return f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {threads} thread(s), torch {torch.__version__}"


def median_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of ``repeats`` calls after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def setting(modalities: tuple[str, ...] = ("T1w", "FLAIR")) -> Setting:
    """The demo's setting."""
    return Setting(modalities, 2, SHAPE, seed=1)


class Brains:
    """A cohort of random brains at 2 mm, as large as real ones."""

    def __init__(self, count: int) -> None:
        axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
        rng = np.random.default_rng(0)
        self.scans = []
        for person in range(count):
            mask = sum((a / s) ** 2 for a, s in zip(axes, (0.88, 0.9, 1.0), strict=True)) < 0.9
            depth_first = rng.random((2, SHAPE[2], *SHAPE[:2]), np.float32)  # axial slices contiguous, as in the cache
            images = depth_first.transpose(0, 2, 3, 1)
            images *= mask
            self.scans.append(
                Scan(images, mask, np.flatnonzero(mask).astype(np.int32), np.ones(2, bool), Person(person))
            )

    def __len__(self) -> int:
        return len(self.scans)

    def people(self) -> list[list[int]]:
        """One scan a person."""
        return [[index] for index in range(len(self.scans))]

    def scan(self, index: int) -> Scan:
        """One brain."""
        return self.scans[index]
