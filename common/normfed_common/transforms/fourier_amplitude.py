"""The low frequencies of a scan get the mean amplitude of all scans of all sites, and keep their phase.

F the Fourier transform of a modality, 0 outside the brain; A = |F| within |f| <= beta along every axis, in periods per
voxel, so that nothing shorter than 1 / beta voxels changes.

learnt:  mean over scans of log(1 + A), by sums
scan:    F exp(mean) / A there, transformed back, 0 outside the brain, and clipped to the study's range of values

On a common grid this is done in three dimensions. Most of an amplitude is anatomy, which people who are registered to
one template share, but of a person's own, such as large ventricles, some is lost as well. Every scan is changed, in
training as in scoring: an augmentation by another amplitude, drawn anew at every step, would be no transform, whose
result depends on nothing but the scan and what was learnt.

Nobody's part is bounded for differential privacy: there is no public amplitude to start from.

FDA: Yang & Soatto 2020 (CVPR). Federated, FedDG: Liu et al. 2021 (CVPR).
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import fft

from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.setting import Setting
from normfed_common.study.base import Frozen
from normfed_common.study.preprocessing import GRID_MM3
from normfed_common.transforms.means import LearnsMeans


class FourierAmplitudeConfig(Frozen):
    """How low frequencies are."""

    beta: float = Field(
        0.05, gt=0, le=0.25, description="highest frequency that changes, in periods per voxel: 0.05 is 40 mm at 2 mm"
    )


class FourierAmplitude(LearnsMeans):
    """The low frequencies of a scan get the mean amplitude of all scans of all sites, and keep their phase."""

    Config: ClassVar[type[Frozen]] = FourierAmplitudeConfig
    cited: ClassVar[tuple[str, ...]] = ("yang2020", "liu2021")

    def __init__(self, config: FourierAmplitudeConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        largest = max(map(abs, setting.value_range))
        self.most = float(np.log1p(largest * GRID_MM3 / setting.voxel_size_mm**3))

    def shape(self, found: tuple[int, ...] = ()) -> tuple[int, ...]:
        """(2 bx + 1, 2 by + 1, bz + 1): half of the spectrum, which the other half mirrors."""
        if found and self.setting.open_anatomy is None:
            if len(found) != 3 or 0 in found:
                raise WireError(f"amplitudes have the shape {found}; it must have three axes")
            return found
        bx, by, bz = self._highest()
        return 2 * bx + 1, 2 * by + 1, bz + 1

    def described(self, volume: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
        """log(1 + A)."""
        spectrum = fft.rfftn(volume, axes=(0, 1, 2))
        found: np.ndarray = np.log1p(np.abs(spectrum[self._low()]).astype(np.float64))
        return np.minimum(found, self.most)

    def transform(self, scan: Scan) -> Scan:
        """See the module; a modality that nobody had stays as it is."""
        images = np.zeros_like(scan.images)
        for channel in np.flatnonzero(scan.present).tolist():
            mean = self.mean(channel)
            volume = scan.images[channel] if mean is None else self._changed(scan.images[channel], mean)
            images[channel][scan.mask] = np.clip(volume[scan.mask], *self.value_range)
        return replace(scan, images=images)

    def _changed(self, volume: np.ndarray, mean: np.ndarray) -> np.ndarray:
        spectrum, low = fft.rfftn(volume, axes=(0, 1, 2)), self._low()
        amplitude = np.abs(spectrum[low])
        phase = np.divide(spectrum[low], amplitude, out=np.ones_like(spectrum[low]), where=amplitude > 0)
        spectrum[low] = phase * np.expm1(mean)
        found: np.ndarray = fft.irfftn(spectrum, volume.shape, axes=(0, 1, 2))
        return found

    def _highest(self) -> tuple[int, int, int]:
        """Periods along each axis of the grid."""
        bx, by, bz = (int(self.config.beta * length) for length in self.setting.shape)
        return bx, by, bz

    def _low(self) -> tuple[np.ndarray, ...]:
        """Where the low frequencies are in half of a spectrum."""
        bx, by, bz = self._highest()
        return np.ix_(np.arange(-bx, bx + 1), np.arange(-by, by + 1), np.arange(bz + 1))
