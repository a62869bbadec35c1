"""Sites alike in all but the number of their people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field, model_validator

from normfed_simulation.splits.base import DividedPerson, Sites, Split, check_enough, dealt


class QuantityConfig(Sites):
    """How unequal the sizes are."""

    alpha: float | None = Field(
        None, gt=0, le=1e6, description="the shares are drawn from a symmetric Dirichlet distribution: small is unequal"
    )
    power: float | None = Field(
        None, ge=0, le=100, description="the shares fall as rank to the minus this power: 0 is equal, 1 is Zipf's law"
    )
    minimum: int = Field(1, ge=1, description="people that every site has at least")

    @model_validator(mode="after")
    def _one_rule(self) -> QuantityConfig:
        if (self.alpha is None) == (self.power is None):
            raise ValueError("needs alpha or power, and not both")
        return self


class Quantity(Split):
    """Sites of unequal sizes whose people are drawn alike: by a Dirichlet distribution, or by a power of the rank."""

    Config = QuantityConfig
    cited = ("li2022",)

    def divide(self, people: Sequence[DividedPerson], rng: np.random.Generator) -> list[str]:
        """See `Split`."""
        sites = self.config.sites
        check_enough(people, sites, self.config.minimum)
        if self.config.alpha is None:
            shares = np.arange(1.0, sites + 1) ** -self.config.power
        else:
            shares = rng.dirichlet(np.full(sites, self.config.alpha))
        return dealt(apportioned(shares, len(people), self.config.minimum).tolist(), rng)


def apportioned(shares: np.ndarray, people: int, minimum: int) -> np.ndarray:
    """Whole numbers (sites,) that add up to ``people`` and are nearest to these shares (sites,), none below a minimum.

    Largest remainders; what sites lack to the minimum the largest sites give, one at a time.
    """
    exact = shares / shares.sum() * people
    sizes = np.floor(exact).astype(int)
    order = np.argsort(sizes - exact, kind="stable")
    sizes[order[: people - sizes.sum()]] += 1
    while sizes.min() < minimum:
        sizes[np.argmax(sizes)] -= 1
        sizes[np.argmin(sizes)] += 1
    return sizes
