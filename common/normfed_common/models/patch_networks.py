"""Patch auto-encoders, and their dense evaluation: the latent of the patch around every voxel in one pass.

Dense evaluation keeps the weights and replaces stride by dilation (à trous); it equals encoding every patch on its own
as long as every layer commutes with translation. That rules out normalising over a patch's spatial extent: the norm
here is over channels at each pixel.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from normfed_common.learning.normalisation import ChannelLayerNorm

Norm = Literal["layer", "batch"]


def _norm(kind: Norm, channels: int) -> nn.Module:
    return ChannelLayerNorm(channels) if kind == "layer" else nn.BatchNorm2d(channels)


class PatchAutoEncoder(nn.Module):
    """An encoder of (N, C, p, p) patches to (N, d) latents, its decoder, and its dense form."""

    latent_dimension: int
    patch_size: int
    stem_layers: int  # how many layers of the encoder see the image first
    encoder: nn.Sequential
    decoder: nn.Sequential

    def encode(self, patches: Tensor) -> Tensor:
        """Latents (N, d) of patches (N, C, p, p)."""
        return self.encoder(patches).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Patches (N, C, p, p) of latents (N, d)."""
        side = self.latent_side
        return self.decoder(latents.unflatten(1, (-1, side, side)))

    @staticmethod
    def check(patch_size: int) -> None:
        """Raise ValueError for a patch size that the architecture cannot take."""
        raise NotImplementedError

    @property
    def latent_side(self) -> int:
        """Height and width of the latent before it is flattened."""
        return 1

    def encode_dense(self, slices: Tensor) -> Tensor:
        """Latents (N, d, H, W) of the patch centred at every pixel of (N, C, H, W), zeros beyond the border."""
        raise NotImplementedError

    def _padded(self, slices: Tensor) -> Tensor:
        radius = self.patch_size // 2
        return functional.pad(slices, (radius, radius, radius, radius))


class IsbiAutoEncoder(PatchAutoEncoder):
    """The 5 000-parameter auto-encoder of Pinon 2023 (ISBI, arXiv 2302.13593): p=15 to a latent of 16.

    Conv5 - Conv3 - Conv3 stride 3 - Conv k, with k = (p-6)/3, so that p may be 9, 15, 21, ...
    """

    def __init__(self, channels: int, patch_size: int, norm: Norm) -> None:
        super().__init__()
        self.check(patch_size)
        last = (patch_size - 6) // 3
        self.patch_size, self.latent_dimension, self.stem_layers = patch_size, 16, 3

        def stage(layer: nn.Module, width: int) -> tuple[nn.Module, nn.Module, nn.Module]:
            return layer, _norm(norm, width), nn.GELU()

        self.encoder = nn.Sequential(
            *stage(nn.Conv2d(channels, 3, 5), 3),
            *stage(nn.Conv2d(3, 4, 3), 4),
            *stage(nn.Conv2d(4, 12, 3, stride=3), 12),
            *stage(nn.Conv2d(12, 16, last), 16),
        )
        self.decoder = nn.Sequential(
            *stage(nn.ConvTranspose2d(16, 12, last), 12),
            *stage(nn.ConvTranspose2d(12, 4, 3, stride=3), 4),
            *stage(nn.ConvTranspose2d(4, 3, 3), 3),
            nn.ConvTranspose2d(3, channels, 5),
            nn.Sigmoid(),
        )

    @staticmethod
    def check(patch_size: int) -> None:
        """See the base class."""
        if patch_size < 9 or patch_size % 6 != 3:
            raise ValueError(f"patch_size must be 9, 15, 21, ... for the isbi architecture, not {patch_size}")

    def encode_dense(self, slices: Tensor) -> Tensor:
        """See the base class: stride 3 becomes dilation 3 of the layer behind it."""
        x = self._padded(slices)
        for position, layer in enumerate(self.encoder):
            if isinstance(layer, nn.Conv2d):
                x = functional.conv2d(x, layer.weight, layer.bias, dilation=3 if position == 9 else 1)
            else:
                x = layer(x)
        return x


class AlaverdyanAutoEncoder(PatchAutoEncoder):
    """The siamese auto-encoder of Alaverdyan 2020 as in Muñoz-Ramírez 2021 (MLCN): 15 x 15 to a latent of 64."""

    def __init__(self, channels: int, patch_size: int, norm: Norm) -> None:
        super().__init__()
        self.check(patch_size)
        self.patch_size, self.latent_dimension, self.stem_layers = 15, 64, 3
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 16, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(16, 16, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 16, 3),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.ConvTranspose2d(16, 16, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(16, channels, 2),
            nn.Sigmoid(),
        )

    @staticmethod
    def check(patch_size: int) -> None:
        """See the base class."""
        if patch_size != 15:
            raise ValueError(f"patch_size must be 15 for the alaverdyan architecture, not {patch_size}")

    @property
    def latent_side(self) -> int:
        """The latent is 16 x 2 x 2."""
        return 2

    def encode_dense(self, slices: Tensor) -> Tensor:
        """See the base class: pooling with stride 1, dilation 2 behind it, then the four corners of each patch."""
        first, second, third = (layer for layer in self.encoder if isinstance(layer, nn.Conv2d))
        x = functional.relu(functional.conv2d(self._padded(slices), first.weight, first.bias))
        x = functional.max_pool2d(x, 2, stride=1)
        for layer in (second, third):
            x = functional.relu(functional.conv2d(x, layer.weight, layer.bias, dilation=2))
        height, width = slices.shape[-2:]
        corners = [x[..., a : a + height, b : b + width] for a in (0, 2) for b in (0, 2)]
        return torch.stack(corners, 2).flatten(1, 2)


ARCHITECTURES: dict[str, type[IsbiAutoEncoder] | type[AlaverdyanAutoEncoder]] = {
    "isbi": IsbiAutoEncoder,
    "alaverdyan": AlaverdyanAutoEncoder,
}
