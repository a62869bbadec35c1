"""Which one-class score a study asks for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from normfed_common.learning.setting import Setting
from normfed_common.scoring.base import OneClassHead
from normfed_common.scoring.federated import FederatedHead
from normfed_common.scoring.location import LocationHead
from normfed_common.scoring.patient import PatientHead
from normfed_common.study.base import Frozen


class OneClassConfig(Frozen):
    """One-class SVM in latent space (Alaverdyan 2020; Pinon 2023)."""

    fit_on: Literal["patient", "location", "federated"] = Field(
        "patient", description="the person's own latents, each location's normal latents, or all sites' through sums"
    )
    nu: float = Field(0.03, gt=0, le=1, description="upper bound on the share of outliers in the training latents")
    samples: int = Field(500, ge=10, le=20_000, description="latents a machine (patient) or a person (federated)")
    models: int = Field(5, ge=1, le=100, description="machines whose mean is the score (patient)")
    features: int = Field(1024, ge=16, le=16_384, description="random Fourier features (federated)")
    spacing_mm: float = Field(6.0, gt=0, description="edge of a location (location)")
    minimum_subjects: int = Field(20, ge=2, description="below this a site uses the federated Gaussian (location)")


def build_head(config: OneClassConfig, dimension: int, setting: Setting) -> OneClassHead:
    """The one-class score of a study, for latents of ``dimension``."""
    if config.fit_on == "patient":
        return PatientHead(config.nu, config.samples, config.models, setting.device)
    if config.fit_on == "federated":
        return FederatedHead(dimension, config.nu, config.samples, config.features, setting.seed, setting.device)
    cell = max(1, round(config.spacing_mm / setting.voxel_size_mm))
    return LocationHead(dimension, config.nu, cell, setting.shape, config.minimum_subjects, setting.voxel_size_mm)
