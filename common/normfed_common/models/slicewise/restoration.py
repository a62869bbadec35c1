"""Restoration: the normal image nearest to an image, by gradient descent on the image itself.

You, Tezcan, Chen, Konukoglu 2019 (MIDL, PMLR 102:540); Chen, You, Tezcan, Konukoglu 2020 (Medical Image Analysis
64:101713). The maximum a posteriori x under a prior, an energy such as a negative ELBO, and a likelihood that expects
an anomaly to be piecewise constant:

    x_0 = the image        x_(k+1) = x_k - step * d/dx [ energy(x_k) + smoothness * TV(x_k - x_0) ]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from normfed_common.study.base import Frozen

LOOK_EVERY = 10  # steps

Energy = Callable[[Tensor, Tensor], Tensor]


class RestorationConfig(Frozen):
    """Parameters of the restoration; defaults as Baur 2021 ran it, on images whose brain lies in [0, 1]."""

    steps: int = Field(150, ge=1, le=100_000, description="150 in Baur's code, 500 in You 2019")
    step: float = Field(1e-3, gt=0, le=1, description="of gradient descent; also that of You 2019")
    smoothness: float = Field(1.8, ge=0, le=1000, description="weight of the total variation of what is changed")
    tolerance: float = Field(
        0.0,
        ge=0,
        lt=1,
        description=f"a slice is done when {LOOK_EVERY} steps lowered its objective by less than this share; 0: never",
    )


def restore(images: Tensor, energy: Energy, config: RestorationConfig) -> Tensor:
    """The restored images.

    Parameters
    ----------
    images
        (n, C, X, Y).
    energy
        Of images, given which of the n they are: (m, C, X, Y) and int64 (m,) to (m,). It has a gradient.
    """
    restored, going = images.clone(), torch.arange(len(images), device=images.device)
    last = images.new_full((len(images),), torch.inf)
    for step in range(config.steps):
        with torch.enable_grad():
            now = restored[going].requires_grad_()
            objective = energy(now, going) + config.smoothness * total_variation(now - images[going])
            (gradient,) = torch.autograd.grad(objective.sum(), now)
        restored[going] = now.detach() - config.step * gradient
        if config.tolerance and step % LOOK_EVERY == 0:
            found, before = objective.detach(), last[going]
            last[going] = found
            going = going[~(before - found < config.tolerance * found.abs())]
            if not len(going):
                break
    return restored


def total_variation(images: Tensor) -> Tensor:
    """Anisotropic, summed over pixels and channels: of (n, C, X, Y), (n,)."""
    return images.diff(dim=2).abs().sum((1, 2, 3)) + images.diff(dim=3).abs().sum((1, 2, 3))
