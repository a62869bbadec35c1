"""What is kept of a mask is what would be made of it anew."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_common.foundation import masks
from normfed_common.foundation.masks import box_of, once_per_mask

RNG = np.random.default_rng(0)
MASKS = [RNG.random((5, 6, 7)) < 0.3 for _ in range(4)]


class Shifting:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.kept = once_per_mask(self.plain)

    def plain(self, mask: np.ndarray, axis: int) -> np.ndarray:
        self.asked += 1
        return np.roll(mask, 1, axis)


def test_a_mask_of_the_same_content_is_worked_on_once() -> None:
    shifting = Shifting()
    for _ in range(2):
        for mask in MASKS:
            np.testing.assert_array_equal(shifting.kept(mask.copy(), 1), np.roll(mask, 1, 1))
    assert shifting.asked == len(MASKS)


def test_another_argument_or_shape_is_another_result() -> None:
    shifting, mask = Shifting(), MASKS[0]
    for other, axis in ((mask, 0), (mask, 1), (mask.reshape(7, 6, 5), 0)):
        np.testing.assert_array_equal(shifting.kept(other, axis), np.roll(other, 1, axis))
    assert shifting.asked == 3


def test_what_a_caller_does_to_a_result_stays_with_the_caller() -> None:
    shifting, mask = Shifting(), MASKS[0]
    shifting.kept(mask, 0)[:] = True
    np.testing.assert_array_equal(shifting.kept(mask, 0), np.roll(mask, 1, 0))


def test_the_mask_used_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "KEPT_BYTES", 2 * np.packbits(MASKS[0]).nbytes)
    shifting = Shifting()
    for number in (0, 1, 0, 2, 0, 1):
        shifting.kept(MASKS[number], 0)
    assert shifting.asked == 4  # the second again: it was the oldest when the third came


def test_a_box_is_the_smallest_that_holds_the_mask() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[2, 3:5, 8] = mask[4, 4, 6] = True
    assert box_of(mask) == (slice(2, 5), slice(3, 5), slice(6, 9))
    assert not mask[box_of(np.zeros((9, 9, 9), bool))].size
