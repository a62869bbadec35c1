"""Augmentation: alike for both, nothing outside, the median stays about where it was."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_common.models.synthetic import augmentation
from normfed_common.models.synthetic.augmentation import augmented

SHAPE = (20, 22, 8)
MASK = np.zeros(SHAPE, bool)
MASK[3:-3, 3:-3, 1:-1] = True
UNITS = np.where(MASK, np.random.default_rng(0).normal(0, 1, (2, *SHAPE)), -5).astype(np.float32)


def test_the_same_without_an_anomaly_stays_the_same() -> None:
    found = augmented(np.stack([UNITS, UNITS]), MASK, 2, np.random.default_rng(1))[0]
    np.testing.assert_array_equal(found[0], found[1])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :, ~MASK], -5)
    assert np.abs(found[0] - UNITS)[:, MASK].mean() > 0.05


def test_seeds_repeat_and_differ() -> None:
    one, same, other = (augmented(np.stack([UNITS, UNITS]), MASK, 2, np.random.default_rng(s))[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_values_stay_within_units_and_medians_near_0() -> None:
    extreme = np.where(MASK, UNITS * 5, -5).astype(np.float32)
    medians = []
    for seed in range(20):
        found = augmented(np.stack([extreme, UNITS]), MASK, 2, np.random.default_rng(seed))[0]
        assert -5 <= found.min() <= found.max() <= 8
        medians.append(np.median(found[1][:, MASK], 1))
    assert np.abs(medians).mean() < 0.5


def test_contrast_alone_bends_around_0_with_slope_1(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BIAS", "BLURRED", "SCALE", "MEDIAN", "NOISE"):
        monkeypatch.setattr(augmentation, name, 0.0)
    near = np.where(MASK, np.linspace(-0.01, 0.01, MASK.size).reshape(SHAPE), -5)[None].astype(np.float32)
    far = np.where(MASK, 4.0, -5)[None].astype(np.float32)
    bent = augmented(np.stack([near, far]), MASK, 2, np.random.default_rng(4))[0]
    np.testing.assert_allclose(bent[0, 0, MASK], near[0, MASK], atol=2e-5)
    assert np.abs(bent[1, 0, MASK] - 4).min() > 0.05


def test_blur_takes_nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONTRAST", "BIAS", "SCALE", "MEDIAN", "NOISE"):
        monkeypatch.setattr(augmentation, name, 0.0)
    monkeypatch.setattr(augmentation, "BLURRED", 1.0)
    flat = np.where(MASK, 1.0, -5)[None].astype(np.float32)
    found = augmented(np.stack([flat, flat]), MASK, 2, np.random.default_rng(0))[0]
    np.testing.assert_allclose(found[:, 0, MASK], 1, atol=1e-5)


def test_nothing_is_carried_further_than_is_said() -> None:
    spot = UNITS.copy()
    spot[:, 10, 11, 4] += 3
    reaches = set()
    for seed in range(30):
        found, reach = augmented(np.stack([UNITS, spot]), MASK, 2, np.random.default_rng(seed))
        changed = np.flatnonzero((found[0] != found[1]).any((0, 1, 2)))
        assert np.abs(changed - 4).max() <= reach
        assert changed[[0, -1]].tolist() == [max(4 - reach, 1), min(4 + reach, 6)]
        reaches.add(reach)
    assert 0 in reaches
    assert len(reaches) > 2


def test_blur_and_bias_are_as_wide_in_mm_on_any_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws on a grid of half the voxel size carry twice as many slices, and bend half as often."""
    knots = []
    monkeypatch.setattr(augmentation, "smooth_noise", lambda shape, cell, rng: knots.append(cell) or np.zeros(shape))
    for seed in range(20):
        coarse, fine = (augmentation._blur(size, np.random.default_rng(seed)) for size in (2.0, 1.0))
        np.testing.assert_array_equal(np.multiply(coarse, 2), fine)
    for size in (1, 2):
        augmented(np.stack([UNITS, UNITS]), MASK, size, np.random.default_rng(0))
    assert knots == [60, 60, 30, 30]
