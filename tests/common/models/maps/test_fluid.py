"""Fluid by intensity, against scikit-learn's mixture and known classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture
from synthetic import scan

from normfed_common.models.maps.fluid import SAMPLE, darkest_class, mixture, patients_fluid
from normfed_common.study.postprocessing import shows_fluid

SHARES, MEANS, DEVIATIONS = (0.15, 0.45, 0.4), (0.2, 0.6, 0.9), (0.06, 0.08, 0.05)


def tissues(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and classes of three tissues."""
    rng = np.random.default_rng(1)
    kind = rng.choice(3, size, p=SHARES)
    return rng.normal(np.take(MEANS, kind), np.take(DEVIATIONS, kind)), kind


def test_the_mixture_is_scikit_learns_from_the_same_start() -> None:
    values, _ = tissues(SAMPLE)
    weights, means, variances = mixture(values)
    expected = GaussianMixture(3, means_init=np.quantile(values, [1 / 6, 0.5, 5 / 6])[:, None], tol=1e-9, max_iter=2000)
    expected.random_state = 0
    expected.fit(values[:, None])
    np.testing.assert_allclose(means, expected.means_[:, 0], atol=2e-3)
    np.testing.assert_allclose(weights, expected.weights_, atol=5e-3)
    np.testing.assert_allclose(np.sqrt(variances), np.sqrt(expected.covariances_[:, 0, 0]), atol=2e-3)


def test_the_darkest_class_is_the_fluid_that_was_drawn_up_to_where_classes_overlap() -> None:
    values, kind = tissues(20_000)
    found = darkest_class(values)
    assert (found == (kind == 0)).mean() > 0.99
    assert found[values < MEANS[0]].all()
    assert not found[values > MEANS[1]].any()


def test_a_constant_image_and_an_empty_one_have_no_fluid() -> None:
    assert not darkest_class(np.full(50, 0.5)).any()
    assert darkest_class(np.zeros(0)).shape == (0,)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("odd", [0.1, 0.9])
def test_an_image_of_one_value_but_for_a_few_voxels_has_no_fluid(odd: float) -> None:
    assert not darkest_class(np.append(np.full(100_000, 0.5), [odd] * 3)).any()


@pytest.mark.parametrize(("modality", "sign"), [("T1w", 1), ("FLAIR", 1), ("T2w", -1)])
def test_fluid_is_dark_on_t1_and_flair_and_bright_on_t2(modality: str, sign: int) -> None:
    one = scan(np.random.default_rng(0), channels=1)
    values, kind = tissues(int(one.mask.sum()))
    one.images[0][one.mask] = sign * values
    found = patients_fluid(one, (modality,))
    assert not found[~one.mask].any()
    assert (found[one.mask] == (kind == 0)).mean() > 0.98


def test_the_first_modality_that_shows_fluid_and_is_there_decides() -> None:
    one = scan(np.random.default_rng(0))
    absent = replace(one, present=np.array([False, True]))
    alone = replace(one, images=one.images[1:], present=one.present[1:])
    np.testing.assert_array_equal(patients_fluid(absent, ("T1w", "FLAIR")), patients_fluid(alone, ("FLAIR",)))
    assert not patients_fluid(absent, ("T1w", "pet")).any()


def test_modalities_show_fluid_in_this_order() -> None:
    assert shows_fluid(("FLAIR", "ce-gadolinium_T1w", "T1w")) == "T1w"
    assert shows_fluid(("T2w", "FLAIR", "ce-gadolinium_T1w")) == "ce-gadolinium_T1w"
    assert shows_fluid(("T2w", "FLAIR")) == "FLAIR"
    assert shows_fluid(("pet", "T2w")) == "T2w"
    assert shows_fluid(("pet",)) is None
