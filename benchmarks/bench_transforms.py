"""Every transform's time, and an epoch of the auto-encoder's batches behind one that keeps scans, or does not."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from common import SHAPE, Brains, machine, median_seconds, setting

from normfed_client.imaging.template import anatomy
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.entries import build
from normfed_common.models.autoencoder import AutoEncoder, AutoEncoderConfig
from normfed_common.studies import validate_learner
from normfed_common.study.preprocessing import PreprocessingConfig
from normfed_common.transforms import transformed
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.transformed import TransformedCohort

PEOPLE, LIMIT = 8, 5.0
VOLUME_S = 0.3
BEFORE_MODEL = "histogram-template"


def learnt(name: str, cohort: Cohort) -> ScanTransform:
    """A transform that has learnt from a cohort."""
    where = replace(
        setting(), value_range=PreprocessingConfig().value_range, open_anatomy=partial(anatomy, setting().voxel_size_mm)
    )
    found = build(TRANSFORMS, validate_learner(TRANSFORMS, {"name": name}, name), where)
    for phase in found.phases():
        found.absorb(phase.name, found.statistics(phase.name, cohort, np.random.default_rng(0)))
    return found


class EveryAccess(Brains):
    """Keeps nothing."""

    def __init__(self, count: int, transform: ScanTransform) -> None:
        super().__init__(count)
        self.transform = transform

    def scan(self, index: int) -> Scan:
        """One brain, transformed."""
        return transformed.transformed(super().scan(index), [self.transform])


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
    brains = Brains(PEOPLE)
    for name in TRANSFORMS:
        one = learnt(name, brains)
        taken = median_seconds(partial(transformed.transformed, brains.scan(0), [one])) / len(one.setting.modalities)
        print(f"{name}: {taken:.3f} s a volume; limit {VOLUME_S:g} s: {'met' if taken <= VOLUME_S else 'MISSED'}")
    transforms = [learnt(BEFORE_MODEL, brains)]
    bare, every = epoch_s(brains), epoch_s(EveryAccess(PEOPLE, transforms[0]))
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
