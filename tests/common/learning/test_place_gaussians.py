"""Gaussians per place, against loops over voxels in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import chi, t
from synthetic import SHAPE, setting

from normfed_common.foundation.arrays import add
from normfed_common.foundation.errors import StudyError, WireError
from normfed_common.learning.place_gaussians import PlaceGaussians
from normfed_common.learning.setting import Places

Fields = list[tuple[np.ndarray, np.ndarray]]


def gaussians(dimension: int = 3, spacing_mm: float = 6.0, prior_voxels: float = 5.0, **more: object) -> PlaceGaussians:
    return PlaceGaussians(dimension, setting(), spacing_mm, prior_voxels, **more)  # type: ignore[arg-type]


def scans(count: int = 3, dimension: int = 3, share: float = 0.4) -> Fields:
    """Vectors that differ from place to place, off the origin, at some voxels of a part of the grid."""
    rng, found = np.random.default_rng(1), []
    for _ in range(count):
        index = np.flatnonzero(rng.random(SHAPE) < share)
        index = index[index > 700]  # the first four slabs along x are nobody's
        shift = np.stack(np.unravel_index(index, SHAPE), 1)[:, :1] / 10
        mixed = rng.standard_normal((len(index), dimension)) @ np.triu(np.full((dimension, dimension), 0.7))
        found.append((index, 3 + shift + mixed))
    return found


def place_of(index: int, edge: int) -> tuple[int, int, int]:
    x, y, z = np.unravel_index(index, SHAPE)
    return int(x) // edge, int(y) // edge, int(z) // edge


def by_loops(fields: Fields, edge: int, k: float) -> dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]]:
    """Mean and shrunk covariance of every place that somebody has."""
    rows: dict[tuple[int, int, int], list[np.ndarray]] = {}
    for index, vectors in fields:
        for one, vector in zip(index, vectors, strict=True):
            rows.setdefault(place_of(one, edge), []).append(vector)
    scatters = [len(here) * np.cov(np.array(here).T, bias=True) for here in rows.values()]
    pooled = np.sum(scatters, axis=0) / sum(map(len, rows.values()))
    return {
        place: (
            np.mean(here, 0),
            (len(here) * np.cov(np.array(here).T, bias=True) + k * pooled) / (len(here) + k),
        )
        for place, here in rows.items()
    }


@pytest.mark.parametrize(("spacing_mm", "edge"), [(2.0, 1), (6.0, 3), (7.9, 4), (1000.0, 500)])
def test_distances_are_those_to_the_shrunk_gaussians_that_loops_make(spacing_mm: float, edge: int) -> None:
    fields, made = scans(), gaussians(spacing_mm=spacing_mm)
    made.absorb(made.statistics(fields))
    expected = by_loops(fields, edge, 5.0)
    index, vectors = fields[0]
    found = made.mahalanobis(vectors, index)
    for one in range(0, len(index), 7):
        mean, covariance = expected[place_of(index[one], edge)]
        centred = vectors[one] - mean
        assert found[one] == pytest.approx(np.sqrt(centred @ np.linalg.inv(covariance) @ centred), rel=1e-4, abs=1e-5)
        whitening = made.whitening_at(index[[one]])[0].astype(float)
        np.testing.assert_allclose(whitening.T @ whitening @ covariance, np.eye(3), atol=1e-4)
        np.testing.assert_allclose(made.mean_at(index[[one]])[0], mean, rtol=1e-6)


def test_sums_are_counts_sums_and_products_of_every_place() -> None:
    fields, made = scans(), gaussians(spacing_mm=4.0)
    sums = made.statistics(fields)
    expected = {name: np.zeros_like(array) for name, array in sums.items()}
    for index, vectors in fields:
        for one, vector in zip(index, vectors, strict=True):
            place = np.ravel_multi_index(place_of(one, 2), made.cells)
            expected["count"][place] += 1
            expected["sum"][place] += vector
            expected["products"][place] += np.outer(vector, vector)[np.triu_indices(3)]
    for name, array in expected.items():
        np.testing.assert_allclose(sums[name], array, rtol=1e-12, err_msg=name)
    assert made.places == Places((13, 14, 3), 4.0)
    assert sums["count"].max() <= len(fields) * made.counted["count"]


def test_sums_of_sites_add_up_to_the_pooled_sums() -> None:
    fields, made = scans(5), gaussians()
    total = add([made.statistics(fields[:1]), made.statistics(fields[1:])])
    for name, array in made.statistics(iter(fields)).items():
        np.testing.assert_allclose(total[name], array, rtol=1e-12)


def test_distances_of_more_people_of_one_gaussian_are_chi_distributed() -> None:
    rng, made = np.random.default_rng(0), gaussians(4, spacing_mm=1000.0)
    root = np.tril(rng.standard_normal((4, 4)))
    index = np.arange(np.prod(SHAPE))
    fields = [(index, 2 + rng.standard_normal((len(index), 4)) @ root.T) for _ in range(4)]
    made.absorb(made.statistics(fields[:3]))
    found = made.mahalanobis(fields[3][1], index)
    assert found.mean() == pytest.approx(chi(4).mean(), rel=0.02)
    assert found.std() == pytest.approx(chi(4).std(), rel=0.03)


def test_distances_do_not_change_when_all_vectors_are_mapped_alike() -> None:
    fields, made, mapped = scans(), gaussians(), gaussians()
    matrix = np.array([[2.0, 0.3, 0], [-1, 0.5, 0.2], [0.1, 0, 0.7]])
    others = [(index, vectors @ matrix.T - 4) for index, vectors in fields]
    made.absorb(made.statistics(fields))
    mapped.absorb(mapped.statistics(others))
    np.testing.assert_allclose(
        mapped.mahalanobis(others[0][1], others[0][0]), made.mahalanobis(fields[0][1], fields[0][0]), rtol=1e-3
    )


def test_a_place_that_nobody_has_takes_the_mean_of_all_and_the_pooled_covariance() -> None:
    fields, made = scans(), gaussians()
    made.absorb(made.statistics(fields))
    nobodys = np.array([0])
    assert made.count_at(nobodys) == 0
    np.testing.assert_allclose(made.mean_at(nobodys)[0], np.concatenate([v for _, v in fields]).mean(0), rtol=1e-6)
    strong = gaussians(prior_voxels=1e9)
    strong.absorb(strong.statistics(fields))
    np.testing.assert_allclose(made.whitening_at(nobodys)[0], strong.whitening_at(fields[0][0][:1])[0], rtol=1e-4)


def test_interpolated_means_of_places_are_linear_between_centres_and_keep_to_places_that_somebody_has() -> None:
    made = gaussians(1, interpolated=True)
    index = np.arange(np.prod(SHAPE))
    x = np.stack(np.unravel_index(index, SHAPE), 1)[:, :1].astype(float)
    made.absorb(made.statistics([(index, x)]))
    inner = (x[:, 0] >= 1) & (x[:, 0] <= 22)
    np.testing.assert_allclose(made.mean_at(index)[inner], x[inner], atol=1e-5)  # of x, the mean at a centre is x there
    half = x[:, 0] < 12
    made.absorb(made.statistics([(index[half], x[half])]))
    found = made.mean_at(index)
    np.testing.assert_allclose(found[x[:, 0] == 12], 10, atol=1e-5)  # the next centre along is nobody's
    np.testing.assert_allclose(found[x[:, 0] > 14], x[half].mean(), atol=1e-5)


def test_what_is_interpolated_is_the_place_itself_at_its_centre() -> None:
    fields, plain, made = scans(), gaussians(), gaussians(interpolated=True)
    for one in (plain, made):
        one.absorb(one.statistics(fields))
    centres = np.ravel_multi_index((np.full(5, 13), np.arange(1, 16, 3), np.full(5, 1)), SHAPE)
    np.testing.assert_allclose(made.whitening_at(centres), plain.whitening_at(centres), rtol=1e-6)
    between = made.whitening_at(np.arange(900, 1400))
    assert (np.triu(between, 1) == 0).all()
    assert (np.diagonal(between, axis1=1, axis2=2) > 0).all()


def test_smoothed_sums_are_those_of_places_spread_by_a_gaussian_filter() -> None:
    fields, made, plain = scans(), gaussians(smoothing=1.0, prior_voxels=1e-6), gaussians()
    sums = plain.statistics(fields)
    made.absorb(made.statistics(fields))
    spread = {
        name: np.stack(
            [
                gaussian_filter(column.reshape(made.cells), 1.0, mode="constant").ravel()
                for column in array.reshape(len(array), -1).T
            ],
            1,
        )
        for name, array in sums.items()
    }
    one = np.array([np.ravel_multi_index((13, 13, 4), SHAPE)])
    place = int(made.cell_of(one)[0])
    mean = spread["sum"][place] / spread["count"][place]
    products = np.zeros((3, 3))
    products[np.triu_indices(3)] = spread["products"][place] / spread["count"][place]
    covariance = products + np.triu(products, 1).T - np.outer(mean, mean)
    np.testing.assert_allclose(made.mean_at(one)[0], mean, rtol=1e-6)
    whitening = made.whitening_at(one)[0].astype(float)
    np.testing.assert_allclose(whitening.T @ whitening @ covariance, np.eye(3), atol=1e-4)


def test_a_mean_over_cubes_with_less_than_a_voxel_at_a_place_has_the_same_mean() -> None:
    fields, made = scans(), gaussians()
    sums = made.statistics(fields)
    made.absorb({name: array / 1000 for name, array in sums.items()})
    expected = by_loops(fields, 3, 5.0)
    index = fields[0][0][::50]
    for one, found in zip(index, made.mean_at(index), strict=True):
        np.testing.assert_allclose(found, expected[place_of(one, 3)][0], rtol=1e-5)


def test_who_has_no_grid_checks_and_absorbs_sums_of_any() -> None:
    fields, made = scans(), gaussians()
    server = PlaceGaussians(3, replace(setting(), shape=(1, 1, 1)), 6.0, 5.0, smoothing=1.0)
    sums = made.statistics(fields)
    server.check(sums)
    server.absorb(sums)


@pytest.mark.parametrize(
    ("name", "value"), [("count", -1.0), ("count", 0.0), ("count", 1e-300), ("products", -1e9), ("sum", 1e300)]
)
def test_sums_that_nobody_can_have_at_a_place_are_refused(name: str, value: float) -> None:
    made = gaussians()
    sums = made.statistics(scans())
    made.check(sums)
    sums[name][np.argmax(sums["count"])] = value
    with pytest.raises(WireError), np.errstate(all="ignore"):
        made.check(sums)


def test_how_scans_vary_and_where_another_is_beyond_them_is_what_loops_over_scans_and_places_say() -> None:
    fields, made = scans(9), gaussians(spacing_mm=6.0, between=(0, 2))
    *learnt, (index, vectors) = fields
    vectors = vectors * [1, 1, 1.3]
    total = add([made.statistics(learnt[:3]), made.statistics(learnt[3:])])
    made.check(total)
    made.absorb(total)
    between = np.zeros_like(total["between"])
    own: dict[int, list[np.ndarray]] = {}
    for scan_index, scan_vectors in (*learnt, (index, vectors)):
        places = made.cell_of(scan_index)
        for place in np.unique(places):
            here = scan_vectors[places == place][:, [0, 2]]
            own.setdefault(place, []).append(np.array([len(here), *here.mean(0)]))
            if scan_index is not index:
                between[place] += len(here) * here.mean(0) ** 2
    np.testing.assert_allclose(total["between"], between, rtol=1e-9)
    outside, known = np.zeros(2), np.zeros(2)
    for place in np.unique(made.cell_of(index)):
        *before, (voxels, *means) = own[place]
        weights, values = np.array(before)[:, 0], np.array(before)[:, 1:]
        fewest = weights.sum() / 27
        if fewest >= 3:
            centre = np.average(values, 0, weights)
            spread = np.sqrt(np.average((values - centre) ** 2, 0, weights) * fewest / (fewest - 1))
            reach = t(fewest - 1).ppf(0.85) * spread * np.sqrt(1 + 1 / fewest)
            outside += voxels * (np.abs(means - centre) > reach)
            known += voxels
    found = made.beyond(vectors[:, [0, 2]], index, 0.3)
    np.testing.assert_allclose(found, outside / known, rtol=1e-6)
    assert 0 < found[0] < found[1] < 1


@pytest.mark.parametrize("together", [False, True])
def test_a_scan_of_the_same_people_is_beyond_them_at_as_many_places_as_promised(together: bool) -> None:
    """Whether every place has a number of its own or all have one: over scans and trainings the mean share is p, so
    that by Markov at most p / q of them are beyond a share q."""
    rng, index, shares = np.random.default_rng(2), np.arange(np.prod(SHAPE)), []
    made = gaussians(1, spacing_mm=12.0, covariances=False, between=(0,))
    places = made.cell_of(index)

    def one() -> np.ndarray:
        normal = rng.standard_normal(1) if together else rng.standard_normal(int(np.prod(made.cells)))
        return np.broadcast_to(normal, int(np.prod(made.cells)))[places, None]

    for _ in range(400 if together else 40):
        made.absorb(made.statistics((index, one()) for _ in range(6)))
        shares += [float(made.beyond(one(), index, 0.1)[0]) for _ in range(5)]
    # Places that the grid cuts off count as fewer scans, with a wider interval: the share is p at most.
    assert np.mean(shares) < 0.1 + 0.015
    assert np.mean(shares) > 0.04
    assert np.mean(np.array(shares) > 0.5) <= 0.1 / 0.5


def test_of_places_with_two_scans_nothing_is_said() -> None:
    fields, made = scans(4, share=1.0), gaussians(between=(0,))
    made.absorb(made.statistics(fields[:2]))
    index, vectors = fields[2]
    assert made.beyond(vectors[:, :1] + 1e6, index, 0.5) == 0
    made.absorb(made.statistics(fields[:3]))
    assert made.beyond(vectors[:, :1] + 1e6, index, 0.5) == 1


@pytest.mark.parametrize("value", [-1.0, 0.0, 1e-3])
def test_squared_means_of_scans_below_the_square_of_their_mean_are_refused(value: float) -> None:
    made = gaussians(between=(1,))
    sums = made.statistics(scans())
    made.check(sums)
    sums["between"][np.argmax(sums["count"])] = value
    with pytest.raises(WireError, match="those of scans contradict"):
        made.check(sums)


def test_sums_that_no_message_holds_are_refused_before_there_are_any() -> None:
    """Else a study that asks for a place a voxel and many latents fills a hospital's memory."""
    large = replace(setting(), shape=(200, 230, 190), voxel_size_mm=1.0)
    with pytest.raises(StudyError, match=r"spacing_mm: places of 1 mm have 150 GB of sums"):
        PlaceGaussians(64, large, 0.1, 20.0)
    assert PlaceGaussians(16, large, 3.0, 20.0).cells == (67, 77, 64)
