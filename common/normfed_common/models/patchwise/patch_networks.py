"""Patch auto-encoders, and their dense evaluation: the latent of the patch around every voxel in one pass.

    encode(x) = encoder((x - centre) / scale),    decode(z) ~ (x - centre) / scale

Dense evaluation keeps the weights and replaces stride by dilation (à trous); it equals encoding every patch on its own
as long as every layer commutes with translation. That rules out normalising over a patch's spatial extent: the norm
here is over channels at each pixel, and patches are centred by one number per channel. Only where a single layer looks
at the whole patch may the centre be a patch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from normfed_common.learning.normalisation import ChannelLayerNorm

Norm = Literal["none", "layer", "batch"]
Latent = Literal["linear", "activated"]
Inputs = Literal["centred", "raw"]


class PatchAutoEncoder(nn.Module, ABC):
    """An encoder of (N, C, p, p) patches to (N, d) latents, its decoder, and its dense form.

    Parameters
    ----------
    norm
        Between convolution and activation; `none` for architectures that have none.
    latent
        Whether norm and activation follow the encoder's last convolution.
    inputs
        `raw` patches lie in [0, 1], as what the decoder's last sigmoid makes; without it, it makes `centred` ones.

    Raises
    ------
    ValueError
        If the architecture cannot take them.
    """

    latent_dimension: int
    patch_size: int
    stem_layers: int  # how many layers of the encoder see the image first; 0 where they are all of it
    encoder: nn.Sequential
    decoder: nn.Sequential
    centre: Tensor
    scale: Tensor

    def __init__(self, channels: int, patch_size: int, norm: Norm, latent: Latent, inputs: Inputs) -> None:
        super().__init__()
        self.check(patch_size, norm, latent)
        self.patch_size = patch_size
        # Not among the arrays that sites average: both follow from sums.
        self.register_buffer("centre", torch.zeros(channels, 1, 1), persistent=False)
        self.register_buffer("scale", torch.ones(()), persistent=False)

    @staticmethod
    @abstractmethod
    def check(patch_size: int, norm: Norm, latent: Latent) -> None:
        """Raise ValueError for parameters that the architecture cannot take."""

    def centre_on(self, mean: Tensor, scale: float) -> None:
        """Centre by the mean patch (C, p, p), of which dense evaluation takes each channel's mean, and scale."""
        self.centre = mean.mean((1, 2), keepdim=True).to(self.centre)
        self.scale = torch.full_like(self.scale, scale)

    def centred(self, images: Tensor) -> Tensor:
        """What the encoder sees of patches (N, C, p, p), and the decoder is to give back."""
        return (images - self.centre) / self.scale

    def encode(self, patches: Tensor) -> Tensor:
        """Latents (N, d) of patches (N, C, p, p)."""
        return self.encoder(self.centred(patches)).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Centred patches (N, C, p, p) of latents (N, d)."""
        side = self.latent_side
        return self.decoder(latents.unflatten(1, (-1, side, side)))

    @property
    def latent_side(self) -> int:
        """Height and width of the latent before it is flattened."""
        return 1

    @abstractmethod
    def encode_dense(self, slices: Tensor) -> Tensor:
        """Latents (N, d, H, W) of the patch centred at every pixel of (N, C, H, W), zeros beyond the border."""

    def _padded(self, slices: Tensor) -> Tensor:
        radius = self.patch_size // 2
        return functional.pad(slices, (radius, radius, radius, radius))


class IsbiAutoEncoder(PatchAutoEncoder):
    """The 5 000-parameter auto-encoder of Pinon 2023 (ISBI, arXiv 2302.13593): p=15 to a latent of 16.

    Conv5 - Conv3 - Conv3 stride 3 - Conv k, with k = (p-6)/3, so that p may be 9, 15, 21, ... Published with batch
    norm, GELU on the latent, and raw inputs. At p=9 twelve numbers are before the latent, so a linear one has rank 12.
    """

    def __init__(self, channels: int, patch_size: int, norm: Norm, latent: Latent, inputs: Inputs) -> None:
        super().__init__(channels, patch_size, norm, latent, inputs)
        last = (patch_size - 6) // 3

        def stage(layer: nn.Module, width: int) -> tuple[nn.Module, ...]:
            return layer, *_norm(norm, width), nn.GELU()

        self.latent_dimension, self.stem_layers = 16, len(stage(nn.Identity(), 3))
        code = nn.Conv2d(12, 16, last)
        self.encoder = nn.Sequential(
            *stage(nn.Conv2d(channels, 3, 5), 3),
            *stage(nn.Conv2d(3, 4, 3), 4),
            *stage(nn.Conv2d(4, 12, 3, stride=3), 12),
            *(stage(code, 16) if latent == "activated" else (code,)),
        )
        self.decoder = nn.Sequential(
            *stage(nn.ConvTranspose2d(16, 12, last), 12),
            *stage(nn.ConvTranspose2d(12, 4, 3, stride=3), 4),
            *stage(nn.ConvTranspose2d(4, 3, 3), 3),
            nn.ConvTranspose2d(3, channels, 5),
            *_last(inputs),
        )

    @staticmethod
    def check(patch_size: int, norm: Norm, latent: Latent) -> None:
        """See the base class."""
        if patch_size < 9 or patch_size % 6 != 3:
            raise ValueError(f"patch_size must be 9, 15, 21, ... for the isbi architecture, not {patch_size}")

    def encode_dense(self, slices: Tensor) -> Tensor:
        """See the base class: stride 3 becomes dilation 3 of the convolution behind it."""
        x = self.centred(self._padded(slices))
        dilation = 1
        for layer in self.encoder:
            if isinstance(layer, nn.Conv2d):
                x = functional.conv2d(x, layer.weight, layer.bias, dilation=dilation)
                dilation *= layer.stride[0]
            else:
                x = layer(x)
        return x


class AlaverdyanAutoEncoder(PatchAutoEncoder):
    """The siamese auto-encoder of Alaverdyan 2020 as in Muñoz-Ramírez 2021 (MLCN): 15 x 15 to a latent of 64.

    Published with ReLU on the latent, and raw inputs.
    """

    def __init__(self, channels: int, patch_size: int, norm: Norm, latent: Latent, inputs: Inputs) -> None:
        super().__init__(channels, patch_size, norm, latent, inputs)
        self.latent_dimension, self.stem_layers = 64, 3
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 16, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3),
            *((nn.ReLU(),) if latent == "activated" else ()),
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
            *_last(inputs),
        )

    @staticmethod
    def check(patch_size: int, norm: Norm, latent: Latent) -> None:
        """See the base class."""
        if patch_size != 15:
            raise ValueError(f"patch_size must be 15 for the alaverdyan architecture, not {patch_size}")
        if norm != "none":
            raise ValueError(f"norm must be none for the alaverdyan architecture, not {norm}")

    @property
    def latent_side(self) -> int:
        """The latent is 16 x 2 x 2."""
        return 2

    def encode_dense(self, slices: Tensor) -> Tensor:
        """See the base class: pooling with stride 1, dilation 2 behind it, then the four corners of each patch."""
        first, second, third = (layer for layer in self.encoder if isinstance(layer, nn.Conv2d))
        activated = isinstance(self.encoder[-1], nn.ReLU)
        x = functional.relu(functional.conv2d(self.centred(self._padded(slices)), first.weight, first.bias))
        x = functional.max_pool2d(x, 2, stride=1)
        x = functional.relu(functional.conv2d(x, second.weight, second.bias, dilation=2))
        x = functional.conv2d(x, third.weight, third.bias, dilation=2)
        x = functional.relu(x) if activated else x
        height, width = slices.shape[-2:]
        corners = [x[..., a : a + height, b : b + width] for a in (0, 2) for b in (0, 2)]
        return torch.stack(corners, 2).flatten(1, 2)


class LinearAutoEncoder(PatchAutoEncoder):
    """One p x p convolution to a latent of 16, and one back: trained to the end it spans 16 principal components.

    Baldi & Hornik 1989, Neural Networks 2(1):53-58. Centred by the whole mean patch, as principal components are.
    """

    def __init__(self, channels: int, patch_size: int, norm: Norm, latent: Latent, inputs: Inputs) -> None:
        super().__init__(channels, patch_size, norm, latent, inputs)
        self.latent_dimension, self.stem_layers = 16, 0
        self.encoder = nn.Sequential(nn.Conv2d(channels, 16, patch_size))
        self.decoder = nn.Sequential(nn.ConvTranspose2d(16, channels, patch_size))

    @staticmethod
    def check(patch_size: int, norm: Norm, latent: Latent) -> None:
        """See the base class."""
        if patch_size % 2 == 0:
            raise ValueError(f"patch_size must be odd for the linear architecture, not {patch_size}")
        if norm != "none" or latent != "linear":
            raise ValueError(
                f"norm must be none and latent linear for the linear architecture, not {norm} and {latent}"
            )

    def centre_on(self, mean: Tensor, scale: float) -> None:
        """See the base class; here by the whole patch."""
        self.centre = mean.to(self.centre)
        self.scale = torch.full_like(self.scale, scale)

    def encode_dense(self, slices: Tensor) -> Tensor:
        """See the base class: W (x - c) / s + b = (W / s) x + (b - W c / s)."""
        layer = self.encoder[0]
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        weight = layer.weight / self.scale
        bias = layer.bias - (weight * self.centre).sum((1, 2, 3))
        return functional.conv2d(self._padded(slices), weight, bias)


def _norm(kind: Norm, channels: int) -> tuple[nn.Module, ...]:
    if kind == "none":
        return ()
    return (ChannelLayerNorm(channels) if kind == "layer" else nn.BatchNorm2d(channels),)


def _last(inputs: Inputs) -> tuple[nn.Module, ...]:
    return (nn.Sigmoid(),) if inputs == "raw" else ()


ARCHITECTURES: dict[str, type[IsbiAutoEncoder] | type[AlaverdyanAutoEncoder] | type[LinearAutoEncoder]] = {
    "isbi": IsbiAutoEncoder,
    "alaverdyan": AlaverdyanAutoEncoder,
    "linear": LinearAutoEncoder,
}
