"""Epsilon of compositions, against dp-accounting's loss distributions, opacus' accountants and closed forms."""

from __future__ import annotations

import math
import random
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from normfed_common.privacy.accounting import CLOSE, epsilon, noise_multiplier, together
from normfed_common.privacy.mechanisms import SampledGaussian

Releases = list[SampledGaussian]
SLACK = 1 + 2e-3  # epsilon is an upper bound, so that two of them may be in the wrong order by what it is too high


def alone() -> list[tuple[Releases, float]]:
    return [
        ([SampledGaussian(z, q, times)], delta)
        for z in (0.7, 1.2, 3.0, 10.0)
        for q in (0.01, 0.1, 0.25, 0.6, 1.0)
        for times in (1, 20, 60)
        for delta in (1e-5, 1e-8)
    ]


def composed() -> list[tuple[Releases, float]]:
    rng = random.Random(0)

    def one() -> SampledGaussian:
        z = round(rng.choice((0.8, 1.5, 4, 12)) * rng.uniform(0.8, 1.2), 3)
        return SampledGaussian(z, rng.choice((0.02, 0.1, 0.25, 0.5, 1.0)), rng.choice((1, 5, 40, 100)))

    return [([one() for _ in range(rng.choice((2, 3)))], rng.choice((1e-4, 1e-5, 1e-6))) for _ in range(80)]


def by_loss_distributions(releases: Releases, delta: float, step: float, upper: bool = True) -> float:
    """dp-accounting's upper or lower bound, for a person put in or taken out."""
    from dp_accounting.pld import privacy_loss_distribution

    found = privacy_loss_distribution.identity(step, pessimistic_estimate=upper)
    for release in releases:
        found = found.compose(
            privacy_loss_distribution.from_gaussian_mechanism(
                release.noise_multiplier,
                pessimistic_estimate=upper,
                value_discretization_interval=step,
                sampling_prob=release.sampling_rate,
                use_connect_dots=upper,
            ).self_compose(release.times)
        )
    return float(found.get_epsilon_for_delta(delta))


def told(z: float, q: float, epsilon: float) -> float:
    """Delta of one release at epsilon: P(l > epsilon) - exp(epsilon) Q(l > epsilon), the person being in P."""
    from_here = z**2 * math.log((math.exp(epsilon) - (1 - q)) / q) + 0.5
    without, within = norm.sf(from_here, scale=z), norm.sf(from_here, 1, z)
    return float((1 - q) * without + q * within - math.exp(epsilon) * without)


def test_epsilon_is_within_a_thousandth_of_dp_accountings() -> None:
    for releases, delta in (alone() + composed())[::3]:
        found = epsilon(releases, delta)
        other = by_loss_distributions(releases, delta, step=found / 2000)
        assert found == pytest.approx(other, rel=1e-3), (releases, delta)


def test_epsilon_is_never_below_the_lower_bound_of_dp_accounting() -> None:
    for releases, delta in (alone() + composed())[::5]:
        found = epsilon(releases, delta)
        assert found >= by_loss_distributions(releases, delta, step=found / 1000, upper=False), (releases, delta)


@pytest.mark.parametrize("z", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("q", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_of_one_release_epsilon_is_where_its_closed_form_has_delta(z: float, q: float, delta: float) -> None:
    found = epsilon([SampledGaussian(z, q)], delta)
    assert told(z, q, found) <= delta
    assert found == 0 or delta <= told(z, q, found * 0.998)


def test_an_epsilon_of_nothing_is_none_where_delta_is_the_distance_of_the_two_distributions() -> None:
    z = 10.0
    distance = 2 * norm.cdf(1 / (2 * z)) - 1  # of N(0, z^2) and N(1, z^2), in total variation
    assert epsilon([SampledGaussian(z)], distance * 1.001) == 0 < epsilon([SampledGaussian(z)], distance * 0.999)
    assert epsilon([], 1e-5) == 0
    assert epsilon([SampledGaussian(1.0), SampledGaussian(0.0, 0.5)], 1e-5) == math.inf


@pytest.mark.parametrize("releases", [releases for releases, delta in alone()[::4] + composed()[:20]])
def test_epsilon_is_never_above_that_of_renyi_privacy(releases: Releases) -> None:
    from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

    orders = [1 + x / 10 for x in range(1, 100)] + [*range(11, 64), 128, 256, 512]
    rdp = sum(
        compute_rdp(q=r.sampling_rate, noise_multiplier=r.noise_multiplier, steps=r.times, orders=orders)
        for r in releases
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an optimum at the largest order
        found, _ = get_privacy_spent(orders=orders, rdp=rdp, delta=1e-5)
    assert epsilon(releases, 1e-5) <= found


@pytest.mark.parametrize(
    "releases",
    [
        [SampledGaussian(1.0, 0.02, 500)],
        [SampledGaussian(5.0, 0.25, 400)],
        [SampledGaussian(2.0, 0.1, 50), SampledGaussian(6.0, 0.5, 30)],
    ],
)
def test_epsilon_is_below_the_upper_bound_of_opacus_numerical_accountant_and_close_to_it(releases: Releases) -> None:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(r.noise_multiplier, r.sampling_rate, r.times) for r in releases]
    upper = accountant.get_epsilon(1e-5, eps_error=0.01)
    assert upper - 0.02 - 1e-3 * upper <= epsilon(releases, 1e-5) <= upper


@pytest.mark.parametrize(
    ("releases", "delta"),
    [
        ([SampledGaussian(1.0, 0.01, 1000)], 1e-40),  # rounding would drown it
        ([SampledGaussian(0.001, 0.5)], 1e-5),  # losses beyond what exp can take
        ([SampledGaussian(1e-4, 0.3, 1000)], 1e-5),
        ([SampledGaussian(0.5, 1e-8, 10**6)], 1e-5),  # losses on two very different scales
    ],
)
def test_where_losses_cannot_be_added_up_epsilon_is_still_bounded(releases: Releases, delta: float) -> None:
    """By that of everybody being in each sample."""
    everybody = epsilon([SampledGaussian(r.noise_multiplier, 1.0, r.times) for r in releases], delta)
    assert 0 < epsilon(releases, delta) <= everybody * 1.02


releases_drawn = st.lists(
    st.builds(SampledGaussian, st.floats(0.6, 30), st.one_of(st.floats(0.01, 1), st.just(1.0)), st.integers(1, 50)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30)
@given(releases_drawn, st.floats(1e-8, 1e-2), st.floats(1, 3), st.integers(1, 5))
def test_epsilon_falls_with_noise_and_delta_and_grows_with_samples_and_times(
    releases: Releases, delta: float, factor: float, more: int
) -> None:
    found = epsilon(releases, delta)
    first, *rest = releases
    z, q, times = first.noise_multiplier, first.sampling_rate, first.times
    assert epsilon([SampledGaussian(z * factor, q, times), *rest], delta) <= found * SLACK
    assert epsilon([SampledGaussian(z, q / factor, times), *rest], delta) <= found * SLACK
    assert found <= epsilon([SampledGaussian(z, q, times + more), *rest], delta) * SLACK
    assert found <= epsilon([*releases, first], delta) * SLACK
    assert epsilon(releases, min(delta * factor, 0.5)) <= found * SLACK


@given(releases_drawn, st.randoms())
def test_the_order_of_releases_does_not_matter_nor_whether_equal_ones_are_counted_together(
    releases: Releases, rng: random.Random
) -> None:
    shuffled = [SampledGaussian(r.noise_multiplier, r.sampling_rate) for r in releases for _ in range(r.times)]
    rng.shuffle(shuffled)
    assert together(shuffled) == together(releases)


@settings(max_examples=30)
@given(st.floats(0.1, 20), st.floats(1e-8, 1e-3), st.sampled_from([0.05, 0.25, 1.0]), st.integers(1, 200))
def test_the_noise_for_a_target_has_that_epsilon_and_little_less_has_not(
    target: float, delta: float, q: float, times: int
) -> None:
    z = noise_multiplier(target, delta, lambda z: [SampledGaussian(z, q, times)])
    assert epsilon([SampledGaussian(z, q, times)], delta) <= target
    assert epsilon([SampledGaussian(z * (1 - 2 * CLOSE), q, times)], delta) > target * (1 - 1e-3)


def test_a_target_that_no_noise_reaches_is_refused() -> None:
    with pytest.raises(ValueError, match="asks for more noise than"):
        noise_multiplier(1e-7, 1e-9, lambda z: [SampledGaussian(z, times=1000)])
