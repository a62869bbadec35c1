"""Networks of axial slices: strided 5 x 5 convolutions down to a small square, a dense bottleneck, mirrored decoder.

Baur, Denner, Wiestler, Navab, Albarqouni 2021 (Medical Image Analysis 69:101952), their unified architecture.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from normfed_common.models.dropout import Dropout
from normfed_common.study.base import Frozen


class SliceNetworkConfig(Frozen):
    """Parameters of a network of slices; defaults as published, but for the norm."""

    size: int = Field(128, ge=32, le=512, description="slices are padded to this square, or shrunk where larger")
    filters: int = Field(32, ge=8, le=256, description="of the first layer; doubled by each down to `most_filters`")
    most_filters: int = Field(128, ge=8, le=512, description="of any layer; a multiple of `filters`")
    latent: int = Field(128, ge=2, le=4096, description="of the dense bottleneck")
    norm: Literal["group", "batch"] = Field("group", description="`batch` as published, but never with privacy")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the bottleneck")

    @model_validator(mode="after")
    def _size_halves(self) -> SliceNetworkConfig:
        if self.size & (self.size - 1):
            raise ValueError(f"size must be a power of two, such as 64, 128 or 256, not {self.size}")
        if self.filters % 8 or self.most_filters % self.filters:
            raise ValueError("filters must be a multiple of 8, and most_filters a multiple of filters")
        return self

    def widths(self, side: int) -> list[int]:
        """Channels after each halving down to a square of ``side``."""
        halvings = self.size.bit_length() - side.bit_length()
        return [min(self.filters * 2**i, self.most_filters) for i in range(halvings)]


class _Encoding(nn.Module):
    """What both networks begin with: strided layers down to SIDE x SIDE, and the dropout of the bottleneck."""

    SIDE: ClassVar[int]

    def __init__(self, channels: int, config: SliceNetworkConfig) -> None:
        super().__init__()
        widths = config.widths(self.SIDE)
        self.stem = _down(channels, widths[0], config)
        self.encoder = nn.Sequential(*(_down(a, b, config) for a, b in pairwise(widths)))
        self.dropout = Dropout(config.dropout)


class SliceNetwork(_Encoding):
    """The auto-encoder of (N, C, size, size)."""

    SIDE = 16

    def __init__(self, channels: int, config: SliceNetworkConfig) -> None:
        super().__init__(channels, config)
        widths = config.widths(self.SIDE)
        deepest, narrow = widths[-1], widths[-1] // 8
        self.bottleneck = nn.Sequential(
            nn.Conv2d(deepest, narrow, 1),
            nn.Flatten(),
            self.dropout,
            nn.Linear(narrow * self.SIDE**2, config.latent),
            *_widening(config.latent, narrow, deepest, self.SIDE),
        )
        self.decoder = _decoder(widths, channels, config)

    def forward(self, slices: Tensor) -> Tensor:
        """The reconstruction of (N, C, size, size)."""
        out: Tensor = self.decoder(self.bottleneck(self.encoder(self.stem(slices))))
        return out


class VariationalSliceNetwork(_Encoding):
    """The variational auto-encoder of (N, C, size, size), with a normal distribution in the bottleneck."""

    SIDE = 8

    def __init__(self, channels: int, config: SliceNetworkConfig) -> None:
        super().__init__(channels, config)
        widths = config.widths(self.SIDE)
        deepest, narrow = widths[-1], widths[-1] // 8
        flat = narrow * self.SIDE**2
        self.narrowing = nn.Sequential(nn.Conv2d(deepest, narrow, 1), nn.Flatten(), self.dropout)
        self.mean, self.log_sigma = nn.Linear(flat, config.latent), nn.Linear(flat, config.latent)
        self.widening = nn.Sequential(*_widening(config.latent, narrow, deepest, self.SIDE))
        self.decoder = _decoder(widths, channels, config)

    def encode(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """Means and logarithms of the standard deviations of (N, C, size, size), (N, latent) each."""
        features = self.narrowing(self.encoder(self.stem(slices)))
        return self.mean(features), self.log_sigma(features)

    def decode(self, latents: Tensor) -> Tensor:
        """Slices (N, C, size, size) of (N, latent)."""
        out: Tensor = self.decoder(self.widening(latents))
        return out


def _norm(width: int, config: SliceNetworkConfig) -> nn.Module:
    return nn.GroupNorm(8, width) if config.norm == "group" else nn.BatchNorm2d(width)


def _down(before: int, after: int, config: SliceNetworkConfig) -> nn.Sequential:
    layer = nn.Conv2d(before, after, 5, stride=2, padding=2)
    return nn.Sequential(layer, _norm(after, config), nn.LeakyReLU(0.2))


def _up(before: int, after: int, config: SliceNetworkConfig) -> nn.Sequential:
    layer = nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1)
    return nn.Sequential(layer, _norm(after, config), nn.LeakyReLU(0.2))


def _widening(latent: int, narrow: int, deepest: int, side: int) -> tuple[nn.Module, ...]:
    """From latents back to what the decoder takes."""
    return nn.Linear(latent, narrow * side**2), nn.Unflatten(1, (narrow, side, side)), nn.Conv2d(narrow, deepest, 1)


def _decoder(widths: list[int], channels: int, config: SliceNetworkConfig) -> nn.Sequential:
    mirrored = [*widths[::-1], widths[0]]
    return nn.Sequential(*(_up(a, b, config) for a, b in pairwise(mirrored)), nn.Conv2d(widths[0], channels, 1))
