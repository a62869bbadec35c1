"""Parameters of the algorithms: published values where there are any, each with where it comes from."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from normfed_common.study.base import Frozen


class Nothing(Frozen):
    """An algorithm without parameters."""


class ProximalParameters(Frozen):
    """FedProx."""

    mu: float = Field(0.01, ge=0, le=1e4, description="weight of (mu/2) ||w - w_global||^2; published 0.001 to 1")


class MomentumParameters(Frozen):
    """FedAvgM."""

    momentum: float = Field(0.9, ge=0, lt=1, description="of the server's steps")
    server_learning_rate: float = Field(1.0, gt=0, le=100, description="of the server; 1 takes the mean as it is")


class AdaptiveParameters(Frozen):
    """FedAdam, FedYogi."""

    server_learning_rate: float = Field(1e-2, gt=0, le=100, description="Reddi 2021 tunes it; 0.001 in Manthe 2024")
    beta_1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of the server's steps")
    beta_2: float = Field(0.99, ge=0, lt=1, description="decay of the mean of their squares")
    tau: float = Field(1e-3, gt=0, description="the smaller, the more adaptive; Reddi 2021 1e-3, Manthe 2024 1e-8")


class AdagradParameters(Frozen):
    """FedAdagrad: no momentum, squares are summed and never forgotten."""

    server_learning_rate: float = Field(1e-2, gt=0, le=100, description="of the server")
    tau: float = Field(1e-3, gt=0, description="the smaller, the more adaptive")


class FairParameters(Frozen):
    """q-FedAvg."""

    q: float = Field(1.0, ge=0, le=10, description="0 is FedAvg with equal sites; larger helps the worst site")
    smoothness: float | None = Field(
        None, gt=0, description="L; when absent 1 / learning rate with sgd, as published, and 1 with adam"
    )


class ControlledParameters(Frozen):
    """SCAFFOLD."""

    server_learning_rate: float = Field(1.0, gt=0, le=100, description="of the server; 1 takes the mean as it is")


class PersonalPartParameters(Frozen):
    """FedPer: the parts of the network that stay at the site."""

    personal: tuple[str, ...] = Field(("decoder",), min_length=1, description="names of the network's parts")


class PersonalStemParameters(Frozen):
    """LG-FedAvg: the parts nearest to the image stay at the site."""

    personal: tuple[str, ...] = Field(("stem",), min_length=1, description="names of the network's parts")


class AlternatingParameters(PersonalPartParameters):
    """FedRep: the personal parts are trained first, then the shared ones with the personal fixed."""

    personal_epochs: int = Field(1, ge=1, le=1000, description="of the personal parts, per round; published 10")


class DittoParameters(Frozen):
    """Ditto."""

    model_config = ConfigDict(serialize_by_alias=True)

    lambda_: float = Field(
        0.1,
        ge=0,
        le=1e4,
        alias="lambda",
        description="pull of the personal model towards the global one; 0 is local-only",
    )


class FineTuningParameters(Frozen):
    """Local fine-tuning of the last global model."""

    epochs: int = Field(5, ge=1, le=10_000, description="at each site; published 30, after 300 rounds")
    learning_rate: float | None = Field(None, gt=0, le=1, description="the study's when absent")


class IfcaParameters(Frozen):
    """IFCA: every site trains the one of k models that fits its data best."""

    clusters: int = Field(2, ge=1, le=50, description="how many models; each site trains that with the lowest loss")


class SplitParameters(Frozen):
    """CFL (Sattler 2020): a cluster at a standstill whose sites still pull apart is split in two."""

    from_round: int | None = Field(None, ge=1, description="no split before; half the rounds when absent")
    standstill: float = Field(
        0.4, gt=0, le=1, description="split when the mean update's norm is below this share of the cluster's largest"
    )
    disagreement: float = Field(
        0.1, ge=0, le=1, description="and the cluster's largest update is above this share of the run's largest"
    )


class PriorParameters(Frozen):
    """Clusters known before, from scanner, field, vendor or pathology."""

    clusters: dict[str, tuple[str, ...]] = Field(min_length=1, description="name of the cluster to its sites")
    from_round: int | None = Field(None, ge=1, description="one model for all before; half the rounds when absent")

    @model_validator(mode="after")
    def _a_site_has_one_cluster(self) -> PriorParameters:
        sites = [site for members in self.clusters.values() for site in members]
        twice = sorted({site for site in sites if sites.count(site) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is in two clusters")
        return self


class TrimmedParameters(Frozen):
    """Trimmed mean."""

    beta: float = Field(0.2, ge=0, lt=0.5, description="share of sites cut off at either end of each coordinate")


class KrumParameters(Frozen):
    """Krum."""

    malicious: int = Field(1, ge=0, description="sites that may lie; needs 2 malicious + 3 sites")


class MultiKrumParameters(KrumParameters):
    """Multi-Krum."""

    selected: int | None = Field(None, ge=1, description="updates that are averaged; all but the malicious when absent")


class ClippingParameters(Frozen):
    """Norm clipping."""

    norm: float | None = Field(None, gt=0, description="bound of an update's L2 norm; the round's median when absent")
