"""Slice auto-encoder; the anomaly is what it cannot reconstruct.

Baur, Denner, Wiestler, Navab, Albarqouni 2021 (Medical Image Analysis 69:101952), the dense auto-encoder of their
unified architecture: axial slices of 128 x 128, strided 5 x 5 convolutions to 16 x 16, a dense bottleneck, mirrored
decoder.

    L(x) = mean |x - decode(encode(x))|        r = x - decode(encode(x)), the residual that `slices` scores
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from normfed_common.foundation import seeds
from normfed_common.learning.batch import Batch
from normfed_common.learning.setting import Setting
from normfed_common.models.initialisation import initialise
from normfed_common.models.slicewise.slice_networks import SliceNetwork
from normfed_common.models.slicewise.slices import SliceConfig, SliceModel
from normfed_common.study.base import Frozen


class AutoEncoderConfig(SliceConfig):
    """Parameters of the slice auto-encoder; defaults as published, but for the norm."""

    loss: Literal["l1", "l2"] = Field("l1", description="absolute or squared error of the reconstruction")


class AutoEncoder(SliceModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = AutoEncoderConfig
    cited: ClassVar[tuple[str, ...]] = ("baur2021",)

    def __init__(self, config: AutoEncoderConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        network = SliceNetwork(len(self.channels), config)
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "autoencoder"))
        self.network = self.slices = network.to(setting.device)
        self.parts = {
            "stem": network.stem,
            "encoder": network.encoder,
            "bottleneck": network.bottleneck,
            "decoder": network.decoder,
        }

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> Tensor:
        """Mean reconstruction error over a slice's normal tissue and background; padding does not count."""
        slices, counts = batch.data["slices"], batch.data["counts"]
        self.slices.dropout.generator = rng
        difference = slices - self.slices(slices)
        error = difference.abs() if self.config.loss == "l1" else difference.square()
        pixels = counts.sum((1, 2, 3)) * slices.shape[1]
        return (error * counts).sum((1, 2, 3)) / pixels.clamp(min=1)

    def residuals(self, slices: Tensor, counts: Tensor, rng: np.random.Generator) -> Tensor:
        """Of the one reconstruction."""
        self.slices.eval()
        with torch.inference_mode(), self.setting.autocast():
            residual: Tensor = slices - self.slices(slices)
        return residual[None]
