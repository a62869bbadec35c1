"""The sample that is kept of latents, against sorting all of them, and by chance."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.scoring.reservoir import Reservoir


@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(1, 6), st.integers(0, 99))
def test_those_with_the_smallest_keys_are_kept_however_latents_arrive(sizes: list[int], most: int, seed: int) -> None:
    rng, count = np.random.default_rng(seed), sum(sizes)
    latents = rng.random((count, 3)).astype(np.float32)
    cells = rng.integers(0, 4, count)
    keys = np.random.default_rng(seed).random(count)
    reservoir = Reservoir(most, 3, np.random.default_rng(seed))
    for stop in np.cumsum(sizes):
        begin = stop - sizes[0]
        sizes = sizes[1:]
        reservoir.add(latents[begin:stop], cells[begin:stop])
    expected = [
        row
        for cell in range(4)
        for row in sorted((row for row in range(count) if cells[row] == cell), key=lambda row: keys[row])[:most]
    ]
    np.testing.assert_array_equal(reservoir.latents, latents[expected].reshape(-1, 3))
    np.testing.assert_array_equal(reservoir.cells, cells[expected])


def test_the_first_and_the_last_to_arrive_are_kept_as_often() -> None:
    """3 of 12, in 2000 draws: 500 times each, with a standard deviation of about 19."""
    kept = np.zeros(12)
    for seed in range(2000):
        reservoir = Reservoir(3, 1, np.random.default_rng(seed))
        for number in range(12):
            reservoir.add(np.full((1, 1), number, np.float32), np.zeros(1, int))
        kept[reservoir.latents[:, 0].astype(int)] += 1
    assert kept.sum() == 6000
    assert np.abs(kept - 500).max() < 5 * 19
