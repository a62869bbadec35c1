"""How the sites learn together, and what the result stands beside."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from normfed_common.study.base import Frozen


class FederationConfig(Frozen):
    """Rounds of training."""

    algorithm: str = Field("fedavg", description="a row of the table of algorithms")
    rounds: int = Field(20, ge=1, le=100_000)
    local_epochs: int = Field(1, ge=1, le=1000, description="passes over the site's subjects per round")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="of Adam, new in every round")
    minimum_cohort: int = Field(
        3, ge=1, description="a site with fewer training subjects sends no update, with fewer test subjects no figures"
    )
    threads_per_site: int = Field(
        1, ge=1, le=64, description="CPU threads while a site trains; part of the study, since sums depend on it"
    )


class ComparisonConfig(Frozen):
    """What stands beside the federated model in every table."""

    local: bool = Field(True, description="every site trains alone; gives the train-site x test-site matrix")
    pooled: bool = Field(True, description="all scans in one place, as no federation could (simulation only)")
    baselines: tuple[dict[str, Any], ...] = Field(
        ({"name": "intensity"}, {"name": "atlas"}), description="models with their parameters, as under `model`"
    )
