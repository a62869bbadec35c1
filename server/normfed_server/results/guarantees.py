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
    numbers: int = Field(0, description="that the largest release consists of; 0 of runs before this was counted")


class Spent(Frozen):
    """What one model takes."""

    epsilon: float
    sites: tuple[str, ...] = Field(description="that train it")
    mechanisms: tuple[Mechanism, ...]


class Guarantee(Frozen):
    """Differential privacy at one delta: of people at their own site, or of sites at the server."""

    unit: Unit
    epsilon: float = Field(description="asked for one model")
    delta: float
    models: dict[str, Spent]
    total: float = Field(description="epsilon of all models together, at the site that is in most")


class PrivacyFigures(Frozen):
    """What is claimed."""

    people: Guarantee | None
    sites: Guarantee | None
    minimum_sites: int | None = Field(
        description="in a sum by secure aggregation; null where the server sees single sites"
    )
    outside: tuple[str, ...] = Field(description="models that were learnt from people and that no guarantee covers")
