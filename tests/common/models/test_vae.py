"""The variational auto-encoder of slices: its loss in numbers, its draws, what its scores find."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import SHAPE, People, setting
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl_divergence

from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Person, Scan
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.models.vae import VariationalAutoEncoder, VariationalConfig, kl_divergence

SMALL = {"name": "vae", "size": 32, "filters": 8, "most_filters": 16, "latent": 8, "batch_size": 4}


def model(**changes: object) -> VariationalAutoEncoder:
    found = build(MODELS, {**SMALL, **changes}, setting())
    assert isinstance(found, VariationalAutoEncoder)
    return found


def batches(tried: VariationalAutoEncoder, people: People, seed: int = 0) -> Iterator[Batch]:
    for batch in tried.batches("training", people, np.random.default_rng(seed)):
        yield batch.to(setting().device)


def zero(*layers: torch.nn.Module) -> None:
    """Let these layers make nothing but 0."""
    with torch.no_grad():
        for parameter in (parameter for layer in layers for parameter in layer.parameters()):
            parameter.zero_()


def test_the_published_network_has_the_published_shape() -> None:
    network = VariationalAutoEncoder(VariationalConfig(), setting()).slices
    x = torch.zeros(1, 2, 128, 128, device=setting().device)
    assert network.encoder(network.stem(x)).shape == (1, 128, 8, 8)
    mean, log_sigma = network.encode(x)
    assert mean.shape == log_sigma.shape == (1, 128)
    assert network.decode(mean).shape == x.shape


def test_the_divergence_is_that_of_torch() -> None:
    rng = torch.Generator().manual_seed(0)
    mean, log_sigma = torch.randn((6, 5), generator=rng), torch.randn((6, 5), generator=rng)
    expected = torch_kl_divergence(Normal(mean, log_sigma.exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_sigma), expected)


@pytest.mark.parametrize(("loss", "error"), [("l1", 2 * 1.5 + 4 * 0.5), ("l2", (2 * 1.5**2 + 4 * 0.5**2) / 2)])
def test_the_loss_of_a_toy_is_that_by_hand(loss: str, error: float) -> None:
    """Reconstructed as 0.5; the latent's means are 2, deviations e: of 8 latents, KL = 4 (4 + e^2 - 2 - 1)."""
    tried = model(loss=loss, beta=0.25)
    zero(tried.slices)
    with torch.no_grad():
        tried.slices.decoder[-1].bias.fill_(0.5)
        tried.slices.mean.bias.fill_(2)
        tried.slices.log_sigma.bias.fill_(1)
    slices, counts = torch.zeros(1, 2, 32, 32), torch.zeros(1, 1, 32, 32)
    counts[0, 0, 4, 4:7] = 1  # three pixels of two modalities
    slices[0, :, 4, 4] = 2  # two of the six are 1.5 off
    slices[0, :, 20, 20] = 7  # does not count
    batch = Batch({"slices": slices, "counts": counts}, torch.zeros(1, 1, dtype=torch.int64)).to(setting().device)
    found = tried.loss("training", batch, torch.Generator().manual_seed(0))
    expected = error + 0.25 * 4 * (4 + np.e**2 - 2 - 1)
    assert found.tolist() == pytest.approx([expected], rel=1e-5)


def test_the_loss_is_of_latents_drawn_around_their_means_with_their_deviations() -> None:
    """A decoder that shows the first latent everywhere makes the loss |m + s e|, its mean that of a folded normal."""
    tried = model(dropout=0.0, beta=0.0)
    mean, sigma = 0.3, 0.8
    zero(tried.slices.mean, tried.slices.log_sigma)
    with torch.no_grad():
        tried.slices.mean.bias.fill_(mean)
        tried.slices.log_sigma.bias.fill_(float(np.log(sigma)))
    tried.slices.decode = lambda latents: latents[:, :1, None, None].expand(-1, 2, 32, 32)  # type: ignore[method-assign]
    slices, counts = torch.zeros(4000, 2, 32, 32), torch.zeros(4000, 1, 32, 32)
    counts[:, 0, 0, 0] = 0.5  # half of each modality: their mean
    tried.slices.encode = lambda x: (torch.full((len(x), 8), mean), torch.full((len(x), 8), np.log(sigma)))  # type: ignore[method-assign]
    batch = Batch({"slices": slices, "counts": counts}, torch.zeros(4000, 1, dtype=torch.int64))
    tried.slices.train()
    found = tried.loss("training", batch, torch.Generator().manual_seed(0)).detach()
    normal = Normal(0.0, 1.0)
    expected = sigma * np.sqrt(2 / np.pi) * np.exp(-(mean**2) / (2 * sigma**2)) + mean * (
        1 - 2 * float(normal.cdf(torch.tensor(-mean / sigma)))
    )
    assert float(found.mean()) == pytest.approx(expected, abs=4 * float(found.std()) / 4000**0.5)
    tried.slices.eval()
    assert tried.loss("training", batch, torch.Generator()).unique().tolist() == pytest.approx([mean])


def test_noise_and_dropout_follow_the_generator_that_they_are_given() -> None:
    tried = model(dropout=0.5)
    tried.slices.train()
    batch = next(batches(tried, People(1)))

    def loss(seed: int) -> float:
        return float(tried.loss("training", batch, torch.Generator().manual_seed(seed)).detach().sum())

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


@pytest.mark.parametrize("score", ["residual", "restoration"])
def test_draws_have_their_mean_and_its_standard_error(score: str) -> None:
    """The same draws one by one, each of a model of one: the generator goes on from one to the next."""
    few = {"score": score, "restoration": {"steps": 4, "step": 0.01}}
    people = People(1)
    rng, whole = np.random.default_rng(5), np.random.default_rng(5)
    one = replace(people.scan(0), mask=people.scan(0).mask.copy())
    one.mask[..., 4:] = False  # less than a slab: draws of one slab follow each other
    found = model(samples=3, **few).score([one], whole)
    alone = model(samples=1, **few)
    apart = [alone.score([one], rng) for _ in range(3)]
    assert all(score.uncertainty is None for score in apart)
    each = np.stack([score.anomaly for score in apart]).astype(np.float64)
    assert found.uncertainty is not None
    assert found.uncertainty[one.mask].max() > 0
    np.testing.assert_allclose(found.anomaly, each.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, each.std(0, ddof=1) / 3**0.5, atol=1e-6)


def test_without_draws_the_reconstruction_is_that_of_the_mean() -> None:
    tried = model()
    one = People(1).scan(0)
    found = tried.score([one], np.random.default_rng(0))
    assert found.uncertainty is None
    padded = np.zeros((1, 2, 32, 32), np.float32)
    padded[0, :, 3:29, 2:30] = one.images[..., 2]
    slices = torch.from_numpy(padded).to(setting().device)
    with torch.inference_mode():
        left = (slices - tried.slices.decode(tried.slices.encode(slices)[0]))[0, 1, 3:29, 2:30].cpu().numpy()
    np.testing.assert_allclose(found.anomaly[..., 2], np.maximum(left, 0) * one.mask[..., 2], atol=1e-5)


def brain(rng: np.random.Generator, lesion: bool = False) -> tuple[Scan, np.ndarray]:
    """A smooth brain that differs in size and brightness from person to person, and where its lesion is."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = sum(a**2 for a in axes) * rng.uniform(0.9, 1.1)
    mask = radius < 0.9
    t1 = (0.8 - 0.5 * radius) * rng.uniform(0.9, 1.1)
    images = (np.stack([t1, 1 - t1]) + 0.02 * rng.standard_normal((2, *SHAPE))) * mask
    where = np.zeros(SHAPE, bool)
    if lesion:
        where[8:11, 12:15, 2:4] = True
        images[1, where] += 0.6
    return Scan(
        images.astype(np.float32), mask, np.flatnonzero(mask).astype(np.int32), np.ones(2, bool), Person(0)
    ), where


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Of a model that has learnt from ten smooth brains."""
    tried, people, rng = model(dropout=0.0), People(0), np.random.default_rng(0)
    people.scans = [brain(rng)[0] for _ in range(10)]
    optimiser = torch.optim.Adam(tried.slices.parameters(), lr=3e-3)
    tried.slices.train()
    losses = []
    for epoch in range(25):
        for number, batch in enumerate(batches(tried, people, epoch)):
            optimiser.zero_grad()
            loss = tried.loss("training", batch, torch.Generator().manual_seed(1000 * epoch + number)).mean()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    assert np.mean(losses[-15:]) < 0.5 * np.mean(losses[:15])
    return tried.share()


@pytest.mark.parametrize("score", ["residual", "restoration"])
def test_a_lesion_that_was_planted_stands_out_of_normal_tissue(weights: dict[str, np.ndarray], score: str) -> None:
    tried = model(score=score, restoration={"steps": 60, "step": 0.01, "smoothness": 0.5})
    tried.load(weights)
    one, lesion = brain(np.random.default_rng(99), lesion=True)
    found = tried.score([one], np.random.default_rng(0)).anomaly
    normal = found[one.mask & ~lesion]
    assert np.median(found[lesion]) > np.quantile(normal, 0.95)
    assert np.median(found[lesion]) > 3 * np.median(normal)


def test_restoration_lowers_the_negative_elbo_of_a_lesion(weights: dict[str, np.ndarray]) -> None:
    tried = model(loss="l2", score="restoration", restoration={"steps": 40, "step": 0.01, "smoothness": 0.0})
    tried.load(weights)
    one, _ = brain(np.random.default_rng(99), lesion=True)
    slices = torch.zeros(2, 2, 32, 32)
    slices[:, :, 3:29, 2:30] = torch.from_numpy(np.moveaxis(one.images[..., 2:4], 3, 0).copy())
    slices = slices.to(setting().device)
    counts = torch.ones_like(slices[:, :1])
    taken = tried.residuals(slices, counts, np.random.default_rng(0))[0]
    before, after = (tried.negative_elbo(x, counts, None) for x in (slices, slices - taken))
    assert (after < before).all()
