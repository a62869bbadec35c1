"""The plug-in of the tests does what it says: its code is what the guide teaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.federating import learnt_alone
from plugins import Plugins
from scipy import stats
from synthetic import SHAPE, People, setting, split

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import WireError
from normfed_common.learning.entries import build
from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.catalogue import METRICS
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import assemble
from normfed_common.privacy.cubes import averaged
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_server.sites import claims

PROJECT = Path(__file__).parent / "normfed-robust"
RNG = np.random.default_rng(0)
EXACT = {"tolerance": 1e-9, "iterations": 100, "prior_people": 1e-9}


@pytest.fixture(scope="module")
def robust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Installed for all tests of this file."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = Plugins(tmp_path_factory.mktemp("robust") / "plugins", monkeypatch)
        made.install_project(PROJECT)
        yield
    made.forget()


pytestmark = [pytest.mark.usefixtures("robust"), pytest.mark.xdist_group("third party")]


def fitted(sites: Sequence[People], **parameters: float) -> tuple[Any, int]:
    """A model, and the iterations that it took."""
    model = build(MODELS, {"name": "robust-atlas", **parameters}, setting())
    most = model.phases()[0].turns(1)
    for iteration in range(1, most + 1):
        if model.absorb("moments", named.add([model.statistics("moments", site, RNG) for site in sites])):
            return model, iteration
    return model, most


def test_every_voxel_is_the_student_t_that_scipy_fits() -> None:
    people = People(12)
    model, _ = fitted([people], **EXACT)
    everywhere = np.logical_and.reduce([scan.mask for scan in people.scans])
    for place in np.argwhere(everywhere)[::400]:
        where = (1, *place)
        _, mean, scale = stats.t.fit([float(scan.images[where]) for scan in people.scans], f0=4)
        assert model.mean[where] == pytest.approx(mean, abs=1e-3)
        assert model.variance[where] ** 0.5 == pytest.approx(scale, abs=1e-3)


def test_it_ends_when_it_has_converged_and_not_before() -> None:
    """One iteration more moves no mean by a twentieth of a standard deviation; the last but one still did."""
    people = People(12)
    model, iterations = fitted([people])
    assert 2 < iterations < 20
    before = model.mean
    model.absorb("moments", model.statistics("moments", people, RNG))
    assert (np.abs(model.mean - before) <= 0.05 * model.variance**0.5).all()
    early, _ = fitted([people], iterations=iterations - 2)
    before = early.mean
    early.absorb("moments", early.statistics("moments", people, RNG))
    assert (np.abs(early.mean - before) > 0.05 * early.variance**0.5).any()


def test_three_sites_learn_what_one_with_all_their_people_does() -> None:
    people = People(12)
    (federated, first), (pooled, second) = fitted(split(people, 3, 8, 1)), fitted([people])
    assert first == second
    np.testing.assert_allclose(federated.mean, pooled.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(federated.variance, pooled.variance, rtol=1e-9)


def test_one_strange_brain_moves_it_less_than_it_moves_the_atlas() -> None:
    people, strange = People(12), People(12)
    strange.scans[0].images[:] = 3.0 * strange.scans[0].mask
    moved = {}
    for name in ("robust-atlas", "atlas"):
        means = []
        for cohort in (people, strange):
            model = build(MODELS, {"name": name}, replace(setting(), value_range=(0.0, 3.0)))
            for _ in range(model.phases()[0].turns(1)):
                model.absorb("moments", model.statistics("moments", cohort, RNG))
            sums = model.sums("moments")
            means.append(sums["sum"] / np.maximum(sums["weight" if name == "robust-atlas" else "count"], 1e-9))
        moved[name] = np.abs(means[1] - means[0])[:, people.scan(0).mask].mean()
    assert moved["robust-atlas"] < moved["atlas"] / 3


def test_the_standard_error_is_the_spread_over_cohorts() -> None:
    """Of one scan, scored by models of 40 other people each."""
    scan, scores, told = People(1, seed=99).scan(0), [], []
    for seed in range(12):
        score = fitted([People(40, seed=seed)])[0].score([scan], RNG)
        scores.append(score.anomaly)
        told.append(score.uncertainty)
        assert score.extras["expected"][~scan.mask].max() == 0
    inner = np.zeros(SHAPE, bool)
    inner[8:18, 8:18, 2:4] = True  # brain in everybody
    spread = np.std(scores, axis=0, ddof=1)[inner]
    assert np.median(spread / np.mean(told, axis=0)[inner]) == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize(
    "hostile", [{"weight": -1.0}, {"weight": 0.0}, {"sum": 1e9}, {"squares": 1e30}, {"squares": 0.0}], ids=str
)
def test_sums_that_nobody_has_are_refused(hostile: dict[str, float]) -> None:
    model, _ = fitted([People(4)])
    total = {name: values.copy() for name, values in model.sums("moments").items()}
    for edge_mm in (2.0, 6.0):
        model.check("moments", averaged(total, model.places("moments"), edge_mm))
    for name, value in hostile.items():
        total[name][0, SHAPE[0] // 2, SHAPE[1] // 2, 3] = value
    with pytest.raises(WireError):
        model.check("moments", total)
    with pytest.raises(WireError, match="nobody has normal tissue anywhere"):
        model.absorb("moments", {name: 0 * values for name, values in total.items()})


def test_a_first_look_sees_the_share_of_the_lesion_that_lies_in_the_top_twentieth() -> None:
    scores = np.arange(100.0).reshape(100, 1, 1)
    mask = np.ones(scores.shape, bool)
    lesion = np.zeros_like(mask)
    lesion[[0, 50, 97, 99]] = True  # two of the four are among the five highest
    assert METRICS["first_look"](ScoredScan(scores, lesion, mask, 1.0)) == 0.5


def standardised(sites: Sequence[People]) -> Any:
    """The transform, learnt over sites."""
    transform = build(TRANSFORMS, {"name": "standardise"}, setting())
    transform.absorb("moments", named.add([transform.statistics("moments", site, RNG) for site in sites]))
    return transform


def test_standardised_tissue_of_all_sites_has_mean_0_and_deviation_1_per_modality() -> None:
    people = People(6)
    for number, one in enumerate(people.scans):
        one.images[1] *= 0.1 * (number + 1)
    transform = standardised(split(people, 1, 2, 3))
    values = np.concatenate([transform.transform(one).images[:, one.mask] for one in people.scans], axis=1)
    np.testing.assert_allclose(values.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(1), 1, rtol=1e-5)
    pooled = standardised([people])
    np.testing.assert_allclose(transform.mean, pooled.mean, rtol=1e-12)
    np.testing.assert_allclose(transform.deviation, pooled.deviation, rtol=1e-12)


def test_one_hot_voxel_is_clipped_to_what_the_atlas_behind_it_counts_on() -> None:
    """Values below 0 and above 2, which no scan of the study has, are honest there."""
    people = People(6)
    for one in people.scans:
        one.images[:, one.mask] *= 0.01
        one.images[0, 13, 14, 3] = 2.0
    model = assemble([{"name": "standardise"}], {"name": "atlas"}, setting())
    for phase in model.phases():
        sums = model.statistics(phase.name, people, RNG)
        claims.sums(sums, model, phase.name, len(people))
        model.absorb(phase.name, sums)
    mean = sums["sum"][0, 13, 14, 3] / sums["count"][13, 14, 3]
    assert mean == pytest.approx(5)


@pytest.mark.parametrize("hostile", [{"sum": 1e9}, {"squares": 1e30}, {"squares": 0.0}, {"count": 0.0}], ids=str)
def test_moments_that_no_scans_have_are_refused(hostile: dict[str, float]) -> None:
    transform = standardised([People(3)])
    total = {name: values.copy() for name, values in transform.sums("moments").items()}
    transform.check("moments", total)
    for name, value in hostile.items():
        total[name][1] = value
    with pytest.raises(WireError):
        transform.check("moments", total)


def test_voxels_whose_modalities_do_not_go_together_as_in_training_are_abnormal() -> None:
    """Everybody's FLAIR is dark where T1w is bright; with one number between, only that can be learnt."""
    people = People(4)
    for one in people.scans:
        one.images[1] = (1 - one.images[0]) * one.mask
    model = build(MODELS, {"name": "voxels"}, setting())
    learnt_alone(model, people, "a")
    patient = People(1, seed=9).scan(0)
    patient.images[1] = (1 - patient.images[0]) * patient.mask
    lesion = np.zeros_like(patient.mask)
    lesion[12:14, 12:14, 2:4] = True
    patient.images[:, lesion] = 1.0
    anomaly = model.score([patient], RNG).anomaly
    assert anomaly[lesion].min() > 10 * np.quantile(anomaly[patient.mask & ~lesion], 0.99)
