"""How much of the next model is whose: weights, and a bound on one site's share of them."""

from __future__ import annotations

from collections.abc import Mapping

DOMINANT = 0.5  # of the weights: a site with more decides alone


def limited(weights: Mapping[str, float], most: float) -> dict[str, float]:
    """Weights of which none is above ``most`` times their sum: the largest are cut to one level, the others stay.

    The level t solves t = most * sum_i min(w_i, t). Where so few sites cannot all stay below ``most``, they count
    alike.

    Parameters
    ----------
    weights
        Site to its weight, positive.
    most
        In (0, 1].
    """
    if len(weights) * most <= 1:
        return dict.fromkeys(weights, 1.0)
    level, falling = 0.0, sorted(weights.values(), reverse=True)
    for cut, largest in enumerate(falling):
        level = most * sum(falling[cut:]) / max(1 - cut * most, 1e-12)
        if largest <= level:
            break
    return {site: min(weight, level) for site, weight in weights.items()}


def factors(weights: Mapping[str, float], most: float) -> dict[str, float]:
    """What to multiply each site's counts by, so that none has more than ``most`` of them all: at most 1.

    See `limited` for the parameters.
    """
    kept = {site: weight / weights[site] for site, weight in limited(weights, most).items()}
    largest = max(kept.values(), default=1.0)
    return {site: share / largest for site, share in kept.items()}


def of(weights: Mapping[str, float]) -> dict[str, float]:
    """Each site's share of the sum."""
    total = sum(weights.values())
    return {site: weight / total for site, weight in weights.items()} if total > 0 else {}
