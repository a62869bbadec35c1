"""What is done to every anomaly map before anybody sees it: nothing by default.

Fixed by the study, for a model and its baselines alike; nothing of it is ever chosen by the people who are tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from normfed_common.study.base import Frozen


class PostprocessingConfig(Frozen):
    """In this order: fluid, edges and grey matter weigh less, smoothing, small peaks cut down."""

    fluid: Literal["keep", "template", "patient"] = Field(
        "keep",
        description="0 in fluid: `template` where the template has it, `patient` where the person's T1 (FLAIR, T2) has",
    )
    edge_mm: float = Field(0.0, ge=0, le=50, description="depth below the brain mask's surface that counts as its edge")
    edge_factor: float = Field(0.0, ge=0, le=1, description="of scores in the edge; 0 is an erosion")
    grey_factor: float = Field(
        1.0,
        ge=0,
        le=1,
        description="of scores far from white matter, rising to 1 in the midst of the template's (spread by 5 mm): for "
        "lesions of white matter, as WMH, MS and most tumours are; needs scores that are near 0 where all is normal",
    )
    smoothing_mm: float = Field(
        0.0, ge=0, le=20, description="standard deviation of a Gaussian inside the mask; 2.355 times less than its FWHM"
    )
    minimum_cluster_mm3: float = Field(
        0.0, ge=0, le=100_000, description="a peak is cut down to the level at which it is as large as this"
    )

    @model_validator(mode="after")
    def _an_edge_has_a_depth(self) -> PostprocessingConfig:
        if self.edge_factor and not self.edge_mm:
            raise ValueError("edge_factor says nothing without edge_mm: say how deep the edge is, or leave it out")
        return self

    @property
    def is_off(self) -> bool:
        """Whether maps stay as they are."""
        edge = self.edge_mm > 0 and self.edge_factor < 1
        weighted = edge or self.fluid != "keep" or self.grey_factor < 1
        return not (weighted or self.smoothing_mm or self.minimum_cluster_mm3)

    @property
    def title(self) -> str:
        """What the name of a model has behind it, such as ``smoothed-1.4mm+edge-5mm``; ``raw`` of nothing."""
        edge = f"edge-{self.edge_mm:g}mm" + (f"-x{self.edge_factor:g}" if self.edge_factor else "")
        parts = {
            f"smoothed-{self.smoothing_mm:g}mm": self.smoothing_mm,
            edge: self.edge_mm and self.edge_factor < 1,
            f"no-{self.fluid}-fluid": self.fluid != "keep",
            f"grey-x{self.grey_factor:g}": self.grey_factor < 1,
            f"peaks-{self.minimum_cluster_mm3:g}mm3": self.minimum_cluster_mm3,
        }
        return "+".join(name for name, used in parts.items() if used) or "raw"


KEY = "postprocessing"  # of a study, and of a model's entry beside its parameters
OFF = PostprocessingConfig()


def shows_fluid(modalities: Sequence[str]) -> str | None:
    """The modality that tells a person's fluid from tissue best; None where none does."""
    enhanced = [name for name in modalities if name.endswith("_T1w")]
    return next((name for name in ("T1w", *enhanced, "FLAIR", "T2w") if name in modalities), None)
