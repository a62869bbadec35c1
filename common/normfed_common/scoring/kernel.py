"""RBF one-class SVMs: libsvm fits them, blocked kernel products in torch evaluate them.

f(z) = w.phi(z) - rho = sum_i a_i exp(-gamma ||z - s_i||^2) - rho over the support vectors s_i (Schölkopf 2001);
negative = outlier.

libsvm's a_i are in [0, 1] and sum to nu n. No f exceeds nu n / 4: ||phi(z)|| = 1, so f <= ||w|| - rho; f(s_i) <= 0
wherever a_i > 0, so ||w||^2 = sum_i a_i (f(s_i) + rho) <= nu n rho; and sqrt(nu n rho) - rho is largest at
rho = nu n / 4. Anomaly scores are nu n / 4 - f, the same constant for everybody, so that they are never negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.svm import OneClassSVM

BLOCK = 8192  # rows whose kernel with a few dozen support vectors stays in the processor's cache


@dataclass(frozen=True)
class OneClassMachine:
    """A fitted one-class SVM: support (m, d), coefficients (m,), offset rho, gamma."""

    support: np.ndarray
    coefficients: np.ndarray
    offset: float
    gamma: float


def fit(samples: np.ndarray, nu: float, gamma: float | None = None, tolerance: float = 1e-3) -> OneClassMachine:
    """Fit by libsvm on (n, d); gamma = 1 / (d var) unless given, as published.

    Decision values are within about a tenth of libsvm's ``tolerance``, in which the order of the samples matters.
    """
    gamma = gamma or scale_gamma(samples)
    machine = OneClassSVM(kernel="rbf", nu=nu, gamma=gamma, tol=tolerance)
    machine.random_state = 0  # libsvm shuffles nothing here, but would be seeded from NumPy's global stream
    machine.fit(samples)
    return OneClassMachine(machine.support_vectors_, machine.dual_coef_[0], float(-machine.intercept_[0]), gamma)


def scale_gamma(samples: np.ndarray) -> float:
    """1 / (d var), the variance over all entries (scikit-learn's ``scale``); 1 for constant samples."""
    variance = float(samples.var())
    return 1.0 / (samples.shape[1] * variance) if variance > 0 else 1.0


def anomaly(machines: Sequence[OneClassMachine], latents: torch.Tensor, nu: float, samples: int) -> torch.Tensor:
    """nu n / 4 - f, (n,), f the mean decision value at latents (n, d) of machines fitted on up to n samples.

    One n for all machines whose scores are compared, so that the constant changes no ranking.
    """
    return (nu * samples / 4 - decision(machines, latents)).clamp_(min=0)  # libsvm stops within a tolerance


def decision(machines: Sequence[OneClassMachine], latents: torch.Tensor) -> torch.Tensor:
    """Mean decision value (n,) of the machines at latents (n, d), in the latents' precision.

    The machines' kernels are one product, centred first so that the expanded square keeps its digits.
    """
    device, precision = latents.device, latents.dtype
    support = torch.from_numpy(np.concatenate([m.support for m in machines])).to(device)
    centre = support.mean(0)
    gamma = torch.from_numpy(np.concatenate([np.full(len(m.support), m.gamma) for m in machines])).to(device)
    weights = torch.from_numpy(np.concatenate([m.coefficients for m in machines])).to(device) / len(machines)
    offset = float(np.mean([m.offset for m in machines]))
    scaled = ((support - centre) * gamma.sqrt()[:, None]).to(precision)
    root, half = gamma.sqrt().to(precision), scaled.square().sum(1) / 2
    single = len({m.gamma for m in machines}) == 1
    values = torch.empty(len(latents), dtype=precision, device=device)
    for start in range(0, len(latents), BLOCK):
        block = latents[start : start + BLOCK] - centre.to(precision)
        square = block.square().sum(1, keepdim=True)
        square = square * gamma[0].to(precision) if single else square * gamma.to(precision)
        # -gamma |z - s|^2 = 2 (root z).(root s) - gamma |z|^2 - gamma |s|^2
        exponent = (
            torch.addmm(-half, block * root[0], scaled.T) if single else (block @ (scaled * root[:, None]).T) - half
        )
        kernel = exponent.mul_(2).sub_(square).exp_()
        values[start : start + BLOCK] = kernel @ weights.to(precision) - offset
    return values
