"""Diffusion times: how much noise makes normal vectors as strange as these.

Livernoche, Jain, Hezaveh, Ravanbakhsh 2024 (ICLR), as in their code (vicliv/DTE, `DTECategorical`): standardised x_0
becomes

    x_t = x_0 + sigma_t e,    e ~ N(0, I),    sigma_t^2 = 1 - prod_(s <= t) (1 - beta_s),    t uniform in 0 .. T - 1,

T = 400, beta linear from 1e-4 to 1e-2: means do not decay. A network estimates of x_t in which of B equal bins t is.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from torch import Tensor, nn

from normfed_common.models.dropout import Dropout

STEPS = 400
SIGMAS = np.sqrt(1 - np.cumprod(1 - np.linspace(1e-4, 1e-2, STEPS))).astype(np.float32)  # (T,): 0.01 to 0.93


def noised(vectors: np.ndarray, bins: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x_t of vectors (n, d), each at a time of its own, float32 (n, d), and the bins of these times, int64 (n,)."""
    step = rng.integers(STEPS, size=len(vectors))
    noise = rng.standard_normal(vectors.shape, np.float32)
    return vectors + SIGMAS[step, None] * noise, step * bins // STEPS


class TimeNetwork(nn.Module):
    """Logits (N, bins) of (N, inputs): dense layers with ReLU, dropout behind all hidden layers but the first.

    The published network ends with a softmax, of which the published loss takes another one; this one does not.
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...], dropout: float, bins: int) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        layers: list[nn.Module] = [nn.Linear(inputs, hidden[0]), nn.ReLU()]
        for before, after in pairwise(hidden):
            layers += [nn.Linear(before, after), nn.ReLU(), self.dropout]
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(hidden[-1], bins)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.output(self.hidden(vectors))
        return logits
