"""Values as deviations from their middle, in units of their own spread, so that they mean the same in every scan."""

from __future__ import annotations

import numpy as np

QUARTILES_PER_SD = 1.349  # between the quartiles of a normal distribution, in standard deviations


def in_deviations(values: np.ndarray) -> np.ndarray:
    """(x - mean) / standard deviation, of float64 (n,); 0 where all are alike."""
    if not values.size or values.min() == values.max():
        return np.zeros_like(values)
    found: np.ndarray = (values - values.mean()) / values.std()
    return found


def in_robust_deviations(values: np.ndarray) -> np.ndarray:
    """(x - median) / u, u = (q75 - q25) / 1.349, of float64 (n,); 0 where all are alike.

    Where more than half are alike, the standard deviation stands for u.
    """
    if not values.size:
        return values
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    unit = (high - low) / QUARTILES_PER_SD or values.std()
    return (values - median) / unit if unit > 0 else np.zeros_like(values)


def are_deviations(value_range: tuple[float, float]) -> bool:
    """Whether values of this range are deviations from a middle, as z-scores are, and not shares between percentiles:
    by the range alone, which is public."""
    return value_range[0] <= -1
