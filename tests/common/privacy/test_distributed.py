"""Shares of one noise: in the sum of any h sites there is as much as is accounted for, and nobody moves it by more."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from secure_sites import Federation, names
from synthetic import People

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.keys import derived_key
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.phase import Phase
from normfed_common.privacy import accounting
from normfed_common.privacy.distributed import BITS, NoiseShare
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released, shortened
from normfed_common.privacy.spending import spending
from normfed_common.secure import parts
from normfed_common.secure.fixed_point import WidePoint
from normfed_common.secure.participation import Terms
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig

LEAST_P = 1e-4  # the draws are fixed by their keys: a test that passed once passes always
SHARE = NoiseShare(1.3, 3)
POINT = WidePoint(64, 1e12, 6)
SITES = names(6)  # of four at least, one of which may work for the server: three add all the noise
GRID = SHARE.grid(["a", "b"])
FINITE = st.floats(-1e6, 1e6)


@given(arrays(np.float64, 7, elements=FINITE), arrays(np.float64, (2, 3), elements=FINITE), st.floats(1e-3, 1e3))
def test_no_person_moves_the_integers_by_more_than_the_sensitivity(
    one: np.ndarray, two: np.ndarray, multiplier: float
) -> None:
    """In whole numbers: (1 / g)^2, compared without rounding."""
    share = NoiseShare(multiplier, 3)
    moved = share.rounded(shortened({"one": one, "two": two}))
    squares = sum(int(number) ** 2 for array in moved.values() for number in array.ravel())
    step = share.step.as_integer_ratio()
    assert squares * step[0] ** 2 <= step[1] ** 2


@given(arrays(np.float64, 7, elements=st.floats(-1, 1)))
def test_a_contribution_loses_less_than_a_step_and_a_millionth_in_every_entry(values: np.ndarray) -> None:
    contribution = shortened({"a": values})
    found = SHARE.rounded(contribution)["a"] * SHARE.step
    assert (np.abs(found - contribution["a"]) <= SHARE.step + 1e-7 * np.abs(contribution["a"])).all()


class Drawn(Bounded):
    """Sums to which every person adds a vector that is drawn for them."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"a": (60, 50), "b": (7,)}

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        return {name: rng.standard_normal(shape) for name, shape in self.shapes().items()}

    def beside(self, people: int) -> Arrays:
        return {"people": np.asarray(people, np.float64)}

    def repaired(self, total: Arrays, noise: float) -> Arrays:
        return total


class Never(Drawn):
    """Nobody is asked for their part."""

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        raise AssertionError("a person was asked")


def sums_of(people: Sequence[int], number: int, noise: float | NoiseShare) -> Arrays:
    """What leaves a site of these people."""
    key = derived_key(bytes(32), f"site {number}")
    return released(Drawn(), People(len(people)), lambda n: np.random.default_rng(people[n]), SecretNoise(key), noise)


def part_of(people: Sequence[int], number: int) -> Arrays:
    """The same as integers."""
    return parts.of_sums(sums_of(people, number, SHARE), len(people), POINT, GRID)


def decoded(found: Sequence[Arrays]) -> Arrays:
    """The sums of these parts."""
    return parts.total_sums(
        {n: functools.reduce(operator.add, (part[n] for part in found)) for n in found[0]}, POINT, GRID
    )


@pytest.fixture(scope="module")
def masked() -> tuple[Federation, dict[str, np.ndarray], parts.Layout]:
    """What each site sends of the same six people, under masks."""
    federation = Federation(SITES, terms=Terms(minimum_sites=4, colluding=1))
    made = {site: part_of(range(6), number) for number, site in enumerate(SITES)}
    layout = parts.layout(made[SITES[0]])
    return federation, {site: federation.masked(site, parts.flat(part, 64)) for site, part in made.items()}, layout


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_decoded_sum_has_the_noise_of_its_survivors_and_a_collusion_no_less_than_is_accounted(
    masked: tuple[Federation, dict[str, np.ndarray], parts.Layout], gone: int
) -> None:
    federation, sent, layout = masked
    survivors = SITES[gone:]
    vector = functools.reduce(operator.add, (sent[site] for site in survivors))
    total = parts.shaped(federation.unmasked(vector, survivors, survivors, survivors), layout)
    sums = parts.total_sums(total, POINT, GRID)
    own = decoded([part_of(range(6), 5)])  # of the last site, which tells the server
    plain = sums_of(range(6), 0, 0.0)
    for sites, found in ((len(survivors), sums), (len(survivors) - 1, {n: sums[n] - own[n] for n in plain})):
        noise = np.concatenate([(found[name] - sites * plain[name]).ravel() for name in Drawn().shapes()])
        target = SHARE.multiplier * math.sqrt(sites / SHARE.sites)
        assert target >= SHARE.multiplier  # what is accounted, whoever dropped out
        assert stats.kstest(noise / target, "norm").pvalue > LEAST_P
        spread = float((noise**2).sum()) / target**2
        assert LEAST_P < stats.chi2.cdf(spread, noise.size) < 1 - LEAST_P
        np.testing.assert_allclose(found["people"], 6 * sites)


def test_without_noise_the_sum_is_the_plain_one_to_a_step_per_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoiseShare, "noised", lambda self, total, _noise: total * self.step)
    sites = (range(4), range(4, 6), range(6, 9))
    found = decoded([part_of(people, number) for number, people in enumerate(sites)])
    plain = sums_of(range(9), 0, 0.0)
    assert found.keys() == plain.keys()
    for name, array in plain.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=9 * SHARE.step)


def test_sums_of_too_many_people_for_their_grid_are_refused_before_a_scan_is_opened() -> None:
    """So that the refusal says nothing of anybody's."""
    NoiseShare(0.02, 999).check(100_000)
    with pytest.raises(SiteError) as raised:
        released(Never(), People(100), np.random.default_rng, SecretNoise(bytes(32)), NoiseShare(1e-12, 999))
    assert raised.value.code is SiteCode.OUT_OF_RANGE
    assert "sums over 100 people takes integers up to" in raised.value.detail


def test_the_largest_sums_and_noise_of_as_many_sites_as_there_may_be_do_not_wrap() -> None:
    share = NoiseShare(0.02, 999)
    largest = 100_000 / share.step + 64 * 2**BITS
    values = np.array([1.0, -1.0]) * math.floor(largest) * share.step
    grid = share.grid(["a"])
    part = parts.of_sums({"a": values}, 1, POINT, grid)["a"]
    with np.errstate(over="ignore"):
        total = part * np.uint64(1000)
    np.testing.assert_allclose(parts.total_sums({"a": total}, POINT, grid)["a"], 1000 * values, rtol=1e-12)


def probabilities(sigma: float, reach: int) -> np.ndarray:
    """Of a discrete Gaussian, -reach to reach."""
    weights = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


def oracle(sigma: int, sites: int, moved: int, times: int, delta: float) -> float:
    """A lower bound on epsilon of ``times`` sums of discrete Gaussians, which one person moves by ``moved`` each: by
    dp-accounting, from probabilities that are convolved here."""
    reach = 14 * sigma
    one = probabilities(sigma, reach)
    noise = functools.reduce(np.convolve, [one] * sites)
    kept = np.flatnonzero(noise > 1e-30)
    middle = (len(noise) - 1) // 2
    with np.errstate(divide="ignore"):
        log = {int(place - middle): float(np.log(noise[place])) for place in kept}
    shifted = {number + moved: value for number, value in log.items()}
    found = privacy_loss_distribution.from_two_probability_mass_functions(
        log, shifted, pessimistic_estimate=False, value_discretization_interval=1e-4, symmetric=False
    )
    return float(found.self_compose(times).get_epsilon_for_delta(delta))


@pytest.mark.parametrize(("sites", "moved", "times"), [(2, 40, 1), (3, 90, 1), (3, 20, 4), (5, 35, 2)])
def test_the_epsilon_that_is_claimed_is_no_less_than_an_oracle_finds_for_sums_of_discrete_gaussians(
    sites: int, moved: int, times: int
) -> None:
    """On a grid far coarser than the product's, and tight: within a hundredth."""
    sigma, delta = 32, 1e-5
    claimed = accounting.epsilon([SampledGaussian(math.sqrt(sites) * sigma / moved, times=times)], delta)
    found = oracle(sigma, sites, moved, times, delta)
    assert found <= claimed * (1 + 1e-4)
    assert found > 0.99 * claimed


def of(privacy: PrivacyConfig) -> StudyConfig:
    """A study that asks for this."""
    study = resolve({"name": "asked", "data": {"modalities": ["T1w"]}, "model": {"name": "atlas"}}, "test")
    return study.model_copy(update={"privacy": privacy})


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 20), st.integers(4, 30), st.integers(0, 2), st.integers(1, 5))
def test_a_study_s_sums_claim_its_epsilon_together_and_more_where_a_site_is_alone(
    epsilon: float, minimum: int, colluding: int, rounds: int
) -> None:
    secure = {"minimum_sites": minimum, "colluding_sites": colluding, "noise": "distributed"}
    privacy = PrivacyConfig.model_validate({"epsilon": epsilon, "secure_aggregation": secure})
    plan = spending(of(privacy), [Phase("moments", "summed", rounds=rounds)])
    assert plan is not None
    assert plan.sums is not None
    assert plan.sums.sites == minimum - colluding
    together, alone = (accounting.epsilon([m.repeated(rounds)], 1e-5) for m in (plan.sums, plan.sums.alone()))
    assert 0.99 * epsilon < together <= epsilon < alone
    of_one = math.sqrt(sum([plan.sums.alone().noise_multiplier ** 2] * (minimum - colluding)))
    assert of_one == pytest.approx(plan.sums.noise_multiplier)
    each = spending(of(PrivacyConfig(epsilon=epsilon)), [Phase("moments", "summed", rounds=rounds)])
    assert each is not None
    assert each.sums is not None
    assert (each.sums.noise_multiplier, each.sums.sites) == (plan.sums.noise_multiplier, 1)
