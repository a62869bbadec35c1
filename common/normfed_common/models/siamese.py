"""Siamese patch auto-encoder with a one-class score of its latents.

Alaverdyan, Jung, Bouet, Lartizien 2020 (Medical Image Analysis 60:101618); Pinon, Trombetta, Lartizien 2023 (ISBI,
arXiv 2302.13593; MIDL, arXiv 2304.08058). Trained on pairs of patches at the same place of two normal people:

    L(x1, x2) = sum_t ||x_t - decode(encode(x_t))||^2 - alpha cos(encode(x1), encode(x2))

with the squared norm summed over pixels.

Published are `norm: batch` and `latent: activated` (isbi; without a norm for alaverdyan) on `inputs: raw` in [0, 1].
What they cost was measured on real T1 and FLAIR at 2 mm (AUROC of the isbi network with a patient's own one-class SVM,
mean and standard deviation over three seeds, chance .5): batch norm, activated .513 +- .096; layer norm, activated
.647 +- .036; no norm, activated .605 +- .156; no norm, linear latent .772 +- .006.
At 9 x 9 the isbi network stays at twice the loss of principal components or more, however long it trains; `linear` gets
within 3 % of them at a learning rate of .003. Hence the defaults. On ten people of five sites (AUROC and average
precision, chance .5 and .013, one seed): isbi .775 / .033 by `fit_on: patient` and .685 / .062 by `location`,
linear .774 / .056 and .867 / .235.

Beside the loss stands that of principal components, from the sums of the phase `patches` (see `patch_moments`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch.nn import functional

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.batch import Batch
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.scatter import symmetric, triangle
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Places, Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.initialisation import initialise
from normfed_common.models.patchwise import patch_moments
from normfed_common.models.patchwise.patch_moments import PatchMoments
from normfed_common.models.patchwise.patch_networks import ARCHITECTURES, Inputs, Latent, Norm
from normfed_common.models.patchwise.patch_spectrum import Moments, PatchSpectrum
from normfed_common.models.patchwise.patches import SUBJECTS_PER_BATCH, extract, normal_locations, siamese_batches
from normfed_common.scoring.base import Fields, LatentField
from normfed_common.scoring.catalogue import OneClassEntry, build_head
from normfed_common.study.base import Frozen

ALONE = "The site has one person to train on: pairs have no second member, so the siamese term is off."
PATCHES = "patches"
DRAWS = 4000  # patches of each scan in the sums
SLICES_AT_ONCE = 4  # a slab that stays in the processor's cache: four times faster than all slices together


class SiameseConfig(Frozen):
    """Parameters of the siamese auto-encoder; published are `architecture: isbi` and a patch of 15 at 1 mm."""

    architecture: Literal["isbi", "alaverdyan", "linear"] = Field(
        "linear",
        description="`linear`: one convolution and one back, which trained long enough are principal components; "
        "`isbi` and `alaverdyan` as published",
    )
    patch_size: int = Field(
        9,
        ge=9,
        le=63,
        description="voxels, axial (published: 15 at 1 mm); isbi takes 9, 15, 21, ..., alaverdyan only 15, linear odd "
        "ones",
    )
    norm: Norm = Field(
        "none",
        description="only isbi has any, and fedbn needs one; `batch` as published, never with privacy",
    )
    latent: Latent = Field(
        "linear", description="`activated` as published: norm and activation behind the encoder's last convolution"
    )
    inputs: Inputs = Field(
        "centred",
        description="less the mean of all sites' patches, divided by one standard deviation; `raw` as published, where "
        "images lie in [0, 1]",
    )
    alpha: float = Field(0.005, ge=0, le=10, description="weight of the cosine between a pair's latents (MLCN 2021)")
    pairs_per_subject: int = Field(2000, ge=1, le=10_000_000, description="per epoch (published: 25,000, ISBI 2023)")
    batch_size: int = Field(50, ge=1, le=1_000_000, description="pairs (published: 1,000, ISBI 2023)")
    one_class: OneClassEntry = Field(
        {},
        description="fit_on, which score of the latents, and its own parameters; `patient`, the default, goes with "
        "every strategy; `location` finds more behind the linear architecture",
    )

    @model_validator(mode="after")
    def _patch_fits(self) -> SiameseConfig:
        ARCHITECTURES[self.architecture].check(self.patch_size, self.norm, self.latent)
        return self


class Siamese(NormativeModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = SiameseConfig
    cited: ClassVar[tuple[str, ...]] = ("alaverdyan2020", "pinon2023brain")
    trains_without_sums: bool = True  # on patches as they are

    def __init__(self, config: SiameseConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        channels = len(setting.modalities)
        network = ARCHITECTURES[config.architecture](
            channels, config.patch_size, config.norm, config.latent, config.inputs
        )
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "siamese"))
        self.network = self.autoencoder = network.to(setting.device)
        self.patch_shape = (channels, config.patch_size, config.patch_size)
        self.dimension = channels * config.patch_size**2
        self._moments: PatchMoments | None = None
        stem = network.stem_layers
        self.parts = {"encoder": network.encoder[stem:], "decoder": network.decoder}
        if stem:
            self.parts = {"stem": network.encoder[:stem], **self.parts}
        self.head = build_head(config.one_class, network.latent_dimension, setting)
        self.keeps_to_site = self.head.keeps_to_site

    def phases(self) -> tuple[Phase, ...]:
        """Moments of patches, the network, then what the one-class score needs."""
        return Phase(PATCHES, "summed"), Phase("training", "averaged"), *self.head.phases()

    @classmethod
    def samples_per_person(cls, config: SiameseConfig) -> int:
        """The pairs of which each visit is the first."""
        return config.pairs_per_subject

    def people_per_sample(self, phase: str) -> int:
        """The two of a pair."""
        return 2

    def places(self, phase: str) -> Places | None:
        """Those of the one-class score; patches are of whole brains."""
        return None if phase == PATCHES else self.head.places(phase)

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """Pairs of patches of two people at one place, float32 (n, 2, C, p, p), and whether they are two, bool (n,)."""
        config = self.config
        for pairs, person in siamese_batches(
            cohort, config.pairs_per_subject, config.batch_size, config.patch_size, rng, self.with_every_modality
        ):
            two = person[:, 0] != person[:, 1]
            yield Batch({"pairs": torch.from_numpy(pairs), "two": torch.from_numpy(two)}, torch.from_numpy(person))

    def most_batches(self, phase: str, scans: int) -> int:
        """One for every turn that a person takes, as if no two turns shared a batch."""
        share = max(1, self.config.batch_size // SUBJECTS_PER_BATCH)
        return scans * -(-self.samples_per_person(self.config) // share)

    def notes(self, people: int) -> tuple[str, ...]:
        """Says so if there is nobody to pair with."""
        return (ALONE,) if people == 1 else ()

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """The siamese loss of every pair, without the cosine where a lone person is paired with themselves."""
        pairs = batch.data["pairs"]
        patches = pairs.flatten(0, 1)
        latents = self.autoencoder.encode(patches)
        error = self.autoencoder.centred(patches) - self.autoencoder.decode(latents)
        residual = error.square().view(len(pairs), -1).sum(1)
        first, second = latents.unflatten(0, (-1, 2)).unbind(1)
        return residual - self.config.alpha * batch.data["two"].to(residual) * functional.cosine_similarity(
            first, second
        )

    def encode(self, scan: Scan) -> LatentField:
        """Latents of every brain voxel, by dense evaluation slab by slab."""
        self.with_every_modality(scan)
        device = self.setting.device
        depth = scan.mask.shape[2]
        index = np.flatnonzero(scan.mask)
        latents = torch.empty((len(index), self.autoencoder.latent_dimension))
        if not len(index):
            return LatentField(latents, index, scan.mask.shape, scan.person.index, scan.person.scanner)
        x, y, z = np.unravel_index(index, scan.mask.shape)
        # Outside the brain images are zero, as is what dense encoding pads with: the brain's box is enough.
        images = scan.images[:, x.min() : x.max() + 1, y.min() : y.max() + 1]
        x, y = x - x.min(), y - y.min()
        order = np.argsort(z, kind="stable")
        bounds = np.searchsorted(z[order], np.arange(0, depth + SLICES_AT_ONCE, SLICES_AT_ONCE))
        self.autoencoder.eval()
        with torch.inference_mode(), self.setting.autocast():
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
        return LatentField(latents, index, scan.mask.shape, scan.person.index, scan.person.scanner)

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Sums of patches at random places of each scan, or what the one-class score needs of the site's latents."""
        if phase == PATCHES:
            scans = (cohort.scan(i) for i in range(len(cohort)))
            return patch_moments.sums_of(map(self._patches, scans), self.dimension)
        return self.head.statistics(phase, self._fields(cohort), rng)

    def bounded(self, phase: str) -> Bounded | None:
        """The spectrum of patches, of people who have every modality; none of the one-class score."""
        if phase != PATCHES or self.setting.may_lack:
            return None
        upper = triangle(self.dimension)

        def moments(person: Cohort, rng: np.random.Generator) -> Moments:
            found = self.statistics(PATCHES, person, rng)
            return float(found["count"]), found["sum"], symmetric(found["products"], self.dimension)

        def named(of: Moments) -> Arrays:
            return {"count": np.array(of[0]), "sum": of[1], "products": of[2][upper]}

        size, values = self.config.patch_size, self.setting.value_range
        return PatchSpectrum(len(self.setting.modalities), size, values, moments, DRAWS, named)

    def counted(self, phase: str) -> Mapping[str, float]:
        """A scan counts as often as patches are drawn of it; those of the one-class score."""
        return {"count": DRAWS} if phase == PATCHES else self.head.counted(phase)

    def check(self, phase: str, sums: Arrays) -> None:
        """Patches have a covariance, and values in the study's range; what the one-class score checks."""
        if phase == PATCHES:
            patch_moments.check(sums, self.dimension, self.setting.value_range)
        else:
            self.head.check(phase, sums)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Centre the network on the mean patch, and keep of the products what they leave; or as the one-class score.

        What was kept, and is loaded at a site, has no products.
        """
        if phase != PATCHES:
            super().absorb(phase, total)
            return self.head.absorb(phase, total)
        if "remainder" in total:
            moments = PatchMoments.of_arrays(total, self.dimension, self.setting.value_range)
        else:
            self.check(phase, total)
            moments = PatchMoments.of_total(total, self.autoencoder.latent_dimension)
        self._moments, self._sums[phase] = moments, moments.arrays()
        if self.config.inputs == "centred":
            mean = torch.from_numpy(moments.mean).view(self.patch_shape)
            self.autoencoder.centre_on(mean, moments.scale)
        return False

    def reference_loss(self, phase: str) -> float | None:
        """Of a pair, by principal components: twice their mean squared error, less alpha as if latents always agreed.

        No linear model of the same size has less, and the best has at most 2 alpha more.
        """
        if phase != "training" or self._moments is None:
            return None
        scale = self._moments.scale if self.config.inputs == "centred" else 1.0
        least = 2 * self._moments.remainder / self._moments.count / scale**2 - self.config.alpha
        return least if least > 0 else None

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """Fit what the one-class score keeps at the site."""
        self.head.personalise(self._fields(cohort), len(cohort.people()), rng)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The one-class anomaly of every voxel's latent."""
        scan = visits[-1]
        field = self.encode(scan)
        anomaly_map = np.zeros(scan.mask.size, np.float32)
        anomaly_map[field.index] = self.head.score(field, rng)
        return Score(anomaly_map.reshape(scan.mask.shape))

    def _patches(self, scan: Scan) -> np.ndarray:
        # Drawn alike from every scan, whoever else is in the cohort: sums of sites add up to those of all their people.
        rng = seeds.generator(self.setting.seed, PATCHES)
        where = normal_locations(self.with_every_modality(scan), DRAWS, self.config.patch_size, rng)
        return extract(scan.images, where, self.config.patch_size)

    def _fields(self, cohort: Cohort) -> Fields:
        return Fields(lambda: (self._normal(cohort.scan(i)) for i in range(len(cohort))))

    def _normal(self, scan: Scan) -> LatentField:
        field = self.encode(scan)
        keep = np.isin(field.index, scan.normal_index, assume_unique=True)
        return replace(field, latents=field.latents[torch.from_numpy(keep)], index=field.index[keep])
