"""Variational auto-encoder of slices; the anomaly is what it cannot reconstruct, or what restoration takes away.

Baur, Denner, Wiestler, Navab, Albarqouni 2021 (Medical Image Analysis 69:101952), the dense variational auto-encoder of
their unified architecture, with a bottleneck of 8 x 8. With (m, log s) = encode(x), e standard normal noise, n pixels:

    L(x) = sum_n |x - decode(m + s e)| + beta KL        KL = sum 1/2 (m^2 + s^2 - 2 log s - 1)

The residual that `slices` scores is x - decode(m + s e), or x - x_K with x_K restored under L as energy, see
`restoration`. Without noise, e = 0, both are at the mean of the latent; with it, there are as many as draws of e, each
kept for all steps of a restoration, so that every restoration descends one function.
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
from normfed_common.models.slicewise.restoration import RestorationConfig, restore
from normfed_common.models.slicewise.slice_networks import VariationalSliceNetwork
from normfed_common.models.slicewise.slices import SliceConfig, SliceModel
from normfed_common.study.base import Frozen


class VariationalConfig(SliceConfig):
    """Parameters of the variational auto-encoder; defaults as published, but for the norm and for dropout, which is on
    what the dense layers see.

    Published weights and steps are for images whose brain lies in [0, 1], as normalisation by percentiles makes it.
    """

    loss: Literal["l1", "l2"] = Field("l1", description="l2: half the squared error, a Gaussian of variance 1")
    beta: float = Field(1.0, ge=0, le=1e6, description="weight of the KL divergence")
    score: Literal["residual", "restoration"] = Field(
        "residual", description="of the reconstruction, or of the restored slice, which takes `steps` times as long"
    )
    samples: int = Field(
        0, ge=0, le=1000, description="draws of the latent when scoring; two or more have an uncertainty; 0: its mean"
    )
    restoration: RestorationConfig = Field(RestorationConfig(), description="steps, step, smoothness, tolerance")


class VariationalAutoEncoder(SliceModel):
    """See the module."""

    Config: ClassVar[type[Frozen]] = VariationalConfig
    cited: ClassVar[tuple[str, ...]] = ("baur2021", "you2019")

    def __init__(self, config: VariationalConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        network = VariationalSliceNetwork(len(self.channels), config)
        initialise(network, seeds.torch_generator(setting.seed, "initial weights", "vae"))
        self.network = self.slices = network.to(setting.device)
        self.parts = {
            "stem": network.stem,
            "encoder": network.encoder,
            "bottleneck": torch.nn.ModuleList([network.narrowing, network.mean, network.log_sigma, network.widening]),
            "decoder": network.decoder,
        }

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> Tensor:
        """The negative ELBO over a slice's normal tissue and background; padding does not count.

        The noise is drawn in training alone, as dropout is, and on the CPU, so that it is the same on every device.
        """
        slices, counts = batch.data["slices"], batch.data["counts"]
        self.slices.dropout.generator = rng
        noise = None
        if self.slices.training:
            noise = torch.randn((len(slices), self.config.latent), generator=rng).to(slices.device)
        return self.negative_elbo(slices, counts, noise)

    def negative_elbo(self, slices: Tensor, counts: Tensor, noise: Tensor | None) -> Tensor:
        """Of (n, C, size, size), where (n, 1, size, size) count, under noise (n, latent), none for the mean: (n,)."""
        mean, log_sigma = self.slices.encode(slices)
        latents = mean if noise is None else mean + log_sigma.exp() * noise
        difference = slices - self.slices.decode(latents)
        error = difference.abs() if self.config.loss == "l1" else difference.square() / 2
        return (error * counts).sum((1, 2, 3)) + self.config.beta * kl_divergence(mean, log_sigma)

    def residuals(self, slices: Tensor, counts: Tensor, rng: np.random.Generator) -> Tensor:
        """Of every draw of the latent, or of the one at its mean."""
        self.slices.eval()
        found = []
        for _ in range(max(self.config.samples, 1)):
            noise = None
            if self.config.samples:
                drawn = rng.standard_normal((len(slices), self.config.latent), dtype=np.float32)
                noise = torch.from_numpy(drawn).to(slices.device)
            if self.config.score == "residual":
                found.append(slices - self._reconstructed(slices, noise))
            else:
                found.append(slices - self._restored(slices, counts, noise))
        return torch.stack(found)

    def _reconstructed(self, slices: Tensor, noise: Tensor | None) -> Tensor:
        with torch.inference_mode(), self.setting.autocast():
            mean, log_sigma = self.slices.encode(slices)
            return self.slices.decode(mean if noise is None else mean + log_sigma.exp() * noise)

    def _restored(self, slices: Tensor, counts: Tensor, noise: Tensor | None) -> Tensor:
        """In float32: gradients in fp16 would vanish unscaled."""

        def energy(now: Tensor, which: Tensor) -> Tensor:
            return self.negative_elbo(now, counts[which], None if noise is None else noise[which])

        return restore(slices, energy, self.config.restoration)


def kl_divergence(mean: Tensor, log_sigma: Tensor) -> Tensor:
    """Of normal distributions (n, latent) from the standard normal one, in nats: (n,)."""
    return 0.5 * (mean.square() + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(1)
