"""How the segmentation of brains is trained, as a recipe says; loads no network, so that recipes are listed quickly."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from normfed_common.study.base import Frozen
from normfed_common.study.federation import Precision

LEVELS = 3  # halvings of the network
MULTIPLE = 2**LEVELS  # of which the sides of a slice must be multiples
Federated = Literal["fedavg", "fedbn"]


class SegmentationConfig(Frozen):
    """How the networks are trained; defaults as published."""

    filters: int = Field(16, ge=1, le=256, description="of the finest resolution")
    crop: int = Field(256, ge=2 * MULTIPLE, le=1024, multiple_of=MULTIPLE, description="pixels")
    batch_size: int = Field(16, ge=2, le=4096, description="slices")
    epochs: int = Field(100, ge=1, le=100_000, description="federated: rounds")
    batches_per_epoch: int = Field(100, ge=1, le=100_000, description="federated: of all sites together")
    learning_rate: float = Field(1e-3, gt=0, le=10)
    slower_from: int = Field(80, ge=1, description="the epoch from which on the rate is a tenth")
    seed: int = Field(0xBADCAFE, ge=0, lt=2**63)
    precision: Precision = "float32"
    folds: int = Field(3, ge=2, le=100, description="of the cross-validation within a scanner")
    held_back: int = Field(
        4, ge=0, description="people of the scanner trained on whom another scanner's model never sees"
    )
    held_back_in_folds: int = Field(2, ge=0, description="the same within each fold")
