"""The model of latents per place, against loops over voxels and SciPy's generalised eigenvectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from learning import sum_up
from scipy.linalg import eigh
from synthetic import SHAPE, People, setting, split

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import StudyError, WireError
from normfed_common.learning.cohort import Person, Scan
from normfed_common.learning.entries import build
from normfed_common.learning.place_gaussians import LARGEST_DISTANCE
from normfed_common.models.catalogue import MODELS
from normfed_common.models.location import Location
from normfed_common.models.patchwise.patch_directions import PatchDirections
from normfed_common.models.patchwise.patches import siamese_batches
from normfed_common.studies import validate_learner

SMALL = {"patch_size": 5, "latents": 4, "pairs_per_subject": 150, "spacing_mm": 8.0, "interpolate": False}


def location(**values: Any) -> Location:
    made = build(MODELS, {"name": "location", **SMALL, **values}, setting())
    assert isinstance(made, Location)
    return made


def learned(people: People, **values: Any) -> Location:
    made = location(**values)
    sum_up(made, people)
    return made


def structured(count: int, seed: int = 0) -> People:
    """People who share anatomy: smooth pattern of place, and noise of their own."""
    people, rng = People(count, seed), np.random.default_rng(50)
    pattern = rng.random((2, *SHAPE))
    for number, one in enumerate(people.scans):
        images = (0.6 * pattern + 0.4 * one.images) * one.mask
        people.scans[number] = replace(one, images=images.astype(np.float32))
    return people


def aged(people: People) -> People:
    """Of known ages and sexes, on which the first channel depends."""
    for number, one in enumerate(people.scans):
        age, sex = 50.0 + 4 * number, "M" if number % 3 else "F"
        images = one.images + np.float32(0.01 * (age - 60)) * one.mask
        person = Person(one.person.index, age, sex)  # type: ignore[arg-type]
        people.scans[number] = replace(one, images=images, person=person)
    return people


def patch(scan: Scan, index: int, size: int) -> np.ndarray:
    """By padding, one voxel at a time."""
    r = size // 2
    padded = np.pad(scan.images.astype(float), ((0, 0), (r, r), (r, r), (0, 0)))
    x, y, z = np.unravel_index(index, scan.mask.shape)
    return padded[:, x : x + size, y : y + size, z].ravel()


def test_directions_are_scipys_generalised_eigenvectors_of_all_sites_pairs() -> None:
    """Federated is pooled: every site's own pairs, drawn with its own generator, in one heap."""
    sites = split(structured(6), 2, 3, 1)
    made = location()
    made.absorb("patches", add([made.statistics("patches", s, np.random.default_rng(n)) for n, s in enumerate(sites)]))
    patches, differences = [], []
    for number, site in enumerate(sites):
        for pairs, people in siamese_batches(site, 150, 150, 5, np.random.default_rng(number)):
            for (one, other), (who, partner) in zip(pairs.astype(float), people, strict=True):
                patches.append(one.ravel())
                if who != partner:
                    patches.append(other.ravel())
                    differences.append(one.ravel() - other.ravel())
    assert len(patches) == 2 * 5 * 150 + 150
    covariance = np.cov(np.array(patches).T, bias=True)
    within = np.mean([np.outer(d, d) for d in differences], 0) / 2
    within += 1e-3 * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = eigh(covariance, within)
    np.testing.assert_allclose(made.encoder.mean, np.mean(patches, 0), rtol=1e-10)
    np.testing.assert_allclose(made.encoder.eigenvalues, values[::-1][:4], rtol=1e-8)
    for found, expected in zip(made.encoder.directions.T, vectors.T[::-1], strict=False):
        np.testing.assert_allclose(found, expected * np.sign(expected[np.abs(expected).argmax()]), atol=1e-8)


def test_a_shared_pattern_has_the_eigenvalue_of_its_variance_over_the_noise_between_people() -> None:
    """x = a s + noise, where s is of the place: along a, C is |a|^2 var(s) + sd^2 and S is sd^2."""
    rng = np.random.default_rng(0)
    encoder = PatchDirections(3, 1, 10, setting(("T1w",)))
    a = np.linspace(1, 2, 9)
    place = rng.standard_normal((200_000, 1)) * 0.3
    first, second = (place * a + 0.1 * rng.standard_normal((200_000, 9)) for _ in range(2))
    both, difference = np.concatenate([first, second]), first - second
    upper = np.triu_indices(9)
    encoder.absorb(
        {
            "patches": np.array([400_000.0]),
            "sum": both.sum(0),
            "products": (both.T @ both)[upper],
            "pairs": np.array([200_000.0]),
            "differences": (difference.T @ difference)[upper],
        }
    )
    direction = encoder.directions[:, 0] / np.linalg.norm(encoder.directions)
    np.testing.assert_allclose(direction, a / np.linalg.norm(a), atol=0.01)
    assert encoder.eigenvalues[0] == pytest.approx((a @ a * 0.09 + 0.01) / (0.01 * 1.001), rel=0.02)


@pytest.mark.parametrize("size", [3, 9])
def test_a_convolution_encodes_every_patch_also_at_the_border_of_the_grid(size: int) -> None:
    people = structured(3)
    made = learned(people, patch_size=size)
    one = people.scan(0)
    everywhere = replace(one, images=np.random.default_rng(1).random(one.images.shape, np.float32))
    for index in (np.arange(np.prod(SHAPE)), np.flatnonzero(one.mask), np.array([0]), np.array([4000, 40])):
        found = made.encoder.encode(everywhere, index)
        for place in range(0, len(index), max(1, len(index) // 40)):
            expected = (patch(everywhere, index[place], size) - made.encoder.mean) @ made.encoder.directions
            np.testing.assert_allclose(found[place], expected, rtol=1e-3, atol=1e-4)
    assert made.encoder.encode(everywhere, np.zeros(0, int)).shape == (0, 4)


def test_the_score_is_the_distance_to_the_shrunk_gaussian_of_the_place() -> None:
    people = structured(4)
    made = learned(people)
    latents, places = [], []
    for number in range(4):
        one = people.scan(number)
        for index in one.normal_index:
            latents.append((patch(one, index, 5) - made.encoder.mean) @ made.encoder.directions)
            places.append(tuple(int(axis) // 4 for axis in np.unravel_index(index, SHAPE)))
    rows: dict[tuple[int, ...], list[np.ndarray]] = {}
    for place, latent in zip(places, latents, strict=True):
        rows.setdefault(place, []).append(latent)
    pooled = np.sum([len(r) * np.cov(np.array(r).T, bias=True) for r in rows.values()], axis=0) / len(latents)
    new = structured(1, seed=9).scan(0)
    found = made.score([new], np.random.default_rng(0)).anomaly
    compared = 0
    for index in np.flatnonzero(new.mask)[::23]:
        here = rows.get(tuple(int(axis) // 4 for axis in np.unravel_index(index, SHAPE)))
        if here is not None:
            covariance = (len(here) * np.cov(np.array(here).T, bias=True) + 20 * pooled) / (len(here) + 20)
            centred = (patch(new, index, 5) - made.encoder.mean) @ made.encoder.directions - np.mean(here, 0)
            expected = np.sqrt(centred @ np.linalg.inv(covariance) @ centred)
            assert found.ravel()[index] == pytest.approx(expected, rel=1e-3)
            compared += 1
    assert compared > 50


def test_sums_per_place_of_sites_are_the_pooled_sums_and_make_the_same_scores() -> None:
    people = aged(structured(6))
    made = learned(people, regress=("age", "sex"))
    sums = [made.statistics("places", part, np.random.default_rng(0)) for part in split(people, 1, 3, 2)]
    pooled, total = made.statistics("places", people, np.random.default_rng(1)), add(sums)
    for name, array in pooled.items():
        np.testing.assert_allclose(total[name], array, rtol=1e-8, atol=1e-8)
    before = made.score([people.scan(2)], np.random.default_rng(0)).anomaly
    made.absorb("places", total)
    np.testing.assert_allclose(made.score([people.scan(2)], np.random.default_rng(0)).anomaly, before, rtol=1e-4)


def test_scores_do_not_change_with_the_units_of_a_modality() -> None:
    """The same place and noise in other units: W adapts. But for the ridge, which follows the largest modality."""
    people = structured(4)
    other = People(0)
    other.scans = [replace(one, images=2 * one.images) for one in people.scans]
    found = [learned(one).score([one.scan(1)], np.random.default_rng(0)).anomaly for one in (people, other)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-4)


def test_a_lone_persons_patches_count_and_their_own_likeness_does_not() -> None:
    made = location()
    sums = made.statistics("patches", People(1, visits=2), np.random.default_rng(0))
    assert sums["patches"] == 2 * 150
    assert not sums["pairs"]
    assert not sums["differences"].any()
    assert made.notes(1)
    assert not made.notes(2)


def test_without_any_pairs_the_directions_are_the_principal_components() -> None:
    made, people = location(), structured(1)
    made.absorb("patches", made.statistics("patches", people, np.random.default_rng(0)))
    patches = np.concatenate(
        [p[:, 0].reshape(len(p), -1) for p, _ in siamese_batches(people, 150, 150, 5, np.random.default_rng(0))]
    )
    components = np.linalg.eigh(np.cov(patches.T.astype(float)))[1][:, ::-1][:, :4]
    units = made.encoder.directions / np.linalg.norm(made.encoder.directions, axis=0)
    np.testing.assert_allclose(np.abs((units * components).sum(0)), 1, atol=1e-6)


def test_what_a_place_has_not_seen_is_anomalous_there_and_not_where_it_is_usual() -> None:
    people, new = structured(8), structured(1, seed=9).scan(0)
    made = learned(people)
    lesion = np.zeros(SHAPE, bool)
    lesion[12:15, 12:15, 2:5] = True
    images = new.images.copy()
    images[:, lesion] += 1
    plain = made.score([new], np.random.default_rng(0)).anomaly
    found = made.score([replace(new, images=images)], np.random.default_rng(0)).anomaly
    assert found[lesion].mean() > 2 * plain[lesion].mean()
    far = new.mask & (np.abs(np.indices(SHAPE)[0] - 13) > 4)
    np.testing.assert_allclose(found[far], plain[far], rtol=1e-5)


def offset(people: People, by: float) -> People:
    """Scanned elsewhere: brighter by a constant, all over the grid."""
    shifted = People(0)
    shifted.scans = [replace(one, images=one.images + np.float32(by)) for one in people.scans]
    return shifted


def test_with_a_sites_own_means_an_offset_of_its_scanner_changes_no_score_and_nothing_leaves() -> None:
    made = learned(structured(8), centre="site", prior_voxels=1e-3)
    assert made.keeps_to_site
    assert not location().keeps_to_site
    shared = made.share()
    site, new = structured(6, seed=20), structured(1, seed=9)
    away = np.zeros(SHAPE, bool)  # of places where no patch reaches beyond the grid, where images are 0
    away[4:20, 4:24] = True
    inner = away & new.scan(0).mask & (made.gaussians.count_at(np.arange(away.size)).reshape(SHAPE) > 0)
    found = []
    for by in (0.0, 0.5):
        made.personalise(offset(site, by), np.random.default_rng(0))
        found.append(made.score([offset(new, by).scan(0)], np.random.default_rng(0)).anomaly[inner])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2)
    made.personalise(site, np.random.default_rng(0))
    unaware = made.score([offset(new, 0.5).scan(0)], np.random.default_rng(0)).anomaly[inner]
    assert unaware.mean() > 1.2 * found[0].mean()
    for name, array in made.share().items():
        np.testing.assert_array_equal(array, shared[name])


def test_what_a_site_keeps_is_that_of_its_last_cohort_and_gone_with_new_sums() -> None:
    people = structured(5)
    made = learned(people, centre="site")
    plain = made.score([people.scan(0)], np.random.default_rng(0)).anomaly
    made.personalise(offset(people, 1.0), np.random.default_rng(0))
    made.personalise(people, np.random.default_rng(0))
    once = made.score([people.scan(0)], np.random.default_rng(0)).anomaly
    fresh = learned(people, centre="site")
    fresh.personalise(people, np.random.default_rng(0))
    np.testing.assert_array_equal(once, fresh.score([people.scan(0)], np.random.default_rng(0)).anomaly)
    made.load(made.share())
    np.testing.assert_array_equal(made.score([people.scan(0)], np.random.default_rng(0)).anomaly, plain)


def test_expected_latents_are_those_of_ordinary_least_squares_on_age_and_sex_and_never_extrapolated() -> None:
    people = aged(structured(12))
    made = learned(people, regress=("age", "sex"), prior_voxels=1e-3)
    covariates = made.covariates
    assert covariates is not None
    ages = np.array([one.person.age for one in people.scans], float)
    men = np.array([one.person.sex == "M" for one in people.scans], float)
    place = int(np.argmax(made.sums("places")["count"]))
    design, latents, rows = [], [], []
    for number, one in enumerate(people.scans):
        index = one.normal_index[made.gaussians.cell_of(one.normal_index) == place]
        z = made.encoder.encode(one, index)
        latents.append(z)
        rows += [number] * len(index)
        design += [[1, (ages[number] - ages.mean()) / ages.std(), (men[number] - men.mean()) / men.std()]] * len(index)
    matrix, stacked = np.array(design), np.concatenate(latents).astype(float)
    slopes = np.linalg.lstsq(matrix, stacked, rcond=None)[0]
    residuals = stacked - matrix @ slopes
    precision = np.linalg.inv(residuals.T @ residuals / len(residuals))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", residuals, precision, residuals))
    for number in (0, 7):
        one = people.scan(number)
        found = made.score([one], np.random.default_rng(0)).anomaly.ravel()
        here = one.normal_index[made.gaussians.cell_of(one.normal_index) == place]
        np.testing.assert_allclose(found[here], expected[np.array(rows) == number], rtol=1e-2)
    one = people.scan(0)
    aged_maps = [
        made.score([replace(one, person=Person(-1, age, "F"))], np.random.default_rng(0)).anomaly
        for age in (ages.mean() + 2 * ages.std(), 120.0, ages.mean(), None)
    ]
    np.testing.assert_allclose(aged_maps[1], aged_maps[0], rtol=1e-4)
    np.testing.assert_allclose(aged_maps[3], aged_maps[2], rtol=1e-4)
    assert np.abs(aged_maps[2] - aged_maps[0]).max() > 0.1


def test_regression_on_what_nobody_tells_changes_nothing() -> None:
    people = structured(5)
    people.scans = [replace(one, person=Person(one.person.index)) for one in people.scans]
    plain, made = learned(people), learned(people, regress=("age", "sex"))
    for one in (people.scan(0), replace(people.scan(0), person=Person(-1, 80.0, "M"))):
        np.testing.assert_allclose(
            made.score([one], np.random.default_rng(0)).anomaly,
            plain.score([people.scan(0)], np.random.default_rng(0)).anomaly,
            rtol=1e-3,
        )


def test_clipped_sums_forget_what_one_person_has_beyond_the_bound() -> None:
    people, spoilt = structured(6), structured(6)
    images = spoilt.scans[0].images.copy()
    images[:, 10:16, 10:16, 2:5] = 5  # within the study's range
    spoilt.scans[0] = replace(spoilt.scans[0], images=images)
    changes = {}
    for clip in (None, 1.0):
        made = learned(people, clip=clip)
        before = made.gaussians.mean.copy()
        made.absorb("places", made.statistics("places", spoilt, np.random.default_rng(0)))
        changes[clip] = np.abs(made.gaussians.mean - before).max()
        if clip:
            sums = made.statistics("places", spoilt, np.random.default_rng(0))
            bound = clip * np.sqrt(made.encoder.eigenvalues)
            assert (np.abs(sums["sum"]) <= sums["count"][:, None] * bound * 1.000001).all()
    assert changes[1.0] < changes[None] / 3


def test_a_one_class_score_of_the_latents_is_that_of_the_encoder() -> None:
    people = structured(4)
    one_class = {"fit_on": "location", "minimum_subjects": 50, "spacing_mm": 8.0}
    made = learned(people, one_class=one_class, spacing_mm=6.0, interpolate=True)
    plain = learned(people)
    found, expected = (m.score([people.scan(0)], np.random.default_rng(0)) for m in (made, plain))
    np.testing.assert_allclose(found.anomaly, expected.anomaly, rtol=1e-4)
    assert found.uncertainty is None


@pytest.mark.parametrize(
    "values", [{"centre": "site"}, {"regress": ["age", "sex"]}, {"clip": 2.0}, {"prior_voxels": 3.0}]
)
def test_what_is_for_gaussians_is_refused_beside_a_one_class_score(values: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="says nothing of a one_class score"):
        validate_learner(MODELS, {"name": "location", "one_class": {"fit_on": "patient"}, **values}, "model")


def test_patches_without_a_middle_or_with_too_few_values_are_refused() -> None:
    with pytest.raises(StudyError, match="odd"):
        validate_learner(MODELS, {"name": "location", "patch_size": 8}, "model")
    with pytest.raises(StudyError, match="more than the 18 values"):
        location(patch_size=3, latents=19)


@pytest.mark.parametrize("people", [8, 40])
@pytest.mark.parametrize("known", [0, 2])
def test_the_uncertainty_is_the_spread_of_the_score_over_cohorts(people: int, known: int) -> None:
    """Of one voxel a person: what is estimated from other people of the same Gaussian scatters as is said."""
    made = location(regress=("age", "sex") if known else (), prior_voxels=0.01 if people == 40 else 4.0)
    dimension = made.gaussians.dimension
    rng = np.random.default_rng(people)
    index = np.flatnonzero(np.ones(SHAPE))[:1]
    factor = np.tril(rng.standard_normal((dimension, dimension)), -1) + 2 * np.eye(dimension)
    target = factor @ np.append(np.full(known, 0.7), [2.0, 1.0, -1.5, 2.0])
    size = int(np.prod(made.gaussians.cells))
    made.people = np.full(size, float(people))
    found, said = [], []
    elsewhere = np.arange(1, np.prod(SHAPE))
    elsewhere = elsewhere[made.gaussians.cell_of(elsewhere) != 0]
    many = made.gaussians.statistics([(elsewhere, rng.standard_normal((len(elsewhere), dimension)) @ factor.T)])
    for _ in range(600):
        cohort = [(index, rng.standard_normal((1, dimension)) @ factor.T) for _ in range(people)]
        made.gaussians.absorb(add([many, made.gaussians.statistics(cohort)]))
        white = made.gaussians.whitened(target[None], index).astype(float)
        distance = np.linalg.norm(white[:, known:], axis=1)
        leverage = (white[:, :known] ** 2).sum(1)
        found.append(distance[0])
        said.append(made._standard_error(distance, leverage, index)[0])
    ratio = np.std(found) / np.median(said)
    assert 0.8 < ratio < 1.25, ratio


def test_the_uncertainty_falls_with_people_and_is_smaller_where_more_of_them_have_tissue() -> None:
    people = structured(12)
    few, many = learned(split(people, 3, 9)[0]), learned(people)
    one = structured(1, seed=9).scan(0)
    errors = []
    for made in (few, many):
        found = made.score([one], np.random.default_rng(0)).uncertainty
        assert found is not None
        assert (found[one.mask] > 0).all()
        errors.append(np.median(found[one.mask]))
    assert errors[1] < errors[0] / 1.5
    assert many.sums("places")["people"].max() == 12
    assert (few.sums("places")["people"] <= 3).all()


def test_a_second_visit_is_not_a_second_person_at_a_place() -> None:
    sums = learned(People(3, visits=2)).sums("places")
    assert sums["people"].max() == 3
    assert sums["count"].max() > 3 * 4**3


def honest(phase: str) -> tuple[Location, Arrays]:
    people = aged(structured(4))
    made = learned(people, regress=("age", "sex"))
    return made, {name: array.copy() for name, array in made.sums(phase).items()}


HOSTILE: dict[str, tuple[str, str, Any]] = {
    "no patches": ("patches", "patches", 0.0),
    "more pairs than patches": ("patches", "pairs", 1e6),
    "differences without pairs": ("patches", "pairs", 0.0),
    "patches out of range": ("patches", "sum", 1e9),
    "products below 0": ("patches", "products", -1.0),
    "differences larger than the patches": ("patches", "differences", lambda a: 1e3 * a),
    "products of one direction": ("patches", "products", lambda a: a * np.where(np.arange(len(a)) % 7, 1, -1)),
    "ages of nobody": ("patches", "aged", 0.0),
    "ages that scatter less than not at all": ("patches", "squares", 1.0),
    "more men than people": ("patches", "men", 50.0),
    "voxels of nobody": ("places", "people", 0.0),
    "more people than voxels": ("places", "people", lambda a: a + 1e6),
    "latents beyond those of patches": ("places", "sum", lambda a: 1e4 * a),
    "a covariance that is none": ("places", "products", lambda a: -a),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_sums_that_nobody_can_have_are_refused(what: str) -> None:
    phase, name, change = HOSTILE[what]
    made, sums = honest(phase)
    made.check(phase, sums)
    sums[name] = change(sums[name]) if callable(change) else np.full_like(sums[name], change)
    with pytest.raises(WireError):
        made.absorb(phase, sums)


def test_a_distance_beyond_float32_is_far_and_not_infinite() -> None:
    people = structured(3)
    made = learned(people)
    made.gaussians.whitening[:] = 3e38
    with np.errstate(over="ignore", invalid="ignore"):
        found = made.score([people.scan(0)], np.random.default_rng(0)).anomaly
    assert found.max() == np.float32(LARGEST_DISTANCE)
    assert np.isfinite(found).all()
