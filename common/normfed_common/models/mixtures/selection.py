"""How many classes: the fitted likelihood, and what every parameter costs.

    BIC = -2 L + p log n                               (Schwarz 1978)
    slope heuristic = -L + 2 kappa p                   (Baudry, Maugis, Michel 2012, Statistics and Computing 22:455)

with L the log-likelihood, p the parameters, n the voxels, and kappa the slope of L over p among the largest half of the
numbers tried. Neighbouring voxels are alike, so that n voxels are worth fewer: BIC takes too many classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np

FEWEST_FOR_A_SLOPE = 4  # numbers of classes: a line through the two largest, and two to choose from beside


@dataclass(frozen=True)
class Fit:
    """A fitted mixture of so many ``classes``: its log-likelihood over all voxels, its number of parameters."""

    classes: int
    log_likelihood: float
    parameters: int


@dataclass(frozen=True)
class Choice:
    """The criteria of a fit, lower = better; ``slope`` is None where too few numbers of classes were tried."""

    fit: Fit
    bic: float
    slope: float | None


def bic(fit: Fit, voxels: float) -> float:
    """Schwarz's criterion."""
    return -2 * fit.log_likelihood + fit.parameters * log(voxels)


def slope_heuristic(fits: Sequence[Fit]) -> list[float]:
    """The criterion of every fit; kappa is never below 0."""
    largest = sorted(fits, key=lambda fit: fit.classes)[-max(2, -(-len(fits) // 2)) :]
    parameters, likelihoods = ([getattr(fit, name) for fit in largest] for name in ("parameters", "log_likelihood"))
    kappa = max(0.0, float(np.polyfit(parameters, likelihoods, 1)[0]))
    return [-fit.log_likelihood + 2 * kappa * fit.parameters for fit in fits]


def choices(fits: Sequence[Fit], voxels: float) -> tuple[Choice, ...]:
    """All criteria of all fits, in their order."""
    slopes = slope_heuristic(fits) if len(fits) >= FEWEST_FOR_A_SLOPE else [None] * len(fits)
    return tuple(Choice(fit, bic(fit, voxels), slope) for fit, slope in zip(fits, slopes, strict=True))


def best(found: Sequence[Choice], criterion: Literal["bic", "slope"]) -> Fit:
    """The fit with the lowest criterion; the smallest of several."""
    return min(found, key=lambda choice: (getattr(choice, criterion), choice.fit.classes)).fit
