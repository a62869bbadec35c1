"""Sums that sites move add up to the recursion of one place, and to its average."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.models.mixtures import online

ROUNDS = 7


def batches(rng: np.random.Generator, sites: int) -> list[Arrays]:
    """Of one round: a site's count, and sums of some of its people."""
    counts = rng.integers(1, 50, sites).astype(float)
    return [{"count": np.array(n), "s": n * rng.random(3)} for n in counts]


def test_the_sites_sums_are_the_recursion_over_all_voxels_and_its_average_over_the_last_half() -> None:
    rng, last, states = np.random.default_rng(0), None, []
    for step in range(ROUNDS):
        drawn = batches(rng, 3)
        last = add(online.moved(one, last, ROUNDS) for one in drawn)
        total = add(drawn)
        mean, size = total["s"] / total["count"], (step + 2) ** -0.6
        states.append(mean if step == 0 else (1 - size) * states[-1] + size * mean)
        np.testing.assert_allclose(last["s"] / last["count"], states[-1], rtol=1e-12)
        assert online.steps_done(last) == step + 1
    averaged = np.mean(states[ROUNDS // 2 :], axis=0)
    np.testing.assert_allclose(last["average.s"] / last["count"], averaged, rtol=1e-12)


def test_before_the_last_half_the_average_is_the_sum_itself() -> None:
    rng, last = np.random.default_rng(1), None
    for _ in range(ROUNDS // 2):
        last = online.moved(batches(rng, 1)[0], last, ROUNDS)
        np.testing.assert_array_equal(last["average.s"], last["s"])


def test_the_first_step_takes_the_batch_alone_and_later_ones_less_and_less() -> None:
    sizes = [online.step_size(step) for step in range(20)]
    assert sizes[0] == 1
    assert sizes[1] == pytest.approx(3**-0.6)
    assert (np.diff(sizes) < 0).all()
