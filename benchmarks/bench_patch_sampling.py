"""Siamese pairs drawn per second on one core, against a Python loop over patches in the same run."""

from __future__ import annotations

import numpy as np
import torch
from common import Brains, machine, median_seconds

from normfed_common.models.patchwise.patches import siamese_batches

PAIRS, LIMIT = 4000, 20_000


def loop(brains: Brains, pairs: int, patch: int, rng: np.random.Generator) -> np.ndarray:
    """One patch at a time, as first written by most of us."""
    radius, found = patch // 2, []
    while len(found) < pairs:
        first, second = (brains.scan(int(i)) for i in rng.choice(len(brains), 2, replace=False))
        x, y, z = np.unravel_index(int(rng.choice(first.normal_index)), first.mask.shape)
        inside = radius <= x < first.mask.shape[0] - radius and radius <= y < first.mask.shape[1] - radius
        if inside and second.mask[x, y, z]:
            box = np.s_[:, x - radius : x + radius + 1, y - radius : y + radius + 1, z]
            found.append(np.stack([first.images[box], second.images[box]]))
    return np.stack(found)


def main() -> None:
    torch.set_num_threads(1)
    brains = Brains(8)
    print(machine())
    for patch in (9, 15):
        ours = median_seconds(
            lambda p=patch: list(siamese_batches(brains, PAIRS // 8, 1000, p, np.random.default_rng(0)))
        )
        slow = median_seconds(lambda p=patch: loop(brains, PAIRS // 8, p, np.random.default_rng(0)), 3) * 8
        print(
            f"patch {patch:2d}: {PAIRS / ours:10,.0f} pairs/s; loop {PAIRS / slow:8,.0f} pairs/s; "
            f"ratio {slow / ours:5.1f}; limit {LIMIT:,} pairs/s: {'met' if PAIRS / ours >= LIMIT else 'MISSED'}"
        )


if __name__ == "__main__":
    main()
