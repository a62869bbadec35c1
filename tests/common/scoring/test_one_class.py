"""One-class scores in latent space, against scikit-learn and by hand."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.svm import OneClassSVM
from synthetic import SHAPE, People, setting, split

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.models.siamese import Siamese
from normfed_common.scoring import kernel
from normfed_common.scoring.base import LatentField
from normfed_common.scoring.catalogue import build_head
from normfed_common.scoring.location import MAXIMUM_SAMPLES, SHRINKAGE, LocationHead


def siamese(architecture: str = "isbi", **one_class: object) -> Siamese:
    entry = {"name": "siamese", "architecture": architecture, "patch_size": 9, "one_class": one_class}
    made = build(MODELS, entry, setting())
    assert isinstance(made, Siamese)
    return made


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dimension", [16, 64])
def test_decision_values_equal_libsvms(seed: int, dimension: int) -> None:
    rng = np.random.default_rng(seed)
    samples = 3 + rng.standard_normal((400, dimension)).astype(
        np.float32
    )  # off the origin, where expanded squares lose digits
    queries = np.concatenate([samples[:100], 3 + 2 * rng.standard_normal((300, dimension))]).astype(np.float32)
    oracle = OneClassSVM(kernel="rbf", nu=0.03, gamma="scale").fit(samples)
    ours = kernel.decision([kernel.fit(samples, nu=0.03)], torch.from_numpy(queries)).numpy()
    assert np.abs(ours - oracle.decision_function(queries)).max() < 1e-5


def test_an_ensemble_is_the_mean_of_its_machines() -> None:
    rng = np.random.default_rng(0)
    fits = [rng.standard_normal((200, 8)) * scale for scale in (1.0, 2.0, 0.5)]  # three different gammas
    queries = rng.standard_normal((500, 8)).astype(np.float32)
    expected = np.mean([OneClassSVM(nu=0.1).fit(fit).decision_function(queries) for fit in fits], axis=0)
    ours = kernel.decision([kernel.fit(fit, nu=0.1) for fit in fits], torch.from_numpy(queries)).numpy()
    assert np.abs(ours - expected).max() < 1e-5


def test_constant_latents_are_not_an_error() -> None:
    machine = kernel.fit(np.ones((50, 4)), nu=0.1)
    assert np.isfinite(kernel.decision([machine], torch.zeros(10, 4)).numpy()).all()


@pytest.mark.parametrize(("fit_on", "stage"), [("location", "moments"), ("federated", "variance")])
def test_sums_over_sites_equal_the_pooled_sums(fit_on: str, stage: str) -> None:
    people = People(6)
    everything = {"samples": 10_000} if fit_on == "federated" else {}  # latents, so that nothing is drawn
    model = siamese(fit_on=fit_on, **everything)
    parts = [model.statistics(stage, part, np.random.default_rng(0)) for part in split(people, 1, 3, 2)]
    pooled = model.statistics(stage, people, np.random.default_rng(0))
    total = named.add(parts)
    for name in pooled:
        np.testing.assert_allclose(total[name], pooled[name], rtol=1e-10, atol=1e-10)


def test_location_gaussian_is_the_shrunk_mahalanobis_distance() -> None:
    people = People(4)
    model = siamese("linear", fit_on="location", spacing_mm=6.0)  # whose latents have a covariance of full rank
    model.absorb("moments", model.statistics("moments", people, np.random.default_rng(0)))
    fields = [model.encode(people.scan(i)) for i in range(4)]
    everything = np.concatenate([f.latents.numpy() for f in fields]).astype(float)
    where = np.concatenate([model.head._cell_of(f.index) for f in fields])  # type: ignore[attr-defined]
    pooled = sum(
        len(rows) * np.cov(rows.T, bias=True) for rows in (everything[where == cell] for cell in np.unique(where))
    ) / len(everything)
    cell = int(np.bincount(where).argmax())
    rows = everything[where == cell]
    covariance = (len(rows) * np.cov(rows.T, bias=True) + SHRINKAGE * pooled) / (len(rows) + SHRINKAGE)
    item = fields[0]
    here = model.head._cell_of(item.index) == cell  # type: ignore[attr-defined]
    centred = item.latents.numpy()[here] - rows.mean(0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred))
    np.testing.assert_allclose(model.head.score(item, np.random.default_rng(0))[here], expected, rtol=2e-3)


def test_a_large_site_fits_its_own_machine_at_every_location_and_keeps_it() -> None:
    people = People(6)
    model = siamese(fit_on="location", minimum_subjects=5, spacing_mm=8.0)
    model.absorb("moments", model.statistics("moments", people, np.random.default_rng(0)))
    shared = {name: value.copy() for name, value in model.share().items()}
    gaussian = model.score([people.scan(0)], np.random.default_rng(0)).anomaly
    model.personalise(people, np.random.default_rng(0))
    personal = model.score([people.scan(0)], np.random.default_rng(0)).anomaly
    assert np.abs(personal - gaussian).max() > 0
    assert set(model.share()) == set(shared)
    assert all((model.share()[name] == shared[name]).all() for name in shared)  # no support vector among what is shared
    model.personalise(People(4), np.random.default_rng(0))
    np.testing.assert_array_equal(model.score([people.scan(0)], np.random.default_rng(0)).anomaly, gaussian)


def test_the_federated_machine_is_the_mean_over_people() -> None:
    people = People(5)
    model = siamese(fit_on="federated", samples=200, features=64)
    parts = split(people, 2, 3)
    model.absorb("variance", named.add([model.statistics("variance", p, np.random.default_rng(0)) for p in parts]))
    single = [model.statistics("machine", p, np.random.default_rng(0)) for p in parts]
    model.absorb("machine", named.add(single))
    weights = [s["weights"] / s["people"] for s in single]
    np.testing.assert_allclose(model.head.weights, 0.4 * weights[0] + 0.6 * weights[1])  # type: ignore[attr-defined]


def test_a_persons_second_visit_does_not_make_them_two_people() -> None:
    model = siamese(fit_on="federated", samples=200, features=64)
    people = People(3, visits=2)
    model.absorb("variance", model.statistics("variance", people, np.random.default_rng(0)))
    assert model.statistics("machine", people, np.random.default_rng(0))["people"] == 3


@pytest.mark.parametrize("spacing_mm", [2.0, 6.0], ids=["a voxel", "a cube of 27 voxels"])
def test_machines_of_locations_are_scikit_learns_on_the_controls_latents_there(spacing_mm: float) -> None:
    """Alaverdyan 2020: per voxel v one machine on {z_i(v)} of the n controls, gamma = 1 / (d var).

    Six people have at most 162 latents in a cube, so that nothing is drawn.
    """
    rng, size, dimension = np.random.default_rng(0), int(np.prod(SHAPE)), 16
    controls = [
        LatentField(
            torch.from_numpy(5 + rng.standard_normal((len(index), dimension), np.float32)), index, SHAPE, person
        )
        for person in range(6)
        for index in [np.flatnonzero(rng.random(size) < 0.9)]
    ]
    far = 5 + 2 * rng.standard_normal((size, dimension), np.float32)
    patient = LatentField(torch.from_numpy(far), np.arange(size), SHAPE, -1)
    entry = {"fit_on": "location", "minimum_subjects": 5, "spacing_mm": spacing_mm, "nu": 0.1}
    head = build_head(entry, dimension, setting())
    assert isinstance(head, LocationHead)
    head.absorb("moments", head.statistics("moments", iter(controls), rng))
    head.personalise(iter(controls), len(controls), rng)
    found = head._machine_scores(patient.latents.numpy(), patient.index)
    latents, voxels = np.concatenate([field.latents for field in controls]), np.concatenate([f.index for f in controls])
    whose = np.concatenate([np.full(len(field.index), field.person) for field in controls])
    places = head._cell_of(voxels)
    for place in np.unique(places)[:: 40 if spacing_mm == 2.0 else 4]:
        here = head._cell_of(patient.index) == place
        if len(np.unique(whose[places == place])) < 5:
            assert np.isnan(found[here]).all()
            continue
        oracle = OneClassSVM(kernel="rbf", nu=0.1, gamma="scale", tol=1e-8).fit(latents[places == place])
        decision = oracle.decision_function(patient.latents[here].numpy())
        np.testing.assert_allclose(0.1 * MAXIMUM_SAMPLES / 4 - found[here], decision, atol=1e-6)


def head_with(fields: list[LatentField], people: int, minimum_subjects: int) -> LocationHead:
    entry = {"fit_on": "location", "minimum_subjects": minimum_subjects, "spacing_mm": 8.0}
    head = build_head(entry, 2, setting())
    assert isinstance(head, LocationHead)
    head.absorb("moments", head.statistics("moments", iter(fields), np.random.default_rng(0)))
    head.personalise(iter(fields), people, np.random.default_rng(0))
    return head


def field(person: int, *corners: tuple[int, int]) -> LatentField:
    """Latents at all voxels of the locations in these columns, 4 x 4 x 4 voxels each and less at the end."""
    grid = np.zeros(SHAPE, bool)
    for x, y in corners:
        grid[4 * x : 4 * x + 4, 4 * y : 4 * y + 4, :4] = True
    index = np.flatnonzero(grid)
    latents = np.random.default_rng(person).standard_normal((len(index), 2)).astype(np.float32)
    return LatentField(torch.from_numpy(latents), index, SHAPE, person)


def test_a_location_has_a_machine_only_where_enough_people_have_tissue_however_many_voxels_and_visits() -> None:
    fields = [field(0, (0, 0), (1, 0), (2, 0)), field(0, (0, 0), (1, 0), (2, 0)), field(1, (0, 0), (1, 0))]
    fields.append(field(2, (0, 0)))
    head = head_with(fields, people=3, minimum_subjects=3)
    assert set(head.machines) == {0}
    two = head_with(fields, people=3, minimum_subjects=2)
    assert set(two.machines) == {0, int(two._cell_of(np.ravel_multi_index(([4], [0], [0]), SHAPE))[0])}


def test_memory_does_not_grow_with_the_cohort() -> None:
    everywhere = [(x, y) for x in range(7) for y in range(7)]
    peaks = []
    for people in (20, 80):
        head = head_with([field(0, (0, 0))], 1, minimum_subjects=2)
        fields = (field(person, *everywhere) for person in range(people))
        tracemalloc.start()
        head.personalise(fields, people, np.random.default_rng(0))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(head.machines) == 49
    assert peaks[1] < 1.2 * peaks[0]


def test_random_features_approach_the_kernel() -> None:
    people = People(3)
    model = siamese(fit_on="federated", features=16_384, samples=500)
    model.absorb("variance", model.statistics("variance", people, np.random.default_rng(0)))
    latents = model.encode(people.scan(0)).latents[:40]
    mapped = model.head._map(latents)  # type: ignore[attr-defined]
    exact = torch.exp(-model.head.gamma * torch.cdist(latents, latents) ** 2)  # type: ignore[attr-defined]
    assert (mapped @ mapped.T - exact).abs().max() < 0.05


def test_features_of_more_latents_than_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normfed_common.scoring.federated.LARGEST_BYTES", 8 * 4 * 100 * 32 - 1)
    head, latents = siamese(fit_on="federated", samples=100, features=32).head, torch.zeros(100, 64)
    fields = iter([LatentField(latents, np.arange(100), SHAPE, person) for person in range(4)])
    with pytest.raises(StudyError, match="400 latents of 32 features are more than"):
        head.statistics("machine", fields, np.random.default_rng(0))


def test_of_a_scan_that_shows_no_brain_there_are_no_latents() -> None:
    """As a hospital's of a place where few have any."""
    one = replace(People(1).scan(0), mask=np.zeros(SHAPE, bool), normal_index=np.zeros(0, np.int32))
    assert siamese().encode(one).latents.shape[0] == 0
