"""Diffusion time estimation (DTE): a latent is as abnormal as the noise is strong that makes normal ones like it.

Livernoche, Jain, Hezaveh, Ravanbakhsh 2024 (ICLR), categorical, on the closed-form latents of patches that `location`
has: `diffusion` adds noise to standardised latents of normal tissue, and trains a network, by cross-entropy, to tell
the bin b of B in which the time of the noise lies. The score of a voxel, and its uncertainty, are mean and standard
deviation of b under the network's posterior p, between 0 and B - 1:

    s = sum_b p_b b,    sd^2 = sum_b p_b b^2 - s^2

Constants are the published ones, but Adam starts anew in every round, at `federation.learning_rate` (published 1e-4),
and has no weight decay (published 5e-4); the network learns from its logits (published, from a softmax of them).

Latents at their place matter more than the network. Leave-one-site-out on real T1 and FLAIR, 10 rounds, one seed, 21
people, average precision: location `ignored`, as published, .102; `coordinates` .161; `gaussian` .307. The distance
that `location` has of the same latents reaches .297 without a network (+.010, 95 % -.000 to +.022: a tie), plain
intensity .654. On T1 after healthy people of three sites, 21 others: `gaussian` .076, `location` .085, the atlas .153.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch.nn import functional

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Places, Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.initialisation import initialise
from normfed_common.models.location import PATCHES, Location, LocationConfig
from normfed_common.models.patchwise.diffusion import TimeNetwork, noised
from normfed_common.models.patchwise.patch_directions import DirectionsConfig
from normfed_common.models.patchwise.patches import SUBJECTS_PER_BATCH, extract, normal_locations
from normfed_common.study.base import Frozen

TRAINING = "training"
LEAST_VARIANCE = 1e-6  # of a latent, relative to the largest: float32 knows less as rounding
AT_ONCE = 512  # voxels whose activations stay in the processor's cache
Width = Annotated[int, Field(ge=1, le=4096)]


class DiffusionTimeConfig(DirectionsConfig):
    """Parameters of the estimation of diffusion times."""

    location: Literal["ignored", "coordinates", "gaussian"] = Field(
        "gaussian",
        description="`ignored` as published; `coordinates` are inputs beside the latents; `gaussian` standardises "
        "latents by mean and covariance of their place",
    )
    spacing_mm: float = Field(6.0, gt=0, le=1000, description="edge of a place, where location is `gaussian`")
    hidden: tuple[Width, ...] = Field((256, 512, 256), min_length=1, max_length=8, description="widths of the layers")
    dropout: float = Field(0.5, ge=0, lt=1, description="behind all hidden layers but the first")
    bins: int = Field(7, ge=2, le=100, description="of the times")
    voxels_per_subject: int = Field(4000, ge=1, le=1_000_000, description="of each scan, in an epoch")
    batch_size: int = Field(64, ge=1, le=1_000_000, description="voxels")

    @model_validator(mode="after")
    def _places_are_used(self) -> DiffusionTimeConfig:
        if self.location != "gaussian" and self.spacing_mm != type(self).model_fields["spacing_mm"].default:
            raise ValueError(f"spacing_mm says nothing where location is {self.location}; leave one of them out")
        return self

    def of_location(self) -> LocationConfig:
        """Of the latents and their places."""
        return LocationConfig(
            patch_size=self.patch_size,
            latents=self.latents,
            pairs_per_subject=self.pairs_per_subject,
            spacing_mm=self.spacing_mm,
        )


class DiffusionTime(NormativeModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = DiffusionTimeConfig
    cited: ClassVar[tuple[str, ...]] = ("livernoche2024",)
    config: DiffusionTimeConfig

    def __init__(self, config: DiffusionTimeConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.latents = Location(config.of_location(), setting)
        inputs = config.latents + (3 if config.location == "coordinates" else 0)
        network = TimeNetwork(inputs, config.hidden, config.dropout, config.bins)
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "diffusion-time"))
        self.network = self.times = network.to(setting.device)
        self.parts = {"hidden": network.hidden, "output": network.output}

    def phases(self) -> tuple[Phase, ...]:
        """The directions, perhaps a Gaussian per place, then the network."""
        summed = [phase for phase in self.latents.phases() if self._by_place or phase.name == PATCHES]
        return *summed, Phase(TRAINING, "averaged")

    @property
    def _by_place(self) -> bool:
        return self.config.location == "gaussian"

    @classmethod
    def samples_per_person(cls, config: DiffusionTimeConfig) -> int:
        """The voxels drawn of a scan."""
        return config.voxels_per_subject

    def most_batches(self, phase: str, scans: int) -> int:
        """As if no two scans shared a batch."""
        return scans * -(-self.config.voxels_per_subject // self.config.batch_size)

    def notes(self, people: int) -> tuple[str, ...]:
        """Those of the latents."""
        return self.latents.notes(people)

    def places(self, phase: str) -> Places | None:
        """Those of the latents."""
        return self.latents.places(phase)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """What `location` sums."""
        return self.latents.statistics(phase, cohort, rng)

    def counted(self, phase: str) -> Mapping[str, float]:
        """As `location` says it."""
        return self.latents.counted(phase)

    def check(self, phase: str, sums: Arrays) -> None:
        """What `location` checks."""
        self.latents.check(phase, sums)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Make the directions, or the Gaussians."""
        super().absorb(phase, total)
        return self.latents.absorb(phase, total)

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """Noisy latents of voxels of a few people, float32 (n, inputs), and the bins of their times, int64 (n,)."""
        order = rng.permutation(len(cohort))
        for start in range(0, len(order), SUBJECTS_PER_BATCH):
            scans = (cohort.scan(int(number)) for number in order[start : start + SUBJECTS_PER_BATCH])
            drawn = [self._drawn(scan, rng) for scan in scans]
            noisy, bins, people = map(np.concatenate, zip(*drawn, strict=True))
            shuffled = rng.permutation(len(noisy))
            for begin in range(0, len(shuffled), self.config.batch_size):
                rows = shuffled[begin : begin + self.config.batch_size]
                data = {"noisy": torch.from_numpy(noisy[rows]), "bin": torch.from_numpy(bins[rows])}
                yield Batch(data, torch.from_numpy(people[rows]))

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """The cross-entropy of every time."""
        self.times.dropout.generator = rng
        return functional.cross_entropy(self.times(batch.data["noisy"]), batch.data["bin"], reduction="none")

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Mean and standard deviation of the bin of the time at every voxel."""
        scan = self.with_every_modality(visits[-1])
        index = np.flatnonzero(scan.mask)
        vectors = self._standardised(self.latents.encoder.encode(scan, index), index)
        anomaly = np.zeros(scan.mask.size, np.float32)
        uncertainty = anomaly.copy()
        for rows in np.split(np.arange(len(index)), range(AT_ONCE, len(index), AT_ONCE)):
            posterior = self._posterior(self._with_place(vectors[rows], index[rows]))
            bins = np.arange(self.config.bins)
            mean = posterior @ bins
            anomaly[index[rows]] = mean
            uncertainty[index[rows]] = np.sqrt((posterior * (bins - mean[:, None]) ** 2).sum(1))
        return Score(anomaly.reshape(scan.mask.shape), uncertainty.reshape(scan.mask.shape))

    def _posterior(self, inputs: np.ndarray) -> np.ndarray:
        """p, float64 (n, bins)."""
        self.times.eval()
        with torch.inference_mode(), self.setting.autocast():
            logits = self.times(torch.from_numpy(inputs).to(self.setting.device))
        posterior: np.ndarray = logits.double().softmax(1).cpu().numpy()
        return posterior

    def _drawn(self, scan: Scan, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Network inputs, bins, and whose they are, int64 (n, 1), of normal voxels of a scan, with replacement."""
        config = self.config
        index = normal_locations(self.with_every_modality(scan), config.voxels_per_subject, config.patch_size, rng)
        latents = self.latents.encoder.encode_patches(extract(scan.images, index, config.patch_size))
        noisy, bins = noised(self._standardised(latents, index), config.bins, rng)
        return self._with_place(noisy, index), bins, np.full((len(index), 1), scan.person.index)

    def _standardised(self, latents: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Latents (n, d) of voxels (n,) with variance 1, over the brain or at their place, float32."""
        if self._by_place:
            return self.latents.gaussians.whitened(latents, index)
        variance = self.latents.encoder.eigenvalues
        variance = np.maximum(variance, LEAST_VARIANCE * variance.max() + np.finfo(np.float32).tiny)
        return latents / np.sqrt(variance).astype(np.float32)

    def _with_place(self, vectors: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Vectors (n, d) with coordinates in the common grid from -1 to 1, (n, 3), where they are inputs."""
        if self.config.location != "coordinates":
            return vectors
        shape = np.array(self.setting.shape)
        where = (2 * np.stack(np.unravel_index(index, self.setting.shape), 1) + 1) / shape - 1
        return np.concatenate([vectors, where.astype(np.float32)], 1)
