"""What a study claims of privacy, as metrics.json holds it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from normfed_common.privacy.spending import Kind
from normfed_common.study.base import Frozen

Unit = Literal["patient", "sample", "site"]


class Mechanism(Frozen):
    """Gaussian noise on sums over a sample, all of one kind; see `SampledGaussian`."""

    of: Kind = Field(description="of a model")
    noise_multiplier: float = Field(description="standard deviation of the noise, in norms")
    sampling_rate: float
    releases: int = Field(description="in all; of rounds the steps of training, at a trusted server the rounds")
    sites: int = Field(1, description="that add the noise together, each its share, at the least; 1 where each adds it")
    numbers: int = Field(0, description="that the largest release consists of; 0 of runs before this was counted")


class Spent(Frozen):
    """What one model takes."""

    epsilon: float
    sites: tuple[str, ...] = Field(description="that train it")
    mechanisms: tuple[Mechanism, ...]
    alone: float | None = Field(
        None, description="epsilon where no other site adds its share of distributed noise; null where each adds all"
    )

    @property
    def noise_sites(self) -> int:
        """How many sites are trusted to add their shares of the noise; 1 where none is trusted."""
        return max((mechanism.sites for mechanism in self.mechanisms), default=1)


class Guarantee(Frozen):
    """Differential privacy at one delta: of people at their own site, or of sites at the server."""

    unit: Unit
    epsilon: float = Field(description="asked for one model")
    delta: float
    models: dict[str, Spent]
    total: float = Field(description="epsilon of all models together, at the site that is in most")

    @property
    def noise_sites(self) -> int:
        """The most that a model's noise is of; 1 where no site is trusted to add any."""
        return max((spent.noise_sites for spent in self.models.values()), default=1)

    @property
    def alone(self) -> float:
        """Epsilon of the model that takes most, where a site's own share is all the noise that there is."""
        return max((spent.alone or spent.epsilon for spent in self.models.values()), default=0.0)


class PrivacyFigures(Frozen):
    """What is claimed."""

    people: Guarantee | None
    sites: Guarantee | None
    minimum_sites: int | None = Field(
        description="in a sum by secure aggregation; null where the server sees single sites"
    )
    outside: tuple[str, ...] = Field(description="models that were learnt from people and that no guarantee covers")
