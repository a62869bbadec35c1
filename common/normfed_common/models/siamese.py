"""Siamese patch auto-encoder with a one-class score of its latents.

Alaverdyan, Jung, Bouet, Lartizien 2020 (Medical Image Analysis 60:101618); Pinon, Trombetta, Lartizien 2023 (ISBI,
arXiv 2302.13593; MIDL, arXiv 2304.08058). Trained on pairs of patches at the same place of two normal people:

    L(x1, x2) = sum_t ||x_t - decode(encode(x_t))||^2 - alpha cos(encode(x1), encode(x2))

with the squared norm summed over pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch.nn import functional

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.cohort import Cohort, Volume
from normfed_common.learning.setting import Places, Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.initialisation import initialise
from normfed_common.models.patch_networks import ARCHITECTURES
from normfed_common.models.patches import SUBJECTS_PER_BATCH, siamese_batches
from normfed_common.scoring.base import LatentField
from normfed_common.scoring.catalogue import OneClassEntry, build_head
from normfed_common.study.base import Frozen

ALONE = "The site has one person to train on: pairs have no second member, so the siamese term is off."
SLICES_AT_ONCE = 4  # a slab that stays in the processor's cache: four times faster than all slices together


class SiameseConfig(Frozen):
    """Parameters of the siamese auto-encoder; the published ones are a patch of 15 at 1 mm."""

    architecture: Literal["isbi", "alaverdyan"] = "isbi"
    patch_size: int = Field(15, ge=9, le=63, description="voxels, axial; isbi takes 9, 15, 21, ..., alaverdyan only 15")
    norm: Literal["layer", "batch"] = Field("layer", description="`batch` only to reproduce, never with privacy")
    alpha: float = Field(0.005, ge=0, le=10, description="weight of the cosine between a pair's latents (MLCN 2021)")
    pairs_per_subject: int = Field(25_000, ge=1, le=10_000_000, description="per epoch (ISBI 2023)")
    batch_size: int = Field(1000, ge=1, le=1_000_000, description="pairs (ISBI 2023)")
    one_class: OneClassEntry = Field({}, description="fit_on, which score of the latents, and its own parameters")

    @model_validator(mode="after")
    def _patch_fits(self) -> SiameseConfig:
        ARCHITECTURES[self.architecture].check(self.patch_size)
        return self


class Siamese(NormativeModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = SiameseConfig

    def __init__(self, config: SiameseConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        network = ARCHITECTURES[config.architecture](len(setting.modalities), config.patch_size, config.norm)
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "siamese"))
        self.network = self.autoencoder = network.to(setting.device)
        stem = network.stem_layers
        self.parts = {
            "stem": network.encoder[:stem],
            "encoder": network.encoder[stem:],
            "decoder": network.decoder,
        }
        self.head = build_head(config.one_class, network.latent_dimension, setting)
        self.stages, self.keeps_to_site = self.head.stages, self.head.keeps_to_site
        self._alpha = config.alpha

    @classmethod
    def samples_per_person(cls, config: SiameseConfig) -> int:
        """Pairs that everybody is the first of."""
        return config.pairs_per_subject

    def places(self, stage: str) -> Places | None:
        """Those of the one-class score."""
        return self.head.places(stage)

    def batches(self, cohort: Cohort, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Pairs of patches, float32 of shape (batch, 2, C, p, p); a lone person has no pair, so alpha is off."""
        self._alpha = self.config.alpha if len(cohort) > 1 else 0.0
        pinned = self.setting.device.type == "cuda"
        for pairs in siamese_batches(
            cohort, self.config.pairs_per_subject, self.config.batch_size, self.config.patch_size, rng
        ):
            batch = torch.from_numpy(pairs)
            if pinned:
                batch = batch.pin_memory()
            yield batch.to(self.setting.device, non_blocking=pinned)

    def most_batches(self, scans: int) -> int:
        """As many as turns of one person, if no two of them shared a batch."""
        share = max(1, self.config.batch_size // SUBJECTS_PER_BATCH)
        return scans * -(-self.samples_per_person(self.config) // share)

    def notes(self, people: int) -> tuple[str, ...]:
        """A lone person has no pair."""
        return (ALONE,) if people == 1 else ()

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        """The siamese loss, mean over the pairs of (batch, 2, C, p, p)."""
        patches = batch.flatten(0, 1)
        latents = self.autoencoder.encode(patches)
        residual = (patches - self.autoencoder.decode(latents)).square().sum() / len(batch)
        if self._alpha == 0:
            return residual
        first, second = latents.unflatten(0, (-1, 2)).unbind(1)
        return residual - self._alpha * functional.cosine_similarity(first, second).mean()

    def encode(self, volume: Volume) -> LatentField:
        """Latents of every brain voxel, by dense evaluation slab by slab."""
        device = self.setting.device
        depth = volume.mask.shape[2]
        index = np.flatnonzero(volume.mask)
        latents = torch.empty((len(index), self.autoencoder.latent_dimension))
        x, y, z = np.unravel_index(index, volume.mask.shape)
        # Outside the brain images are zero, as is what dense encoding pads with: the brain's box is enough.
        images = volume.images[:, x.min() : x.max() + 1, y.min() : y.max() + 1]
        x, y = x - x.min(), y - y.min()
        order = np.argsort(z, kind="stable")
        bounds = np.searchsorted(z[order], np.arange(0, depth + SLICES_AT_ONCE, SLICES_AT_ONCE))
        self.autoencoder.eval()
        with torch.inference_mode(), torch.autocast("cuda", enabled=device.type == "cuda"):
            for slab, (begin, end) in enumerate(pairwise(bounds)):
                if begin == end:
                    continue
                start = slab * SLICES_AT_ONCE
                stop = min(start + SLICES_AT_ONCE, depth)
                slices = torch.from_numpy(np.moveaxis(images[..., start:stop], 3, 0).copy()).to(device)
                field = self.autoencoder.encode_dense(slices).permute(0, 2, 3, 1)
                rows = order[begin:end]
                where = (torch.from_numpy(z[rows] - start), torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
                latents[torch.from_numpy(rows)] = field[where].float().cpu()
        return LatentField(latents, index, volume.mask.shape)

    def statistics(self, stage: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """What the one-class score needs of the site's latents."""
        return self.head.statistics(stage, (self._normal(cohort.volume(i)) for i in range(len(cohort))), rng)

    def counted(self, stage: str) -> Mapping[str, float]:
        """Those of the one-class score."""
        return self.head.counted(stage)

    def check(self, stage: str, sums: Arrays) -> None:
        """Those of the one-class score."""
        self.head.check(stage, sums)

    def absorb(self, stage: str, total: Arrays) -> None:
        """Hand the sums on to the one-class score."""
        super().absorb(stage, total)
        self.head.absorb(stage, total)

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """Fit what the one-class score keeps at the site."""
        self.head.personalise((self._normal(cohort.volume(i)) for i in range(len(cohort))), len(cohort), rng)

    def score(self, volume: Volume, rng: np.random.Generator) -> np.ndarray:
        """The one-class anomaly of every voxel's latent."""
        field = self.encode(volume)
        anomaly_map = np.zeros(volume.mask.size, np.float32)
        anomaly_map[field.index] = self.head.score(field, rng)
        return anomaly_map.reshape(volume.mask.shape)

    def _normal(self, volume: Volume) -> LatentField:
        field = self.encode(volume)
        keep = np.isin(field.index, volume.normal_index, assume_unique=True)
        return LatentField(field.latents[torch.from_numpy(keep)], field.index[keep], field.shape)
