"""An auto-encoder of single voxels: how unusual their modalities are beside each other, wherever they lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from normfed_common.foundation import seeds
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.initialisation import initialise
from normfed_common.study.base import Frozen


class VoxelsConfig(Frozen):
    """What a study may write beside the model's name."""

    latent: int = Field(1, ge=1, le=16, description="numbers that a voxel's values are squeezed into")
    voxels_per_scan: int = Field(2000, ge=1, le=1_000_000, description="in an epoch")
    batch_size: int = Field(100, ge=1, le=100_000)


class Voxels(NormativeModel):
    """Abnormal is what does not come out as it went in."""

    Config: ClassVar[type[Frozen]] = VoxelsConfig

    def __init__(self, config: VoxelsConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        channels = len(setting.modalities)
        encoder = nn.Sequential(nn.Linear(channels, 16), nn.Tanh(), nn.Linear(16, config.latent))
        decoder = nn.Sequential(nn.Linear(config.latent, 16), nn.Tanh(), nn.Linear(16, channels))
        network = nn.Sequential(encoder, decoder)
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "voxels"))
        self.network = network.to(setting.device)
        self.parts = {"encoder": encoder, "decoder": decoder}

    def phases(self) -> tuple[Phase, ...]:
        """One, of as many rounds as the study says."""
        return (Phase("training", "averaged"),)

    @classmethod
    def samples_per_person(cls, config: VoxelsConfig) -> int:
        """At most, from one scan in an epoch."""
        return config.voxels_per_scan

    def most_batches(self, phase: str, scans: int) -> int:
        """At most, in an epoch over so many scans."""
        return scans * math.ceil(self.config.voxels_per_scan / self.config.batch_size)

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """An epoch, on the CPU: normal voxels of one scan after the other, (n, C) each."""
        for index in rng.permutation(len(cohort)):
            scan = self.with_every_modality(cohort.scan(int(index)))
            chosen = rng.choice(scan.normal_index, self.config.voxels_per_scan)
            values = torch.from_numpy(scan.images.reshape(len(scan.images), -1)[:, chosen].T.copy())
            for some in values.split(self.config.batch_size):
                yield Batch({"values": some}, torch.full((len(some), 1), scan.person.index))

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """Of each sample, (n,), where the network is; dropout or noise would be drawn from ``rng``."""
        return self._error(batch.data["values"])

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The squared error at every voxel of the brain."""
        scan = self.with_every_modality(visits[-1])
        values = torch.from_numpy(scan.images[:, scan.mask].T.copy()).to(self.setting.device)
        with torch.inference_mode(), self.setting.autocast():
            error = self._error(values)
        anomaly = np.zeros(scan.mask.shape, np.float32)
        anomaly[scan.mask] = error.float().cpu().numpy()
        return Score(anomaly)

    def _error(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over the modalities, (n,)."""
        assert self.network is not None
        error: torch.Tensor = (self.network(values) - values).square().mean(1)
        return error
