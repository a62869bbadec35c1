"""Landmarks of all sites' scans: exactly the pooled means, as another library has them, and what may leave of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from intensity_normalization import NyulNormalizer
from oracles.exact_image import Exact
from scipy import stats
from synthetic import SHAPE, People, setting, split

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import StudyError, WireError
from normfed_common.learning.bounded import PEOPLE, Bounded
from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released
from normfed_common.studies import validate_learner
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.landmarks import Landmarks, piecewise_linear
from normfed_common.transforms.means import PHASE
from normfed_common.transforms.transformed import transformed

BOTH = pytest.mark.parametrize("name", ["nyul", "histogram-template"])


def made(name: str, where: Setting | None = None, **values: Any) -> Landmarks:
    found = build(TRANSFORMS, validate_learner(TRANSFORMS, {"name": name, **values}, "test"), where or setting())
    assert isinstance(found, Landmarks)
    return found


def sums_of(transform: Landmarks, people: People) -> Arrays:
    return transform.statistics(PHASE, people, np.random.default_rng(0))


def skewed(count: int, power: float = 2.0, step: float = 0.25) -> People:
    """People whose histograms differ."""
    people = People(count)
    for number, one in enumerate(people.scans):
        one.images[:] = one.images ** (power + step * number)
    return people


def test_nyul_of_a_federation_is_nyul_of_all_people_in_another_library() -> None:
    people = skewed(5)
    transform = made("nyul", scale=[1.0, 100.0], clip=[-1000.0, 1000.0])
    transform.absorb(PHASE, add(sums_of(transform, part) for part in split(people, 1, 4)))
    stranger = skewed(1, power=0.5).scans[0]
    for channel in (0, 1):
        oracle = NyulNormalizer()
        images, masks = [Exact(one.images[channel]) for one in people.scans], [Exact(o.mask) for o in people.scans]
        oracle.fit_population(images, masks)
        mean = transform.mean(channel)
        assert mean is not None
        np.testing.assert_allclose(transform.standard(mean), oracle.standard_scale, rtol=1e-12)
        expected = oracle.transform(Exact(stranger.images[channel]), Exact(stranger.mask)).get_data()
        found = transformed(stranger, [transform]).images[channel]
        np.testing.assert_allclose(found[stranger.mask], expected[stranger.mask], rtol=1e-6, atol=1e-5)


def test_the_mean_of_normal_distributions_is_normal() -> None:
    """A closed form: the barycentre of N(m, s^2) is that of the mean m and the mean s."""
    transform, quantiles = made("histogram-template"), (np.arange(100) + 0.5) / 100
    people = People(2)
    for one, (middle, spread) in zip(people.scans, ((0.8, 0.1), (1.2, 0.3)), strict=True):
        ranks = (np.argsort(np.argsort(np.random.default_rng(0).random(one.mask.sum()))) + 0.5) / one.mask.sum()
        one.images[:, one.mask] = stats.norm(middle, spread).ppf(ranks)
    transform.absorb(PHASE, sums_of(transform, people))
    mean = transform.mean(0)
    assert mean is not None
    expected = stats.norm(1.0, 0.2).ppf(quantiles)
    np.testing.assert_allclose(transform.standard(mean), expected, atol=6e-3)  # of the outermost of 2,000 voxels


def matched(source: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Histogram matching as scikit-image does it: through the cumulative histograms of all values."""
    _, place, counts = np.unique(source, return_inverse=True, return_counts=True)
    values, of_template = np.unique(template, return_counts=True)
    aims = np.interp(np.cumsum(counts) / source.size, np.cumsum(of_template) / template.size, values)
    found: np.ndarray = aims[place]
    return found


def test_a_template_of_one_person_matches_histograms_as_they_are_matched_to_an_image() -> None:
    people = skewed(2)
    transform = made("histogram-template")
    transform.absorb(PHASE, sums_of(transform, split(people, 1)[0]))
    template, one = people.scans
    found = transformed(one, [transform]).images[0][one.mask]
    expected = matched(one.images[0][one.mask], template.images[0][template.mask])
    np.testing.assert_allclose(found, expected, atol=0.01)  # a hundredth of the brain lies between two quantiles
    assert np.abs(one.images[0][one.mask] - expected).max() > 0.05


@BOTH
def test_people_whose_scanners_bend_intensities_are_alike_afterwards(name: str) -> None:
    people = skewed(6)
    transform = made(name)
    transform.absorb(PHASE, sums_of(transform, people))

    def spread(scans: list[Scan]) -> float:
        deciles = [np.quantile(one.images[0][one.mask], np.arange(1, 10) / 10) for one in scans]
        return float(np.std(deciles, 0).mean())

    assert spread([transformed(one, [transform]) for one in people.scans]) < spread(people.scans) / 10


ASCENDING = arrays(np.float64, 6, elements=st.floats(0, 1, width=32)).map(np.sort)


@given(arrays(np.float64, 20, elements=st.floats(-3, 3)), ASCENDING, ASCENDING)
def test_order_is_kept_and_landmarks_become_the_standard_ones(
    values: np.ndarray, own: np.ndarray, standard: np.ndarray
) -> None:
    found = piecewise_linear(np.sort(values), own, standard)
    assert (np.diff(found) >= -1e-9).all()
    alike = {place: standard[own == place].mean() for place in own}
    np.testing.assert_allclose(piecewise_linear(own, own, standard), [alike[place] for place in own], atol=1e-9)


@BOTH
def test_a_modality_that_too_few_people_have_is_not_told(name: str) -> None:
    people = People(4)
    for one in people.scans[1:]:
        one.images[1], one.present[1] = 0, False
    transform = made(name, replace(setting(), told_together=2))
    sums = sums_of(transform, people)
    np.testing.assert_array_equal(sums["count"], [4, 0])
    assert sums["sum"][0].any()
    assert not sums["sum"][1].any()
    transform.absorb(PHASE, sums)
    assert np.ptp(transformed(people.scans[0], [transform]).images[1]) > 0  # by the scan's own range


def test_two_visits_of_one_person_are_one_person() -> None:
    transform = made("nyul", replace(setting(), told_together=2))
    assert not sums_of(transform, People(1, visits=2))["count"].any()


@BOTH
@pytest.mark.parametrize("fault", ["descends", "beyond", "negative", "nobody counted"])
def test_sums_that_no_scans_have_are_refused(name: str, fault: str) -> None:
    transform = made(name)
    sums = sums_of(transform, People(3))
    if fault == "descends":
        sums["sum"][0] = sums["sum"][0][::-1].copy()
    elif fault == "beyond":
        sums["sum"][1, -1] = 3.1
    elif fault == "negative":
        sums["sum"][0, 0] = -0.1
    else:
        sums["count"][0] = 0
    with pytest.raises(WireError):
        transform.check(PHASE, sums)


@pytest.mark.parametrize(
    "values",
    [{"percentiles": [10.0, 10.0]}, {"percentiles": [50.0, 101.0]}, {"scale": [1.0, 1.0]}, {"clip": [2.0, 1.0]}],
)
def test_landmarks_and_ranges_that_do_not_ascend_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="ascend"):
        made("nyul", **values)


def private(name: str, **changes: Any) -> tuple[Landmarks, Bounded]:
    transform = made(name, replace(setting(), private=True, **changes))
    bounded = transform.bounded(PHASE)
    assert bounded is not None
    return transform, bounded


def told(bounded: Bounded, people: People, multiplier: float) -> Arrays:
    return released(bounded, people, np.random.default_rng, SecretNoise(bytes(32)), multiplier)


@BOTH
def test_without_noise_private_landmarks_are_the_same_and_nobodys_part_is_cut(name: str) -> None:
    people = skewed(4, 0.6, 0.1)
    transform, bounded = private(name)
    plain = sums_of(transform, people)
    found = bounded.repaired(told(bounded, people, 0.0), 0.0)
    for key, array in plain.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-9, atol=1e-9)


@BOTH
def test_a_server_repairs_noisy_landmarks_and_they_are_near_with_many_people(name: str) -> None:
    """A thousand people like these three: noise of 10 is then .01 of a person's own length."""
    people, (transform, bounded) = skewed(3, 0.6, 0.1), private(name)
    _, server = private(name, shape=(1, 1, 1), open_anatomy=None)
    crowd = {key: array * 1000 for key, array in told(bounded, people, 0.0).items()}
    assert crowd[PEOPLE] == 3000
    rng = np.random.default_rng(0)
    for noise, most in ((10.0, 0.02), (1e4, np.inf)):
        total = crowd | {"landmarks": crowd["landmarks"] + noise * rng.standard_normal(crowd["landmarks"].shape)}
        found = server.repaired(total, noise)
        transform.absorb(PHASE, found)
        difference = found["sum"] / 3000 - sums_of(transform, people)["sum"] / 3
        assert np.abs(difference).max() < most
        transformed(people.scans[0], [transform])


def test_a_person_without_brain_adds_nothing() -> None:
    people, (_, bounded) = People(1), private("nyul")
    people.scans[0] = replace(people.scans[0], mask=np.zeros(SHAPE, bool), images=0 * people.scans[0].images)
    assert not told(bounded, people, 0.0)["landmarks"].any()


@BOTH
def test_where_scans_may_lack_modalities_nothing_is_bounded(name: str) -> None:
    assert made(name, replace(setting(), private=True, may_lack=("FLAIR",))).bounded(PHASE) is None
