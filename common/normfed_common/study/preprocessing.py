"""From a scan as the scanner wrote it to a volume on the common grid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from normfed_common.study.base import Frozen

BRAIN_MM3 = 1.9e6  # of the template; on the common grid it has 1.88e6 at every voxel size
GRID_MM3 = 8e6  # of the common grid, which has 5.0e6 at 1 mm and 7.8e6 at 4 mm
Z_RANGE = (-5.0, 5.0)
WIDEST_CLIP = 1e6  # far beyond any normalised value, and its square is far from float32's largest


class PreprocessingConfig(Frozen):
    """Registration to MNI152, brain mask, intensity normalisation."""

    voxel_size_mm: int = Field(2, ge=1, le=4, description="of the common grid in MNI152 space")
    bias_correction: bool = Field(False, description="N4 (Tustison 2010) before registration; not of FA and MD")
    normalisation: Literal["percentiles", "z-score"] = Field(
        "percentiles", description="inside the brain, per scan; FA and MD keep their own units, of 1 and of free water"
    )
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
        if not -WIDEST_CLIP <= self.clip[0] < self.clip[1] <= WIDEST_CLIP:
            raise ValueError(f"clip must ascend within {-WIDEST_CLIP:.0e} to {WIDEST_CLIP:.0e}")
        return self

    @property
    def value_range(self) -> tuple[float, float]:
        """What normalised values are clipped to."""
        return self.clip if self.normalisation == "percentiles" else Z_RANGE

    @property
    def most_voxels(self) -> float:
        """The most voxels that one scan's brain can have: a larger mask overlaps too little with the template's.

        A mask of m voxels and a template of b have a Dice of at most 2 b / (m + b).
        """
        beyond = BRAIN_MM3 * (2 / max(self.minimum_overlap, 1e-3) - 1)
        return min(beyond, GRID_MM3) / self.voxel_size_mm**3
