"""One-run audits: what is as private as it says stays below its claim, what lacks its noise does not."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_client.training.gradients import Plain
from normfed_common.privacy import accounting
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.spending import Spending
from normfed_common.study.privacy import PrivacyConfig
from normfed_simulation.audit.canaries import as_a_site_does, gaussians, one_run, through_training

DELTA, COUNT = 1e-5, 600


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("releases", [(SampledGaussian(1.0),), (SampledGaussian(1.5, 0.25, 40), SampledGaussian(3.0))])
def test_a_mechanism_that_keeps_its_promise_stays_below_it(releases: tuple[SampledGaussian, ...], seed: int) -> None:
    assert one_run(gaussians(releases, seed), COUNT, DELTA, seed).epsilon < accounting.epsilon(releases, DELTA)


def test_the_attack_is_not_blind_little_noise_is_seen_through() -> None:
    found = one_run(gaussians((SampledGaussian(0.5),), 0), COUNT, DELTA, 0)
    assert found.epsilon > 1.0
    assert found.auc > 0.85  # Phi(2 / sqrt 2) = .92


@pytest.mark.parametrize("claim", [1.0, 2.0, 4.0])
def test_a_mechanism_that_lacks_its_noise_is_caught(claim: float) -> None:
    """What leaves is noised with far too little for the claim."""
    z = accounting.noise_multiplier(claim, DELTA, lambda z: (SampledGaussian(z),))
    assert accounting.epsilon((SampledGaussian(z),), DELTA) <= claim
    assert one_run(gaussians((SampledGaussian(z / 100),), 0), COUNT, DELTA, 0).epsilon > claim


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_training_loop_with_the_noise_left_out_is_caught(rounds: int) -> None:
    found = one_run(through_training([Plain()] * rounds, length=1.0), COUNT, DELTA, 0)
    assert found.auc == 1.0
    assert found.epsilon > 4.0


def test_what_the_training_loop_lets_out_of_a_canary_is_its_gradient() -> None:
    inside = np.array([True, False, True])
    np.testing.assert_allclose(through_training([Plain()], length=0.5)(inside), 0.5 * inside)


SPENDINGS = {
    "sums": Spending(SampledGaussian(0.7), None, 2, 0),
    "rounds": Spending(None, SampledGaussian(0.8, 0.25, 4), 0, 5),
    "both": Spending(SampledGaussian(1.0), SampledGaussian(1.0, 0.5, 2), 1, 3),
}


@pytest.mark.parametrize("kind", SPENDINGS)
def test_what_a_site_runs_is_as_private_as_the_accountant_says(kind: str) -> None:
    spent, privacy = SPENDINGS[kind], PrivacyConfig(epsilon=8.0, clip_norm=0.5)
    found = one_run(as_a_site_does(privacy, spent, 0), 300, DELTA, 0)
    assert found.epsilon < accounting.epsilon(spent.releases(), DELTA)
    assert found.auc > 0.6  # the canaries are in what is released


@pytest.mark.parametrize("kind", SPENDINGS)
def test_what_a_site_runs_releases_what_the_accountant_thinks(kind: str) -> None:
    """The attacker's area is that of the mechanism of the books, of orthogonal canaries."""
    spent, privacy = SPENDINGS[kind], PrivacyConfig(epsilon=8.0, clip_norm=0.5)
    site = one_run(as_a_site_does(privacy, spent, 1), 300, DELTA, 1).auc
    books = one_run(gaussians(spent.releases(), 2), 300, DELTA, 2).auc
    assert site == pytest.approx(books, abs=0.12)
