"""An epoch of the auto-encoder's batches behind a transform of scans, against transforming at every access."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from common import SHAPE, Brains, machine, setting

from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.models.autoencoder import AutoEncoder, AutoEncoderConfig
from normfed_common.study.base import Frozen
from normfed_common.transforms import transformed
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.transformed import TransformedCohort

PEOPLE, LIMIT = 8, 5.0
QUANTILES = np.linspace(0, 1, 11, dtype=np.float32)


class Quantiles(ScanTransform):
    """Piecewise linear between quantiles of the brain, as Nyul 2000 standardises."""

    Config: ClassVar[type[Frozen]] = Frozen

    def transform(self, scan: Scan) -> Scan:
        """Each modality's quantiles become 0, 0.1, ..., 1."""
        images = np.zeros_like(scan.images)
        for channel, values in enumerate(scan.images):
            inside = values[scan.mask]
            images[channel][scan.mask] = np.interp(inside, np.quantile(inside, QUANTILES), QUANTILES)
        return replace(scan, images=images)


class EveryAccess(Brains):
    """Keeps nothing."""

    def scan(self, index: int) -> Scan:
        """One brain, transformed."""
        return Quantiles(Frozen(), setting()).transform(super().scan(index))


def epoch_s(cohort: Cohort) -> float:
    """Seconds to make all batches of one epoch."""
    model = AutoEncoder(AutoEncoderConfig(), setting())
    begin = time.perf_counter()
    for _ in model.batches("training", cohort, np.random.default_rng(0)):
        pass
    return time.perf_counter() - begin


def main() -> None:
    torch.set_num_threads(1)
    print(machine())
    brains, transforms = Brains(PEOPLE), [Quantiles(Frozen(), setting())]
    bare, every = epoch_s(brains), epoch_s(EveryAccess(PEOPLE))
    kept = epoch_s(TransformedCohort(brains, transforms))
    transformed.OPEN_BYTES = PEOPLE // 2 * 9 * int(np.prod(SHAPE))
    half = epoch_s(TransformedCohort(brains, transforms))
    print(
        f"{PEOPLE} people, without a transform {bare:.1f} s; at every access {every:.1f} s; kept {kept:.1f} s, ratio "
        f"{every / kept:.1f}; half of them kept {half:.1f} s; limit {LIMIT:g} times: "
        f"{'met' if every >= LIMIT * kept else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
