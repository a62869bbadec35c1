"""Diffusion times, against posteriors that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import invgamma, multivariate_normal
from torch.nn import functional

from normfed_common.models.initialisation import initialise
from normfed_common.models.patchwise.diffusion import SIGMAS, STEPS, TimeNetwork, noised

BINS = 7
VARIANCES = SIGMAS.astype(np.float64) ** 2


def posterior(vectors: np.ndarray, spread: float) -> np.ndarray:
    """Of the bins (n, BINS), where normal is N(0, spread^2 I): x_t is N(0, (spread^2 + sigma_t^2) I)."""
    variance = spread**2 + VARIANCES
    squares = (vectors.astype(np.float64) ** 2).sum(1)
    density = -squares[:, None] / (2 * variance) - vectors.shape[1] / 2 * np.log(variance)
    return binned(np.exp(density - density.max(1, keepdims=True)))


def binned(density: np.ndarray) -> np.ndarray:
    """Posteriors (n, BINS) of densities (n, STEPS)."""
    found = np.stack([density[:, np.arange(STEPS) * BINS // STEPS == number].sum(1) for number in range(BINS)], 1)
    return found / found.sum(1, keepdims=True)


def test_variances_are_the_published_ones() -> None:
    kept, beta = 1.0, 1e-4
    for sigma in SIGMAS:
        kept *= 1 - beta
        beta += (1e-2 - 1e-4) / 399
        assert sigma == pytest.approx((1 - kept) ** 0.5, rel=1e-5)
    assert len(SIGMAS) == 400


def test_noise_has_the_variance_of_its_bin_and_keeps_the_mean() -> None:
    start = np.full((140_000, 3), 5.0, np.float32)
    noisy, bins = noised(start, BINS, np.random.default_rng(0))
    assert noisy.dtype == np.float32
    for number in range(BINS):
        there = noisy[bins == number].astype(np.float64)
        steps = np.arange(-(-number * STEPS // BINS), -(-(number + 1) * STEPS // BINS))  # t with floor(t B / T) = b
        assert len(there) == pytest.approx(len(start) * len(steps) / STEPS, rel=0.03)
        assert there.mean() == pytest.approx(5, abs=0.02)
        assert ((there - 5) ** 2).mean() == pytest.approx(VARIANCES[steps].mean(), rel=0.03)


@pytest.mark.parametrize("dimension", [3, 4, 16])
def test_around_one_normal_vector_the_posterior_is_inverse_gamma(dimension: int) -> None:
    """The closed form of the paper, and the one of these tests, against densities evaluated one by one."""
    vectors = 0.5 * np.random.default_rng(0).standard_normal((5, dimension))
    numerical = np.array([[multivariate_normal.pdf(x, cov=v * np.eye(dimension)) for v in VARIANCES] for x in vectors])
    scale = (vectors**2).sum(1, keepdims=True) / 2
    closed = invgamma.pdf(VARIANCES[None], dimension / 2 - 1, scale=scale)
    np.testing.assert_allclose(binned(closed), binned(numerical), atol=1e-10)
    np.testing.assert_allclose(posterior(vectors, 0.0), binned(numerical), atol=1e-10)


@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["one vector", "Gaussian"])
def test_a_trained_network_has_the_posterior_that_is_known(spread: float) -> None:
    """Within 0.04 in total variation, and 0.1 in the mean bin, on the average of what may be seen."""
    rng = np.random.default_rng(1)
    network = TimeNetwork(4, (64, 64), 0.0, BINS)
    initialise(network, torch.Generator().manual_seed(1))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, 1500)
    for _ in range(1500):
        noisy, bins = noised((spread * rng.standard_normal((256, 4))).astype(np.float32), BINS, rng)
        optimiser.zero_grad()
        functional.cross_entropy(network(torch.from_numpy(noisy)), torch.from_numpy(bins)).backward()
        optimiser.step()
        schedule.step()
    fresh, _ = noised((spread * rng.standard_normal((4000, 4))).astype(np.float32), BINS, rng)
    with torch.inference_mode():
        found = network(torch.from_numpy(fresh)).softmax(1).numpy()
    known = posterior(fresh, spread)
    assert np.abs(found - known).sum(1).mean() / 2 < 0.04
    assert np.abs(known - 1 / BINS).sum(1).mean() / 2 > 0.08  # there is something to know
    assert np.abs((found - known) @ np.arange(BINS)).mean() < 0.1


def test_the_published_network_has_270_thousand_weights_and_drops_out_behind_two_of_three_layers() -> None:
    network = TimeNetwork(16, (256, 512, 256), 0.5, BINS)
    assert sum(weights.numel() for weights in network.parameters()) == 269_063
    kinds = [type(layer).__name__ for layer in network.hidden]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout"]
