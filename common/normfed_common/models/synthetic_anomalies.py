"""A small U-Net that learns, without labels, to find anomalies planted in normal tissue and to undo them.

    loss(slice)  = 1 / n sum over normal voxels of BCE(L, t) + undo sum over modalities of |r - (x0 - x)|
    score(voxel) = log(1 + e^(y + w L'))

x0 is normal tissue in robust units, x the same with anomalies, t how much they have changed it (`planting`), both as
another scanner might have them (`augmentation`); n are the voxels of a mean slice. L and r are what the network says of
x, of the slices beside it and of their place in the brain (`window`). y are the units of the main modality, suspicious
side up; L' is the mean of L over the scan and its mirror image, at least -8. y + w L' is far below 0 in normal tissue,
where the score is almost 0.

Kin of foreign patch interpolation (Tan et al. 2020, arXiv 2011.04197) and of DISYRE (Naval Marimont, Tarroni 2023,
arXiv 2311.15453). Whoever trains needs no lesion, but what is planted says what is looked for.

Measured on real FLAIR of 28 people at sites that were not learnt from, edge and grey matter weighed down, ten rounds at
a learning rate of 3e-3, mean of three seeds: average precision .765 for w = 1/16, .766 for 1/8, .760 for 1/4, .759
without the network. Over people with more than 25 ml of lesion it gains .008, with less than 5 ml nothing. Where w is
chosen at the other sites, the gain is .004, 95 % interval over people -.002 to .010: a tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from normfed_common.foundation import seeds
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.initialisation import initialise
from normfed_common.models.synthetic.augmentation import augmented
from normfed_common.models.synthetic.planting import Recipe, Tissue, planted, target_of
from normfed_common.models.synthetic.unet import UNet
from normfed_common.models.synthetic.window import GUIDES, OUTSIDE, Window, stacks
from normfed_common.models.voxelwise.intensities import Side, main_and_signs, never_negative, robust_units
from normfed_common.study.base import Frozen

SLAB = 6  # slices that are learnt from, with one more on either side
SLABS_MIXED = 8  # slices of one slab are too alike for a batch of their own
SLICES_AT_ONCE = 8  # stays in the processor's cache
FLOOR = -8.0  # of the logit: how normal is normal does not matter
FLIPPED, MOVED, MOVED_MM = 0.5, 0.7, 2.0  # shares of slabs in the mirror, and with the template moved, and how far
BLOBS_MM = 16.0  # of height, that blobs are counted for

Millimetres = Annotated[float, Field(gt=0, le=50)]


class SyntheticConfig(Frozen):
    """Parameters of the model of planted anomalies."""

    modality: str | None = Field(
        None, description="the main one, whose units are the score's; FLAIR, else T2w, else the first of the study"
    )
    suspicious: dict[str, Side] = Field(
        default_factory=dict, description="bright or dark by modality; when absent dark for T1w and FA, else bright"
    )
    learnt: float = Field(
        0.0625, ge=0, le=100, description="weight of the network's logit; 0 leaves the main modality's units alone"
    )
    filters: Literal[4, 8, 16, 32] = Field(8, description="of the network's first layers")
    blobs: float = Field(5.0, gt=0, le=100, description="drawn on average for 16 mm of a brain's height")
    radius_mm: tuple[Millimetres, Millimetres] = Field((1.6, 18.0), description="of the smallest and the largest blob")
    amplitude: tuple[Annotated[float, Field(gt=0, le=20)], Annotated[float, Field(gt=0, le=20)]] = Field(
        (0.5, 4.0), description="of the faintest and the strongest blob in the main modality, robust units"
    )
    beside: float = Field(
        0.6,
        ge=0,
        le=10,
        description="how much of a blob the other modalities show at most, as a share of the main one's",
    )
    foreign: float = Field(0.2, ge=0, le=1, description="share of blobs that are tissue from elsewhere in a person")
    in_white: float = Field(0.7, ge=0, le=1, description="share of blobs with their centre in white matter")
    undo: float = Field(0.3, ge=0, le=100, description="weight of undoing the anomaly beside finding it")
    slabs_per_subject: int = Field(4, ge=1, le=1_000_000, description="of six slices, in an epoch")
    batch_size: int = Field(4, ge=1, le=100_000, description="slices")

    @model_validator(mode="after")
    def _from_low_to_high(self) -> SyntheticConfig:
        for name in ("radius_mm", "amplitude"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: {low:g} is above {high:g}; the smaller comes first")
        return self


class SyntheticAnomalies(NormativeModel):
    """See the module.

    Raises
    ------
    StudyError
        If a modality is named that the study does not have.
    """

    Config: ClassVar[type[Frozen]] = SyntheticConfig
    cited: ClassVar[tuple[str, ...]] = ("tan2020", "navalmarimont2023")
    config: SyntheticConfig

    def __init__(self, config: SyntheticConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        main, signs = main_and_signs("synthetic-anomalies", config.modality, config.suspicious, setting.modalities)
        self.recipe = Recipe(
            main=setting.modalities.index(main),
            sides=signs,
            blobs=config.blobs * (SLAB + 2) * setting.voxel_size_mm / BLOBS_MM,
            radius_mm=config.radius_mm,
            amplitude=config.amplitude,
            beside=config.beside,
            foreign=config.foreign,
            in_white=config.in_white,
            voxel_size_mm=setting.voxel_size_mm,
        )
        channels = len(setting.modalities)
        network = UNet(3 * channels + GUIDES, 1 + channels, config.filters)
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "synthetic-anomalies"))
        network.expect_nothing()
        self.network = self.unet = network.to(setting.device)
        self.parts = {"encoder": network.encoder, "decoder": network.decoder, "head": network.head}

    @cached_property
    def window(self) -> Window:
        """What of the grid the network sees, made where scans are opened."""
        return Window(self.setting.anatomy, self.setting.voxel_size_mm)

    def phases(self) -> tuple[Phase, ...]:
        """The network alone."""
        return (Phase("training", "averaged"),)

    @classmethod
    def samples_per_person(cls, config: SyntheticConfig) -> int:
        """Slices."""
        return config.slabs_per_subject * SLAB

    def most_batches(self, phase: str, scans: int) -> int:
        """Enough for all slices."""
        return -(-scans * self.samples_per_person(self.config) // self.config.batch_size)

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """Stacks of slices with anomalies, float32 (n, 3 C + 6, X, Y); how much is changed there (n, 1, X, Y), what
        would undo it (n, C, X, Y), and which voxels are normal (n, 1, X, Y).

        Slices of eight slabs at a time are mixed, as many slabs of each scan. Foreign tissue is of the scan before, and
        such a sample of two people.
        """
        size, waiting = self.config.batch_size, list[Batch]()
        turns = rng.permutation(np.repeat(np.arange(len(cohort)), self.config.slabs_per_subject))
        donor = self._opened(cohort, turns[-1])
        for start in range(0, len(turns), SLABS_MIXED):
            for number in turns[start : start + SLABS_MIXED]:
                scan = self._opened(cohort, number)
                made = self._planted_slab(scan, donor, rng)
                waiting += [] if made is None else [made]
                donor = scan
            if waiting:
                mixed = _joined(waiting)
                order = torch.from_numpy(rng.permutation(len(mixed)))
                full = len(mixed) // size * size if start + SLABS_MIXED < len(turns) else len(mixed)
                yield from (_some(mixed, rows) for rows in order[:full].split(size) if len(rows))
                waiting = [_some(mixed, order[full:])] if full < len(mixed) else []

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> Tensor:
        """Of every slice, (n,): finding and undoing at its normal voxels, as if all slices had equally many."""
        found = self.unet(batch.data["stack"]).float()
        counts = batch.data["normal"]
        finding = functional.binary_cross_entropy_with_logits(found[:, :1], batch.data["target"], reduction="none")
        undoing = (found[:, 1:] - batch.data["undoing"]).abs().sum(1, keepdim=True)
        total: Tensor = ((finding + self.config.undo * undoing) * counts).sum((1, 2, 3))
        return total / self.window.area

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Brightness, and what the network says."""
        scan = self.with_every_modality(visits[-1])
        units = robust_units(scan.images, scan.mask, scan.present, OUTSIDE)
        suspicion = (self.recipe.sides[self.recipe.main] * units[self.recipe.main])[scan.mask].astype(np.float64)
        if self.config.learnt:
            suspicion += self.config.learnt * self.logit(units)[scan.mask]
        anomaly = np.zeros(scan.mask.shape, np.float32)
        anomaly[scan.mask] = never_negative(suspicion)
        return Score(anomaly)

    def logit(self, units: np.ndarray) -> np.ndarray:
        """L' of the module, float32 (X, Y, Z), of robust units (C, X, Y, Z) that are OUTSIDE outside the brain."""
        shape, window = units.shape[1:], self.window
        found = np.full((window.depth, *window.sides), FLOOR, np.float32)
        depths = np.flatnonzero((units[0] != OUTSIDE).any((0, 1)))
        self.unet.eval()
        with torch.inference_mode(), self.setting.autocast():
            for start in range(depths[0], depths[-1] + 1, SLICES_AT_ONCE) if len(depths) else ():
                part = (start - 1, min(SLICES_AT_ONCE, depths[-1] + 1 - start) + 2)
                seen = stacks(window.slab(units, *part, OUTSIDE), window.slab(window.guides, *part))
                batch = torch.from_numpy(seen).to(self.setting.device)
                both = self.unet(batch)[:, 0] + self.unet(batch.flip(2))[:, 0].flip(1)
                found[start : start + len(seen)] = (both.float() / 2).clamp(min=FLOOR).cpu().numpy()
        return window.back(found, shape, FLOOR)

    def _opened(self, cohort: Cohort, number: int) -> _Opened:
        scan = self.with_every_modality(cohort.scan(int(number)))
        normal = np.zeros(scan.mask.size, bool)
        normal[scan.normal_index] = True
        units = robust_units(scan.images, scan.mask, scan.present, OUTSIDE)
        return _Opened(Tissue(units, normal.reshape(scan.mask.shape)), scan.mask, scan.person.index)

    def _planted_slab(self, scan: _Opened, donor: _Opened, rng: np.random.Generator) -> Batch | None:
        """The slices with normal tissue of a slab of a scan; None if there are none."""
        window, normal = self.window, scan.tissue.normal
        depths = np.flatnonzero(normal.any((0, 1)))
        if not len(depths):
            return None
        first = int(rng.integers(depths[0] - SLAB + 1, depths[-1] + 1)) - 1
        part = (first, SLAB + 2)
        clean = Tissue(window.slab(scan.tissue.units, *part, OUTSIDE), window.slab(normal, *part))
        ill, foreign = planted(clean, window.slab(window.white, *part), donor.tissue, self.recipe, rng)
        mask, size_mm = window.slab(scan.mask, *part), self.setting.voxel_size_mm
        pair, reach = augmented(np.stack([clean.units, ill]), mask, size_mm, rng)
        guides = _moved(window, part, max(1, round(MOVED_MM / size_mm)), rng)
        counts = clean.normal[..., 1:-1].astype(np.float32)
        stack, undoing = stacks(pair[1], guides), (pair[0] - pair[1])[..., 1:-1]
        planes = {
            "stack": stack,
            "target": np.moveaxis(target_of(pair[1], pair[0])[None, ..., 1:-1], -1, 0),
            "undoing": np.moveaxis(undoing, -1, 0),
            "normal": np.moveaxis(counts[None], -1, 0),
        }
        mirrored = rng.random() < FLIPPED
        kept = counts.any((0, 1))
        if not kept.any():
            return None
        strange = _near(foreign, 1 + reach)[1:-1]
        person = np.where(strange[:, None] & [False, True], donor.person, scan.person)
        return Batch(
            {name: torch.from_numpy(np.ascontiguousarray(_mirror(v, mirrored)[kept])) for name, v in planes.items()},
            torch.from_numpy(person[kept].astype(np.int64)),
        )


@dataclass(frozen=True)
class _Opened:
    """A scan in robust units, its brain, and whose it is."""

    tissue: Tissue
    mask: np.ndarray
    person: int


def _moved(window: Window, part: tuple[int, int], voxels: int, rng: np.random.Generator) -> np.ndarray:
    """The guides of a slab, some as if registration had been off by up to so many voxels."""
    x, y, z = rng.integers(-voxels, voxels + 1, 3) * (rng.random() < MOVED)
    return np.roll(window.slab(window.guides, part[0] + int(z), part[1]), (x, y), (1, 2))


def _near(foreign: np.ndarray, reach: int) -> np.ndarray:
    """Which slices have foreign tissue within reach."""
    return ndimage.binary_dilation(foreign, np.ones(2 * reach + 1, bool))


def _mirror(planes: np.ndarray, mirrored: bool) -> np.ndarray:
    """(n, C, X, Y), left and right exchanged or not."""
    return planes[:, :, ::-1] if mirrored else planes


def _joined(parts: Sequence[Batch]) -> Batch:
    return Batch(
        {name: torch.cat([part.data[name] for part in parts]) for name in parts[0].data},
        torch.cat([part.person for part in parts]),
    )


def _some(batch: Batch, rows: Tensor) -> Batch:
    """Samples by their numbers, as tensors of their own."""
    return Batch({name: tensor[rows] for name, tensor in batch.data.items()}, batch.person[rows])
