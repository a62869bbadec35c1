"""What a study protects, from whom, and how strongly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from normfed_common.study.base import Frozen


class SecureAggregationConfig(Frozen):
    """The server learns sums over sites only (Bonawitz 2017, ACM CCS, doi 10.1145/3133956.3133982)."""

    minimum_sites: int = Field(
        4,
        ge=3,
        le=1000,
        description="a sum is over at least so many sites: one of them and the server together still learn no more "
        "than the sum of the others",
    )
    colluding_sites: int = Field(
        1,
        ge=0,
        le=998,
        description="that may work for the server, against which all others are protected together; the more, the "
        "fewer may drop out: of n sites (n - colluding_sites - 1) / 2",
    )
    largest_change: float = Field(
        8.0,
        gt=0,
        le=1e6,
        description="of a weight in one round; a site whose update has a larger one sends nothing",
    )
    largest_sum: float = Field(
        1e12,
        gt=0,
        le=1e15,
        description="of a site, in any one number of its sums; a site with a larger one sends nothing; sums "
        "keep the digits of float64",
    )
    noise: Literal["each-site", "distributed"] = Field(
        "each-site",
        exclude_if=lambda noise: noise == "each-site",  # studies without the key keep their digests
        description="with epsilon: every site adds all the noise, and trusts nobody; or each its share, so that the "
        "sum of minimum_sites - colluding_sites of them has it all, which are trusted to add theirs",
    )

    @model_validator(mode="after")
    def _others_remain(self) -> SecureAggregationConfig:
        if self.minimum_sites < self.colluding_sites + 2:
            raise ValueError(
                f"minimum_sites is {self.minimum_sites}: a sum of so few, less the parts of {self.colluding_sites} "
                "colluding sites, may be one site's; at least colluding_sites + 2 must be in it"
            )
        return self


class CentralConfig(Frozen):
    """Clipping and noise at a trusted server: nobody who sees a model learns whether a *site* took part (McMahan 2018,
    arXiv 1710.06963)."""

    epsilon: float = Field(8.0, gt=0, le=1000, description="per site, of one model and all its rounds")
    delta: float = Field(1e-5, ge=1e-15, le=0.01, description="chance that more is told; far below one over the sites")
    clip_norm: float = Field(
        1.0, gt=0, le=1e6, description="of a site's update; with `adaptive` that of the first round"
    )
    adaptive: bool = Field(
        False, description="whether the norm follows the median of the updates' norms (Andrew 2021, arXiv 1905.03871)"
    )


OF_EPSILON = (
    "delta",
    "unit",
    "clip_norm",
    "sampling_rate",
    "steps_per_round",
    "samples_per_patient",
    "sums_share",
)  # say nothing without it


def _switched(entry: Any) -> Any:
    """``true`` is short for the defaults, ``false`` for nothing."""
    if entry is True:
        return {}
    return None if entry is False else entry


class PrivacyConfig(Frozen):
    """Differential privacy of people, at their own site; of sites, at the server; and secure aggregation."""

    epsilon: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="of one model, all its sums and rounds together, per patient of a site, against everybody who sees "
        "what leaves the site; nothing is clipped and no noise added when absent",
    )
    delta: float = Field(1e-5, ge=1e-15, le=0.01, description="chance that more is told; far below one over the people")
    unit: Literal["patient", "sample"] = Field(
        "patient", description="who is protected; `sample` protects one patch or slice of a person, which is no person"
    )
    clip_norm: float = Field(1.0, gt=0, le=1e6, description="of one patient's gradient")
    sampling_rate: float = Field(0.25, ge=1e-4, le=1, description="chance of a patient to be in a step of training")
    steps_per_round: int | None = Field(
        None, ge=1, le=100_000, description="local_epochs divided by sampling_rate when absent"
    )
    samples_per_patient: int = Field(
        100, ge=1, le=1_000_000, description="of one patient in one step, at most; their mean gradient is clipped"
    )
    sums_share: float = Field(
        0.5, gt=0, lt=1, description="of epsilon for sums, where a model is made of sums and of rounds"
    )
    secure_aggregation: Annotated[SecureAggregationConfig | None, BeforeValidator(_switched)] = Field(
        None, description="`true`, or its parameters", examples=["{minimum_sites: 4}"]
    )
    central: Annotated[CentralConfig | None, BeforeValidator(_switched)] = Field(
        None, description="`true`, or its parameters", examples=["{epsilon: 8}"]
    )

    @model_validator(mode="after")
    def _epsilon_for_its_parameters(self) -> PrivacyConfig:
        if self.epsilon is None:
            fields = type(self).model_fields
            said = [name for name in OF_EPSILON if getattr(self, name) != fields[name].default]
            if said:
                raise ValueError(
                    f"{', '.join(said)} without epsilon: no noise would be added. Add epsilon, such as 4, or leave "
                    f"{'them' if len(said) > 1 else 'it'} out"
                )
            if self.secure_aggregation is not None and self.secure_aggregation.noise == "distributed":
                raise ValueError(
                    "secure_aggregation.noise is distributed, without epsilon: no noise would be added. Add epsilon, "
                    "such as 4, or leave noise out"
                )
        return self

    @property
    def noise_sites(self) -> int:
        """How many sites the noise of a secure sum is of, each adding its share; 1 where each adds all of it."""
        secure = self.secure_aggregation
        if self.epsilon is None or secure is None or secure.noise == "each-site":
            return 1
        return secure.minimum_sites - secure.colluding_sites


NONE = PrivacyConfig()
