"""Statistics that a few wrong people in a small cohort cannot bend: medians and what is usual around them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

FROM_MAD = 1.4826  # of a normal distribution's median absolute deviation to its standard deviation
COHORTS = 20_000  # simulated for a limit
MOST = 100  # people: beyond, the limit hardly changes


def robust_z(values: np.ndarray, least_spread: float = 1e-6) -> np.ndarray:
    """(n,) distances from the median in robust standard deviations; NaN stays NaN.

    Parameters
    ----------
    least_spread
        That counts at all: people who are all alike are not far from each other.

    Source: Iglewicz & Hoaglin 1993, the modified z-score.
    """
    if not np.isfinite(values).any():
        return np.full(len(values), np.nan)
    away = values - np.nanmedian(values)
    found: np.ndarray = away / max(FROM_MAD * float(np.nanmedian(np.abs(away))), least_spread)
    return found


@lru_cache(maxsize=256)
def limit(people: int, alarms: float) -> float:
    """The robust z that the most unusual of so many normally distributed people exceeds in a share ``alarms`` of
    cohorts.

    Of ten people the median absolute deviation is uncertain, so that a fixed limit of 3.5 names somebody in one normal
    cohort in four; this one does so as often for ten people as for a hundred.

    Parameters
    ----------
    alarms
        Share of clean cohorts in which somebody is named, on one side.
    """
    count = min(max(people, 3), MOST)
    drawn = np.random.default_rng(0).standard_normal((COHORTS // max(1, count // 10), count))
    away = drawn - np.median(drawn, 1, keepdims=True)
    spread = FROM_MAD * np.median(np.abs(away), 1)
    return float(np.quantile(away.max(1) / spread, 1 - alarms))


def medians(values: np.ndarray) -> np.ndarray:
    """Medians over the first axis without NaN, (n, ...) to (...); NaN where there is nothing else. `np.nanmedian` takes
    ten times as long."""
    count = np.isfinite(values).sum(0)
    ordered = np.sort(values, 0)  # NaN last
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, len(values) - 1)
    found: np.ndarray = (
        np.take_along_axis(ordered, low[None], 0)[0] + np.take_along_axis(ordered, high[None], 0)[0]
    ) / 2
    return found
