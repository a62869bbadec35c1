"""From a scan as the scanner wrote it to a volume on the common grid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from normfed_common.study.base import Frozen


class PreprocessingConfig(Frozen):
    """Registration to MNI152, brain mask, intensity normalisation."""

    voxel_size_mm: int = Field(2, ge=1, le=4, description="of the common grid in MNI152 space")
    bias_correction: bool = Field(False, description="N4 (Tustison 2010) before registration")
    normalisation: Literal["percentiles", "z-score"] = Field("percentiles", description="inside the brain, per scan")
    percentiles: tuple[float, float] = Field((1.0, 99.0), description="mapped to 0 and 1 by `percentiles`")
    clip: tuple[float, float] = Field((0.0, 2.0), description="normalised values are clipped to this range")
    minimum_overlap: float = Field(
        0.80,
        ge=0,
        le=1,
        description="Dice of the registered brain with the template's below which a subject is left out",
    )
    lesion_margin_mm: float = Field(
        6.0, ge=0, description="tissue nearer than this to a lesion is not normal (matters for lesion-free-tissue)"
    )

    @model_validator(mode="after")
    def _ranges_ascend(self) -> PreprocessingConfig:
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("percentiles must ascend within 0 to 100")
        if not self.clip[0] < self.clip[1]:
            raise ValueError("clip must ascend")
        return self
