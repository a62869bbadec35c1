"""Transforms that change every modality alone, by the values that it has in the brain, wherever these lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
from pydantic import Field, model_validator

from normfed_common.learning.cohort import Scan
from normfed_common.study.base import Frozen
from normfed_common.study.preprocessing import WIDEST_CLIP
from normfed_common.transforms.each_modality import EachModality


class Clipped(Frozen):
    """To what values are clipped afterwards."""

    clip: tuple[float, float] = Field((-5.0, 8.0), description="values are clipped to this range afterwards")

    @model_validator(mode="after")
    def _ascends(self) -> Clipped:
        if not -WIDEST_CLIP <= self.clip[0] < self.clip[1] <= WIDEST_CLIP:
            raise ValueError(f"clip must ascend within {-WIDEST_CLIP:.0e} to {WIDEST_CLIP:.0e}")
        return self


class ByValue(EachModality, ABC):
    """See the module. A modality that is absent stays so."""

    @property
    def value_range(self) -> tuple[float, float]:
        """What values are clipped to."""
        clip: tuple[float, float] = self.config.clip
        return clip

    def transform(self, scan: Scan) -> Scan:
        """The scan with its modalities changed."""
        images = np.zeros_like(scan.images)
        if scan.mask.any():
            for channel in np.flatnonzero(scan.present).tolist():
                values = scan.images[channel][scan.mask].astype(np.float64)
                images[channel][scan.mask] = np.clip(self.changed(values, channel, scan.mask), *self.value_range)
        return replace(scan, images=images)

    @abstractmethod
    def changed(self, values: np.ndarray, channel: int, mask: np.ndarray) -> np.ndarray:
        """What a modality's values in the brain become, before they are clipped.

        Parameters
        ----------
        values
            float64 of shape (n,), at least one.
        channel
            Of the modality.
        mask
            bool of shape (X, Y, Z): where they lie.

        Returns
        -------
        Finite, of shape (n,).
        """
