"""The mixture as a model: phases, voxels, the choice among numbers of classes, the score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from learning import sum_up
from mixing import voxels
from synthetic import People, setting, split

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import StudyError, WireError
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.models.mixture import Mixture
from normfed_common.studies import validate_learner

DISTRIBUTIONS = pytest.mark.parametrize("distribution", ["gaussian", "multiple-scale-t"])


def mixture(**values: Any) -> Mixture:
    found = build(MODELS, {"name": "mixture", **values}, setting())
    assert isinstance(found, Mixture)
    return found


def people(count: int) -> People:
    """Brains whose voxels are of known classes."""
    found = People(count)
    for number, scan in enumerate(found.scans):
        images = scan.images.copy()
        images[:, scan.mask] = voxels(0, count=int(scan.mask.sum()) + number)[:, number:]
        found.scans[number] = replace(scan, images=images)
    return found


def rounds(model: Mixture, sites: list[People], count: int) -> list[Arrays]:
    """The totals of all rounds, each absorbed."""
    draws = [np.random.default_rng(number) for number in range(len(sites))]
    totals = []
    for phase, turns in (("moments", 1), ("nearest", 5), ("em", count)):
        for _ in range(turns):
            parts = [model.statistics(phase, site, rng) for site, rng in zip(sites, draws, strict=True)]
            total = add({name: np.asarray(a) for name, a in part.items()} for part in parts)
            totals += [total] if phase == "em" else []
            model.absorb(phase, total)
    return totals


@DISTRIBUTIONS
def test_federated_and_pooled_sums_make_the_same_model_and_map(distribution: str) -> None:
    cohort = people(5)
    given = {"distribution": distribution, "classes": 3, "voxels_per_person": 800}
    federated, pooled = mixture(**given), mixture(**given)
    rounds(federated, split(cohort, 1, 4), 10)
    rounds(pooled, [cohort], 10)
    for name, expected in pooled.share().items():
        np.testing.assert_allclose(federated.share()[name], expected, rtol=1e-9, atol=1e-8, err_msg=name)
    maps = [model.score([cohort.scan(2)], np.random.default_rng(0)).anomaly for model in (federated, pooled)]
    np.testing.assert_allclose(*maps, rtol=1e-5, atol=1e-6)


@DISTRIBUTIONS
def test_the_likelihood_never_falls_from_round_to_round(distribution: str) -> None:
    """As it would if a round drew other voxels than the one before."""
    model = mixture(distribution=distribution, classes=(2, 4), voxels_per_person=500)
    totals = rounds(model, split(people(4), 2, 2), 25)
    for name in ("2.likelihood", "4.likelihood"):
        assert np.diff([float(total[name]) for total in totals]).min() > -1e-8


def test_so_many_voxels_of_a_person_are_summed_and_no_more_than_there_are() -> None:
    cohort, rng = people(2), np.random.default_rng(0)
    normal = [len(scan.normal_index) for scan in cohort.scans]
    assert mixture(voxels_per_person=100).statistics("moments", cohort, rng)["count"] == 200
    whole = mixture(voxels_per_person=10**6).statistics("moments", cohort, rng)
    assert whole["count"] == sum(normal)
    values = np.concatenate([scan.images[:, scan.mask] for scan in cohort.scans], axis=1).astype(float)
    np.testing.assert_allclose(whole["second"], values @ values.T, rtol=1e-9)


def test_rounds_end_when_the_likelihood_rises_by_less_than_the_tolerance() -> None:
    cohort, tolerance = people(3), 1e-3
    model = mixture(classes=3, tolerance=tolerance, iterations=200)
    likelihoods = [float(total["3.likelihood"] / total["count"]) for total in rounds(model, [cohort], 200)]
    expected = int(np.argmax(np.diff(likelihoods) < tolerance)) + 2
    again, ended = mixture(classes=3, tolerance=tolerance, iterations=200), 0
    rounds(again, [cohort], 0)
    for turn in range(1, 201):
        if again.absorb("em", again.statistics("em", cohort, np.random.default_rng(0))):
            ended = turn
            break
    assert 2 < ended == expected < 200


@DISTRIBUTIONS
def test_online_rounds_end_near_the_likelihood_of_exact_ones(distribution: str) -> None:
    """Each of which sees a twentieth of the voxels; the likelihood is of all of them."""
    cohort = people(3)
    y = np.concatenate([scan.images[:, scan.mask] for scan in cohort.scans], axis=1).astype(float)
    given: dict[str, Any] = {"distribution": distribution, "classes": 3, "iterations": 300}
    exact, online = mixture(**given, tolerance=1e-6), mixture(**given, online=True, batch_share=0.05)
    begun = mixture(**given)
    sum_up(exact, cohort)
    rounds(online, split(cohort, 1, 2), 300)
    rounds(begun, [cohort], 0)
    first, last, found = (float(one.averaged[3].log_density(y).mean()) for one in (begun, exact, online))
    assert last - first > 0.1
    assert abs(found - last) < 0.02 * (last - first)


def test_online_sums_leave_the_rounds_voxels_and_what_everybody_knows() -> None:
    """Less what was known, they are the step's share of the sums of this round's voxels."""
    cohort = people(2)
    model = mixture(classes=2, iterations=6, online=True, batch_share=0.5)
    last = rounds(model, [cohort], 2)[-1]
    sent = model.statistics("em", cohort, np.random.default_rng(9))
    exact = mixture(classes=2)
    exact.fitted, rng = model.fitted, np.random.default_rng(9)
    exact._voxels = lambda scan: model._batch(scan, rng)  # type: ignore[method-assign]
    batch = exact.statistics("em", cohort, rng)
    step = 4**-0.6
    for name in ("2.responsibility", "2.first", "2.second", "2.likelihood"):
        known = sent["count"] * last[name] / last["count"]
        np.testing.assert_allclose(sent[name] - (1 - step) * known, step * batch[name], rtol=1e-7, atol=1e-9)


def test_of_several_numbers_of_classes_the_one_of_the_data_scores() -> None:
    rng, cohort = np.random.default_rng(0), People(4)
    for number, scan in enumerate(cohort.scans):
        images = scan.images.copy()
        centres = np.array([[0.3, 0.3], [0.9, 0.4], [0.6, 1.2]]).T
        count = int(scan.mask.sum())
        images[:, scan.mask] = centres[:, rng.integers(3, size=count)] + 0.05 * rng.standard_normal((2, count))
        cohort.scans[number] = replace(scan, images=np.clip(images, 0, 2))
    several, alone = (mixture(classes=k, iterations=40, tolerance=0.0) for k in ((2, 3, 5), 3))
    sum_up(several, cohort)
    assert several.chosen == 3
    assert [choice.fit.classes for choice in several.choices] == [2, 3, 5]
    sum_up(alone, cohort)
    scan = cohort.scan(0)
    maps = [model.score([scan], np.random.default_rng(0)).anomaly for model in (several, alone)]
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize("score", ["proximity", "density"])
@DISTRIBUTIONS
def test_a_voxel_far_along_all_axes_scores_highest(distribution: str, score: str) -> None:
    cohort = People(3)
    model = mixture(distribution=distribution, classes=1, score=score)
    sum_up(model, cohort)
    classes, scan = model.averaged[1], cohort.scan(0)
    images, place = scan.images.copy(), tuple(np.argwhere(scan.mask)[100])
    images[(slice(None), *place)] = classes.means[0] + classes.axes[0] @ (9 * np.sqrt(classes.scales[0]))
    found = model.score([replace(scan, images=images)], np.random.default_rng(0)).anomaly
    assert found[place] == found.max() > 2 * np.median(found[scan.mask])


@pytest.mark.parametrize(("score", "is_highest"), [("density", True), ("proximity", False)])
def test_a_voxel_far_along_one_axis_is_abnormal_by_its_density_alone(score: str, is_highest: bool) -> None:
    cohort = People(3)
    model = mixture(classes=1, score=score)
    sum_up(model, cohort)
    classes, scan = model.averaged[1], cohort.scan(0)
    images, place = scan.images.copy(), tuple(np.argwhere(scan.mask)[100])
    images[(slice(None), *place)] = classes.means[0] + classes.axes[0, :, 0] * 9 * np.sqrt(classes.scales[0, 0])
    found = model.score([replace(scan, images=images)], np.random.default_rng(0)).anomaly
    assert (found[place] == found.max()) == is_highest


def test_the_scores_are_those_of_their_formulas() -> None:
    cohort = people(3)
    scan = cohort.scan(1)
    for score in ("proximity", "density"):
        model = mixture(classes=2, score=score)
        sum_up(model, cohort)
        classes, y = model.averaged[2], scan.images[:, scan.mask].astype(float)
        expected = {
            "proximity": np.log(1 + 1 / classes.proximity(y)),
            "density": classes.highest_log_density - classes.log_density(y),
        }[score]
        found = model.score([scan], np.random.default_rng(0)).anomaly[scan.mask]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def spoilt(model: Mixture, cohort: People, **entries: Any) -> Arrays:
    total = {name: np.asarray(a) for name, a in model.statistics("em", cohort, np.random.default_rng(0)).items()}
    model.check("em", total)
    return total | {name.replace("_", "."): np.asarray(value) for name, value in entries.items()}


def test_sums_that_no_people_have_make_no_model() -> None:
    cohort = people(2)
    exact, online = mixture(classes=2), mixture(classes=2, online=True, iterations=5)
    for model in (exact, online):
        rounds(model, [cohort], 0)
    for entries, said in (
        ({"count": 0.0}, "cover no people"),
        ({"2_likelihood": 1e12}, "likelihood"),
        ({"2_first": np.zeros((2, 3))}, "2 modalities"),
        ({"2_responsibility": np.zeros(2)}, "responsibilities"),
    ):
        with pytest.raises(WireError, match=said):
            exact.absorb("em", spoilt(exact, cohort, **entries))
    for steps in (0.0, 1e9):
        with pytest.raises(WireError, match="no round"):
            online.absorb("em", spoilt(online, cohort, steps=steps))


def test_classes_without_moments_are_refused() -> None:
    learnt = mixture(classes=2)
    rounds(learnt, [people(2)], 1)
    without = {name: array for name, array in learnt.share().items() if name.startswith("sums.em.")}
    with pytest.raises(WireError, match="moments"):
        mixture(classes=2).load(without)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"classes": [3, 3]}, "different numbers"),
        ({"classes": []}, "at least one"),
        ({"classes": [2, 3], "criterion": "slope"}, "at least 4"),
        ({"classes": 0}, "classes"),
    ],
)
def test_numbers_of_classes_that_cannot_be_chosen_among_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        validate_learner(MODELS, {"name": "mixture", **values}, "test")
