"""Slice auto-encoder; the anomaly is what it cannot reconstruct.

Baur, Denner, Wiestler, Navab, Albarqouni 2021 (Medical Image Analysis 69:101952), the dense auto-encoder of their
unified architecture: axial slices of 128 x 128, strided 5 x 5 convolutions to 16 x 16, a dense bottleneck, mirrored
decoder.

    L(x) = mean |x - decode(encode(x))|        score = |x - decode(encode(x))|, mean over the modalities
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from normfed_common.foundation import seeds
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.initialisation import initialise
from normfed_common.study.base import Frozen

BOTTLENECK_SIDE = 16
SLICES_AT_ONCE = 8
MOST_SLICES = 512  # of a brain at 1 mm there are fewer than 200


class AutoEncoderConfig(Frozen):
    """Parameters of the slice auto-encoder; defaults as published, but for the norm."""

    size: int = Field(128, ge=32, le=512, description="slices are padded to this square, or shrunk where larger")
    filters: int = Field(32, ge=8, le=256, description="of the first layer; doubled by each down to `most_filters`")
    most_filters: int = Field(128, ge=8, le=512)
    latent: int = Field(128, ge=2, le=4096, description="of the dense bottleneck")
    norm: Literal["group", "batch"] = Field("group", description="`batch` as published, but never with privacy")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the bottleneck")
    loss: Literal["l1", "l2"] = "l1"
    residual: Literal["absolute", "positive"] = Field(
        "absolute", description="`positive`: only what is brighter than its reconstruction, for FLAIR"
    )
    slices_per_subject: int | None = Field(
        None, ge=1, le=1_000_000, description="drawn anew for every epoch; all when absent"
    )
    batch_size: int = Field(8, ge=1, description="slices")

    @model_validator(mode="after")
    def _size_halves(self) -> AutoEncoderConfig:
        if self.size & (self.size - 1):
            raise ValueError(f"size must be a power of two, such as 64, 128 or 256, not {self.size}")
        if self.filters % 8 or self.most_filters % self.filters:
            raise ValueError("filters must be a multiple of 8, and most_filters a multiple of filters")
        return self


class Dropout(nn.Module):
    """Dropout from a generator of its own: torch's draws from one global stream.

    It draws on the CPU wherever the network is, so that the masks are the same on every device.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator = torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share of x in training, scale the rest."""
        if not self.training or self.share == 0:
            return x
        keep = torch.rand(x.shape, generator=self.generator) >= self.share
        return x * keep.to(x.device, non_blocking=True) / (1 - self.share)


class SliceNetwork(nn.Module):
    """Encoder, dense bottleneck and decoder of (N, C, size, size)."""

    def __init__(self, channels: int, config: AutoEncoderConfig) -> None:
        super().__init__()
        halvings = config.size.bit_length() - BOTTLENECK_SIDE.bit_length()
        widths = [min(config.filters * 2**i, config.most_filters) for i in range(halvings)]

        def norm(width: int) -> nn.Module:
            return nn.GroupNorm(8, width) if config.norm == "group" else nn.BatchNorm2d(width)

        def down(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(before, after, 5, stride=2, padding=2), norm(after), nn.LeakyReLU(0.2))

        def up(before: int, after: int) -> nn.Sequential:
            layer = nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1)
            return nn.Sequential(layer, norm(after), nn.LeakyReLU(0.2))

        deepest, narrow = widths[-1], widths[-1] // 8
        flat = narrow * BOTTLENECK_SIDE**2
        self.stem = down(channels, widths[0])
        self.encoder = nn.Sequential(*(down(a, b) for a, b in pairwise(widths)))
        self.dropout = Dropout(config.dropout)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(deepest, narrow, 1),
            nn.Flatten(),
            self.dropout,
            nn.Linear(flat, config.latent),
            nn.Linear(config.latent, flat),
            nn.Unflatten(1, (narrow, BOTTLENECK_SIDE, BOTTLENECK_SIDE)),
            nn.Conv2d(narrow, deepest, 1),
        )
        mirrored = [*widths[::-1], widths[0]]
        self.decoder = nn.Sequential(*(up(a, b) for a, b in pairwise(mirrored)), nn.Conv2d(widths[0], channels, 1))

    def forward(self, slices: Tensor) -> Tensor:
        """The reconstruction of (N, C, size, size)."""
        out: Tensor = self.decoder(self.bottleneck(self.encoder(self.stem(slices))))
        return out


class AutoEncoder(NormativeModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = AutoEncoderConfig

    def __init__(self, config: AutoEncoderConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        network = SliceNetwork(len(setting.modalities), config)
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "autoencoder"))
        self.network = self.slices = network.to(setting.device)
        self.parts = {
            "stem": network.stem,
            "encoder": network.encoder,
            "bottleneck": network.bottleneck,
            "decoder": network.decoder,
        }

    def phases(self) -> tuple[Phase, ...]:
        """The network alone."""
        return (Phase("training", "averaged"),)

    @classmethod
    def samples_per_person(cls, config: AutoEncoderConfig) -> int:
        """Slices; where the study gives no number, no fewer than any brain has."""
        return config.slices_per_subject or MOST_SLICES

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        """Axial slices, float32 of shape (n, C, size, size), and which of their pixels count (n, 1, size, size).

        Slices of all scans are mixed, as many of each where the study gives a number.
        """
        chosen: list[tuple[int, int]] = []
        for index in range(len(cohort)):
            depths = np.flatnonzero(self.with_every_modality(cohort.scan(index)).mask.any((0, 1)))
            wanted = self.config.slices_per_subject
            if wanted is not None:
                depths = rng.choice(depths, wanted, replace=wanted > len(depths))
            chosen += [(index, int(depth)) for depth in depths]
        order = rng.permutation(len(chosen))
        for start in range(0, len(order), self.config.batch_size):
            rows = [chosen[i] for i in order[start : start + self.config.batch_size]]
            scans = [cohort.scan(index) for index, _ in rows]
            slices = np.stack([scan.images[..., depth] for scan, (_, depth) in zip(scans, rows, strict=True)])
            counts = np.stack([_counts(scan, depth) for scan, (_, depth) in zip(scans, rows, strict=True)])
            yield Batch(
                {"slices": self._fit(torch.from_numpy(slices)), "counts": self._fit(torch.from_numpy(counts))},
                torch.tensor([[scan.person.index] for scan in scans]),
            )

    def most_batches(self, phase: str, scans: int) -> int:
        """Enough for all slices."""
        return -(-scans * self.samples_per_person(self.config) // self.config.batch_size)

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> Tensor:
        """Mean reconstruction error over a slice's normal tissue and background; padding does not count."""
        slices, counts = batch.data["slices"], batch.data["counts"]
        self.slices.dropout.generator = rng
        difference = slices - self.slices(slices)
        error = difference.abs() if self.config.loss == "l1" else difference.square()
        pixels = counts.sum((1, 2, 3)) * slices.shape[1]
        return (error * counts).sum((1, 2, 3)) / pixels.clamp(min=1)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """The residual of every voxel, mean over the modalities."""
        scan = self.with_every_modality(visits[-1])
        depth, device = scan.mask.shape[2], self.setting.device
        anomaly_map = np.zeros(scan.mask.shape, np.float32)
        self.slices.eval()
        with torch.inference_mode(), self.setting.autocast():
            for start in range(0, depth, SLICES_AT_ONCE):
                here = slice(start, min(start + SLICES_AT_ONCE, depth))
                slices = torch.from_numpy(np.moveaxis(scan.images[..., here], 3, 0).copy()).to(device)
                fitted = self._fit(slices)
                residual = fitted - self.slices(fitted)
                residual = residual.abs() if self.config.residual == "absolute" else residual.clamp(min=0)
                shown = self._unfit(residual.float().mean(1, keepdim=True), slices.shape[-2:])
                anomaly_map[..., here] = shown[:, 0].permute(1, 2, 0).cpu().numpy()
        return Score(anomaly_map * scan.mask)

    def _fit(self, slices: Tensor) -> Tensor:
        """Centre on the square, after shrinking what is larger; padding is background."""
        scale = self.config.size / max(*slices.shape[-2:], self.config.size)
        if scale < 1:
            size = [round(n * scale) for n in slices.shape[-2:]]
            slices = functional.interpolate(slices, size, mode="bilinear", antialias=True)
        return functional.pad(slices, _margins(slices.shape[-2:], self.config.size))

    def _unfit(self, square: Tensor, shape: torch.Size) -> Tensor:
        """Undo `_fit`."""
        scale = self.config.size / max(*shape, self.config.size)
        size = torch.Size([round(n * scale) for n in shape])
        left, _, top, _ = _margins(size, self.config.size)
        cut = square[..., top : top + size[0], left : left + size[1]]
        return functional.interpolate(cut, shape, mode="bilinear") if scale < 1 else cut


def _counts(scan: Scan, depth: int) -> np.ndarray:
    """float32 of shape (1, X, Y): 1 where an axial slice's tissue is normal, and in the background."""
    counts = ~scan.mask[..., depth]
    brain = np.flatnonzero(~counts)
    counts.flat[brain] = scan.is_normal(brain * scan.mask.shape[2] + depth)
    return counts[None].astype(np.float32)


def _margins(shape: torch.Size, size: int) -> list[int]:
    """Left, right, top and bottom padding from ``shape`` to a square of ``size``."""
    height, width = size - shape[0], size - shape[1]
    return [width // 2, width - width // 2, height // 2, height - height // 2]
