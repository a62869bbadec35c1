"""The atlas's sides, units, smoothing and covariates, against the same worked out of all scans in one place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from learning import sum_up
from synthetic import SHAPE, People, scan, setting, split

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Person, Scan
from normfed_common.learning.entries import build
from normfed_common.models.atlas import Atlas, AtlasConfig
from normfed_common.models.catalogue import MODELS
from normfed_common.models.voxelwise.intensities import robust_units, smoothed_inside
from normfed_common.privacy.cubes import averaged

RNG = np.random.default_rng(0)
NEW = replace(scan(np.random.default_rng(77)), person=Person(-1))
PEOPLE = People(9)
EVERYWHERE = np.logical_and.reduce([one.mask for one in [*PEOPLE.scans, NEW]])


def atlas(may_lack: tuple[str, ...] = (), modalities: tuple[str, ...] = ("T1w", "FLAIR"), **values: object) -> Atlas:
    made = build(MODELS, {"name": "atlas", **values}, replace(setting(modalities), may_lack=may_lack))
    assert isinstance(made, Atlas)
    return made


def scored(made: Atlas, one: Scan = NEW, people: People = PEOPLE) -> np.ndarray:
    sum_up(made, people)
    return made.score([one], RNG).anomaly


def z_scores(images: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Of images (C, X, Y, Z) among those of people (N, C, X, Y, Z), where all have brain."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = (images - of.mean(0)) / of.std(0)
    return found


def softplus(values: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(values))


STACK = np.stack([one.images for one in PEOPLE.scans]).astype(float)
T1, FLAIR = np.where(EVERYWHERE, z_scores(NEW.images, STACK), 0)
PLAIN = {"prior_subjects": 0.0, "smoothing_mm": 0.0}


@pytest.mark.parametrize(
    ("suspicious", "expected"),
    [
        ({}, (FLAIR - T1) / np.sqrt(2)),
        ({"T1w": "bright"}, (FLAIR + T1) / np.sqrt(2)),
        ({"FLAIR": "dark"}, -(FLAIR + T1) / np.sqrt(2)),
        ({"T1w": "both", "FLAIR": "both"}, (np.abs(FLAIR) + np.abs(T1)) / np.sqrt(2)),
    ],
    ids=["usual", "T1w bright", "FLAIR dark", "both"],
)
def test_the_score_is_the_softplus_of_stouffers_z_to_the_suspicious_sides(
    suspicious: dict[str, str], expected: np.ndarray
) -> None:
    found = scored(atlas(suspicious=suspicious, **PLAIN))
    np.testing.assert_allclose(found[EVERYWHERE], softplus(expected)[EVERYWHERE], rtol=1e-4)
    assert (found[~NEW.mask] == 0).all()


def test_of_other_modalities_both_sides_are_suspicious() -> None:
    assert atlas(modalities=("pet", "T2w", "T1w", "FLAIR")).suspicious == {
        "pet": "both",
        "T2w": "bright",
        "T1w": "dark",
        "FLAIR": "bright",
    }


def test_the_mean_brain_residual_is_the_signed_distance_from_the_mean() -> None:
    found = scored(atlas(scale="none", smoothing_mm=0.0))
    t1, flair = NEW.images - STACK.mean(0)
    np.testing.assert_allclose(found[EVERYWHERE], softplus((flair - t1) / np.sqrt(2))[EVERYWHERE], rtol=1e-4)


def test_z_is_smoothed_inside_the_brain_before_its_side_is_looked_at() -> None:
    made = atlas(modalities=("T1w",), suspicious={"T1w": "both"}, smoothing_mm=3.0)
    alone = People(9, channels=1)
    one = replace(NEW, images=NEW.images[:1], present=NEW.present[:1])
    found = scored(made, one, alone)
    mean, variance = made.mean_and_variance()
    known = one.mask & np.isfinite(mean[0])
    z = np.where(known, (one.images[0] - mean[0]) / np.sqrt(variance[0]), 0)
    expected = np.where(known, softplus(np.abs(smoothed_inside(z, known, 1.5))), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_by_default_signed_scores_are_smoothed_and_the_published_one_is_not() -> None:
    assert (atlas().smoothing_mm, atlas(score="rms").smoothing_mm) == (2.0, 0.0)
    assert atlas(score="rms", smoothing_mm=1.0).smoothing_mm == 1.0


def test_robust_units_make_an_atlas_blind_to_a_scanners_scale_and_offset() -> None:
    other = replace(NEW, images=(NEW.images * 0.7 + 0.2).astype(np.float32))
    expected = scored(atlas(units="robust"))
    np.testing.assert_allclose(scored(atlas(units="robust"), other), expected, rtol=1e-3, atol=1e-4)
    assert not np.allclose(scored(atlas(), other)[EVERYWHERE], scored(atlas())[EVERYWHERE], rtol=0.1)


def test_robust_units_are_those_of_each_scan_by_itself() -> None:
    in_units = [robust_units(one.images, one.mask, one.present) for one in PEOPLE.scans]
    t1, flair = z_scores(robust_units(NEW.images, NEW.mask, NEW.present), np.stack(in_units).astype(float))[
        :, EVERYWHERE
    ]
    found = scored(atlas(units="robust", **PLAIN))
    np.testing.assert_allclose(found[EVERYWHERE], softplus((flair - t1) / np.sqrt(2)), rtol=1e-3)


def ageing(count: int = 12, lacking: tuple[int, ...] = ()) -> People:
    """People whose T1 darkens with age, and whose FLAIR is brighter in men; some have no FLAIR."""
    found, rng = People(count, seed=4), np.random.default_rng(8)
    for number, one in enumerate(found.scans):
        age, sex = 20 + 60 * rng.random(), "FM"[number % 2]
        images = one.images + np.array([1 - age / 80, 0.8 * (sex == "M")], np.float32)[:, None, None, None]
        present = np.array([True, number not in lacking])
        images = np.where(one.mask & present[:, None, None, None], images, 0)
        found.scans[number] = replace(one, images=images, present=present, person=Person(number, age, sex))  # type: ignore[arg-type]
    return found


def least_squares(people: People, channel: int, ridge: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place by place over the people who have it: coefficients (3, V), variance and number of people (V,)."""
    ages = np.array([one.person.age for one in people.scans], float)
    male = np.array([one.person.sex == "M" for one in people.scans], float)
    age = (ages - ages.mean()) / ages.std()
    x = np.column_stack([np.ones(len(ages)), np.clip(age, -2, 2), (male - male.mean()) / male.std()])
    brain = np.stack([one.mask.ravel() & one.present[channel] for one in people.scans])
    y = np.stack([one.images[channel].ravel() for one in people.scans]).astype(float)
    found = np.full((3, brain.shape[1]), np.nan)
    variance = np.full(brain.shape[1], np.nan)
    penalty = np.sqrt(ridge) * np.eye(3)[1:]
    for voxel in np.flatnonzero(brain.any(0)):
        who = brain[:, voxel]
        given, wanted = np.concatenate([x[who], penalty]), np.concatenate([y[who, voxel], np.zeros(2)])
        found[:, voxel] = np.linalg.lstsq(given, wanted, rcond=None)[0]
        variance[voxel] = ((y[who, voxel] - x[who] @ found[:, voxel]) ** 2).mean()
    return found, variance, brain.sum(0)


@pytest.mark.parametrize("lacking", [(), (1, 2, 7)], ids=["all have FLAIR", "some lack FLAIR"])
def test_a_federation_predicts_by_age_and_sex_as_least_squares_on_all_scans(lacking: tuple[int, ...]) -> None:
    people, made = ageing(lacking=lacking), atlas(("FLAIR",), regress=["age", "sex"], ridge=2.0, **PLAIN)
    for phase in made.phases():
        parts = [made.statistics(phase.name, part, RNG) for part in split(people, 5, 1, 6)]
        assert made.absorb(phase.name, named.add(parts)) is False
    # Not everybody says both.
    asked = [Person(-1, 44.0, "M"), Person(-1, None, "F"), Person(-1)]
    found = [made.score([replace(NEW, person=person)], RNG).anomaly.ravel() for person in asked]
    designs = [made.covariates.design(person) for person in asked]
    total = np.zeros((len(asked), NEW.mask.size))
    for channel, sign in ((0, -1), (1, 1)):
        b, variance, _ = least_squares(people, channel, 2.0)
        for row, design in zip(total, designs, strict=True):
            row += sign * (NEW.images[channel].ravel() - b[0] - design @ b[1:]) / np.sqrt(variance + 1e-12)
    everywhere = np.logical_and.reduce([one.mask for one in [*people.scans, NEW]]).ravel()
    for one, s in zip(found, total, strict=True):
        np.testing.assert_allclose(one[everywhere], softplus(s[everywhere] / np.sqrt(2)), rtol=2e-3, atol=1e-6)
    assert np.abs(found[0] - found[1])[everywhere].max() > 0.1


def test_variance_is_what_age_and_sex_leave() -> None:
    people = ageing()
    plain, made = atlas(prior_subjects=0.0), atlas(prior_subjects=0.0, regress=["age", "sex"], ridge=0.5)
    sum_up(plain, people)
    sum_up(made, people)
    inside = np.logical_and.reduce([one.mask for one in people.scans])
    _, expected, _ = least_squares(people, 0, 0.5)
    np.testing.assert_allclose(made.mean_and_variance()[1][0].ravel()[inside.ravel()], expected[inside.ravel()])
    left, whole = (one.mean_and_variance()[1][:, inside] for one in (made, plain))
    assert np.median(left / whole) < 0.7


def test_without_ages_and_sexes_a_regression_is_the_plain_atlas() -> None:
    nobody = People(5)
    nobody.scans = [replace(one, person=Person(one.person.index)) for one in nobody.scans]
    expected = scored(atlas(), replace(NEW, person=Person(-1, 50.0, "M")), nobody)
    found = scored(atlas(regress=["age", "sex"]), replace(NEW, person=Person(-1, 50.0, "M")), nobody)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_beyond_the_ages_trained_on_nothing_more_is_predicted() -> None:
    made = atlas(regress=["age"])
    sum_up(made, ageing())
    found = [made.score([replace(NEW, person=Person(-1, age, None))], RNG).anomaly for age in (100.0, 115.0, 60.0)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


@pytest.mark.parametrize("edge_mm", [4.0, 12.0])
@pytest.mark.parametrize("lacking", [(), (0, 3)])
def test_sums_with_age_and_sex_are_believed_as_means_over_cubes(edge_mm: float, lacking: tuple[int, ...]) -> None:
    people, made = ageing(4, lacking), atlas(("FLAIR",), regress=["age", "sex"])
    sum_up(made, people)
    places = made.places("moments")
    assert places is not None
    made.absorb("moments", averaged(made.statistics("moments", people, RNG), places, edge_mm))
    assert np.isfinite(made.score([NEW], RNG).anomaly).all()


@pytest.mark.parametrize(
    ("name", "row", "why"),
    [("covariates", 0, "covariates that people have"), ("covariates", 2, "contradict"), ("products", 0, "contradict")],
)
def test_products_of_covariates_that_nobody_can_have_are_refused(name: str, row: int, why: str) -> None:
    made = atlas(regress=["age", "sex"])
    sum_up(made, ageing())
    sums = made.statistics("moments", ageing(), RNG)
    made.check("moments", sums)
    place = (row, *(() if name == "covariates" else (0,)), *(size // 2 for size in SHAPE))
    sums[name][place] = 1e4 if row == 0 else 1e-3
    with pytest.raises(WireError, match=why):
        made.check("moments", sums)


def test_variants_of_the_atlas_have_names_of_their_own() -> None:
    title = Atlas.title
    assert title(AtlasConfig(), ("T1w",)) == "atlas"
    assert title(AtlasConfig(scale="none"), ("T1w",)) == "mean-brain-residual"
    assert title(AtlasConfig(score="rms", units="robust", regress=("age", "sex")), ()) == "atlas-rms-units-age-sex"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"score": "rms", "suspicious": {"T1w": "dark"}}, "suspicious"),
        ({"scale": "none", "prior_subjects": 3.0}, "prior_subjects"),
        ({"ridge": 2.0}, "ridge"),
    ],
)
def test_a_parameter_that_changes_nothing_is_refused_and_every_default_is_written_out(
    given: dict[str, Any], name: str
) -> None:
    with pytest.raises(ValueError, match=f"{name} says nothing of"):
        AtlasConfig(**given)
    whole = AtlasConfig(**{key: value for key, value in given.items() if key != name})
    assert AtlasConfig.model_validate_json(whole.model_dump_json()) == whole
