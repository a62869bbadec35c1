"""Which figures are computed, and how finely."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from normfed_common.study.base import Frozen

ThresholdBy = Literal["whole-brain", "tissue"]
MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class EvaluationConfig(Frozen):
    """Metrics of anomaly maps; evaluation happens at the sites, only counts and sums leave them."""

    bins: int = Field(1000, ge=10, le=20_000, description="quantiles of normal and of lesion voxels: histogram edges")
    specificity: float = Field(0.98, gt=0.5, lt=1, description="of the threshold, on held-out normal people's voxels")
    threshold_by: ThresholdBy = Field(
        "whole-brain",
        exclude_if=lambda by: by == "whole-brain",  # studies without the key keep their digests
        description="one threshold, or one each for grey and white matter, fluid and the brain's rim; p-values alike",
    )
    surface_tolerance_mm: float = Field(1.0, gt=0, description="of the surface Dice")
    minimum_cluster_mm3: float = Field(40.0, ge=0, description="smaller clusters of abnormal voxels are not counted")
    metrics: tuple[MetricName, ...] = Field(
        (),
        max_length=32,
        description="names of plug-in metrics (entry points of the group normfed.metrics), beside the built-in ones",
    )
    bootstrap: int = Field(1000, ge=0, le=20_000, description="resamplings of the patients within each site")

    def minimum_cluster_voxels(self, voxel_size_mm: float) -> int:
        """The smallest cluster that is counted."""
        return round(self.minimum_cluster_mm3 / voxel_size_mm**3)
