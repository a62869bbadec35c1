"""Training that protects people: what one person can change, who is drawn, what noise there is, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from learning import sum_up, training
from opacus.grad_sample import GradSampleModule
from scipy import stats
from synthetic import People, setting
from toys import Centring

from normfed_client.training.gradients import GradientRule
from normfed_client.training.loop import Settings, TrainingFigures, train
from normfed_client.training.per_patient import PerPatient, shared_gradients
from normfed_common.foundation.damage import told
from normfed_common.foundation.errors import ScanError, SiteCode, SiteError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.entries import build
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.studies import validate_learner
from normfed_common.study.base import Frozen

KEY = bytes(range(32))
TRAINING = Phase("training", "averaged")
LEAST_P = 1e-4  # the draws are fixed by the key: a test that passed once passes always
WIDTH = 3


class Points:
    """A cohort of points, (samples, WIDTH) of each person; of one who is None nothing can be read."""

    def __init__(self, points: Sequence[np.ndarray | None]) -> None:
        self.points = points

    def __len__(self) -> int:
        return len(self.points)

    def people(self) -> list[list[int]]:
        return [[number] for number in range(len(self.points))]

    def scan(self, index: int) -> Scan:
        points = self.points[index]
        if points is None:
            raise ScanError("the scan is damaged")
        images = np.asarray(points, np.float32)[None, ..., None]
        return Scan(images, np.ones(images.shape[1:], bool), np.zeros(0, np.int32), np.ones(1, bool), Person(index, 50))


class Averaging(NormativeModel):
    """1/2 |w - x|^2, whose gradient is w - x; of samples of two people x is the difference of theirs.

    It notes whom it was shown. A gossip draws signs, and from every stream as much as the data say, so that whoever
    shares one with somebody else shows it.
    """

    Config: ClassVar[type[Frozen]] = Frozen

    def __init__(self, together: int = 1, batch_size: int = 100, gossip: bool = False) -> None:
        super().__init__(Frozen(), setting())
        self.weight = torch.nn.Linear(1, WIDTH, bias=False)
        self.network = torch.nn.ModuleDict({"weight": self.weight})
        torch.nn.init.zeros_(self.weight.weight)
        self.parts = {"weight": self.weight}
        self.together, self.batch_size, self.gossip = together, batch_size, gossip
        self.shown: list[tuple[int, ...]] = []

    def phases(self) -> tuple[Phase, ...]:
        return (TRAINING,)

    @classmethod
    def samples_per_person(cls, config: Frozen) -> int:
        return 1000

    def people_per_sample(self, phase: str) -> int:
        return self.together

    def most_batches(self, phase: str, scans: int) -> int:
        return 1000 * scans

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        scans = [cohort.scan(index) for index in range(len(cohort))]
        self.shown.append(tuple(scan.person.index for scan in scans))
        points = [scan.images[0, ..., 0] for scan in scans]
        if self.together == 2 and len(points) == 2:
            points = [points[0][: len(points[1])] - points[1][: len(points[0])]]
        everything = np.concatenate(points)
        if self.gossip:
            everything = everything * np.float32(rng.choice([-1, 1]))
            rng.random(len(everything))
        for start in range(0, len(everything), self.batch_size):
            some = everything[start : start + self.batch_size].copy()
            yield Batch({"x": torch.from_numpy(some)}, torch.zeros(len(some), 1, dtype=torch.int64))

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        factor = torch.randint(2, (1,), generator=rng) * 2 - 1 if self.gossip else 1.0
        return factor * (self.weight.weight[:, 0] - batch.data["x"]).square().sum(1) / 2

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        raise NotImplementedError


def rule(z: float = 0.0, q: float = 1.0, times: int = 1, clip_norm: float = math.inf, **changes: Any) -> PerPatient:
    return replace(PerPatient(KEY, SampledGaussian(z, q, times), clip_norm, samples=1000), **changes)


def settings(rule: GradientRule, **changes: Any) -> Settings:
    given = {"phase": TRAINING, "seed": 1, "site": "a", "round": 1, "epochs": 1, "learning_rate": 0.1, "rule": rule}
    return Settings(**{**given, **changes})  # type: ignore[arg-type]


class Seen:
    """Keeps the gradients of every step, (steps, all parameters)."""

    def __init__(self) -> None:
        self.gradient: list[np.ndarray] = []

    def gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.gradient.append(torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None]).numpy().copy())

    def parameters(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        pass


def gradients(model: NormativeModel, cohort: Cohort, rule: PerPatient, **changes: Any) -> np.ndarray:
    """Of every step; none of them moves the weights."""
    seen = Seen()
    train(model, cohort, settings(rule, **{"learning_rate": 0.0, "optimiser": "sgd", **changes}), seen)
    return np.array(seen.gradient)


def points(people: int, samples: int = 4, seed: int = 0) -> list[np.ndarray | None]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-8, 9, (samples, WIDTH)).astype(np.float32) for _ in range(people)]


VALUES = st.integers(-9, 9).map(float) | st.floats(width=32) | st.sampled_from([0.0, 1e30, -1e30, math.nan, math.inf])
PERSON = st.none() | st.lists(st.tuples(*[VALUES] * WIDTH), min_size=1, max_size=4).map(np.float32)


ALIKE = [np.ones((2, WIDTH), np.float32)] * 7


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@example(ALIKE, 0, 1, "patient", 1.0)
@example(ALIKE, 0, 1, "sample", 1.0)
@example([np.eye(WIDTH, dtype=np.float32)[[0]] * (2 + number) for number in range(7)], 3, 2, "patient", 1.0)
@given(
    st.lists(PERSON, min_size=1, max_size=7),
    st.integers(0, 6),
    st.sampled_from([1, 2]),
    st.sampled_from(["patient", "sample"]),
    st.floats(0.01, 100),
)
def test_no_person_moves_the_sum_by_more_than_the_norm_whatever_their_scans_are(
    cohort: list[np.ndarray | None], who: int, together: int, unit: Any, clip_norm: float
) -> None:
    """Beside the same cohort in which nothing of the person is there; of samples each one moves it."""
    who %= len(cohort)
    absent = [None if number == who else person for number, person in enumerate(cohort)]
    protecting = rule(times=6, clip_norm=clip_norm, q=0.7, unit=unit)
    present, without = (
        gradients(Averaging(together, batch_size=2, gossip=True), Points(each), replace(protecting))  # type: ignore[arg-type]
        for each in (cohort, absent)
    )
    groups = max(len(cohort) // min(together, len(cohort)), 1)
    expected = 0.7 * groups * (1 if unit == "patient" else 1000 * min(together, len(cohort)))
    most = 1 if unit == "patient" else 4 * together
    moved = np.linalg.norm(present.astype(np.float64) - without, axis=1) * expected
    assert np.isfinite(present).all()
    assert (moved <= most * clip_norm * (1 + 1e-6)).all()


def test_a_person_who_is_far_out_moves_the_sum_by_just_the_norm() -> None:
    """So that the test above can fail."""
    near, far = points(3), points(3)
    far[1], near[1] = np.full((4, WIDTH), 1e6, np.float32), None
    present, without = (gradients(Averaging(), Points(each), rule(clip_norm=0.5)) for each in (far, near))
    assert np.linalg.norm(3 * (present - without).astype(np.float64)) == pytest.approx(0.5, rel=1e-5)


@given(st.integers(1, 5), st.floats(0.1, 30), st.integers(0, 99))
def test_a_step_is_the_mean_of_what_people_say_each_clipped_as_one(people: int, clip_norm: float, seed: int) -> None:
    cohort = points(people, seed=seed)
    own = [-np.mean(person, 0, np.float64) for person in cohort]  # type: ignore[arg-type]
    clipped = [g * min(1, clip_norm / (np.linalg.norm(g) or 1)) for g in own]
    found = gradients(Averaging(batch_size=3), Points(cohort), rule(clip_norm=clip_norm))[0]
    np.testing.assert_allclose(found, np.mean(clipped, 0), rtol=1e-5, atol=1e-6)


def test_gradients_are_divided_by_how_many_people_are_expected_not_by_how_many_came() -> None:
    cohort = Points([np.ones((1, WIDTH), np.float32)] * 8)
    model = Averaging()
    found = gradients(model, cohort, rule(q=0.5, times=20))
    came = 8 * 0.5 * -found[:, 0]
    assert set(np.rint(came)) > {3.0, 4.0, 5.0}
    np.testing.assert_allclose(came, np.rint(came))
    assert sum(came) == len(model.shown)


def mlp() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, 4), torch.nn.Tanh(), torch.nn.Linear(4, WIDTH))


class Network(Averaging):
    """|f(x) - x|^2 of a network of two layers."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.network = self.net = mlp()
        self.parts = {"all": self.network}

    def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        return (self.net(batch.data["x"]) - batch.data["x"]).square().sum(1)


def per_sample(x: np.ndarray) -> np.ndarray:
    """Gradients by opacus' hooks, float64 (n, all parameters)."""
    hooked = GradSampleModule(mlp(), loss_reduction="sum")
    inputs = torch.from_numpy(x)
    (hooked(inputs) - inputs).square().sum().backward()
    grads = [parameter.grad_sample.flatten(1) for parameter in hooked.parameters()]
    return torch.cat(grads, 1).double().numpy()


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_gradient_of_a_step_is_that_of_opacus_clipped_by_person_or_by_sample(batch_size: int) -> None:
    cohort, clip_norm = points(5), 3.0
    each = [per_sample(person) for person in cohort]  # type: ignore[arg-type]

    def clipped(vectors: np.ndarray) -> np.ndarray:
        return vectors * np.minimum(1, clip_norm / np.linalg.norm(vectors, axis=1, keepdims=True))

    people = clipped(np.stack([vectors.mean(0) for vectors in each]))
    assert not np.allclose(people, [vectors.mean(0) for vectors in each])  # somebody is clipped
    protecting = rule(clip_norm=clip_norm, samples=4)
    found = gradients(Network(batch_size=batch_size), Points(cohort), replace(protecting))[0]
    np.testing.assert_allclose(found, people.mean(0), rtol=1e-4, atol=1e-5)
    samples = clipped(np.concatenate(each))
    found = gradients(Network(batch_size=batch_size), Points(cohort), replace(protecting, unit="sample"))[0]
    np.testing.assert_allclose(found, samples.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_of_one_person_without_noise_and_norm_it_is_plain_training_bit_for_bit(optimiser: Any) -> None:
    """A step per epoch: everybody is in every step."""
    cohort, weights = Points(points(1, samples=7)), []
    for trained in (settings(rule(times=5)), replace(settings(rule()), rule=plain(), epochs=5)):
        model = Network()
        train(model, cohort, replace(trained, learning_rate=0.01, optimiser=optimiser))
        weights.append(model.share())
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name], err_msg=name)


def test_of_several_people_without_noise_and_norm_it_is_plain_training_bit_for_bit_where_sums_are_exact() -> None:
    """Integers, a rate of a half, and powers of two of people and samples: no order of additions rounds."""
    cohort, weights = Points(points(4, samples=2)), []
    for trained in (settings(rule(times=4)), replace(settings(rule()), rule=plain(), epochs=4)):
        model = Averaging()
        train(model, cohort, replace(trained, learning_rate=0.5, optimiser="sgd"))
        weights.append(model.share()["network.weight.weight"])
    assert weights[0].any()
    np.testing.assert_array_equal(*weights)


def plain() -> GradientRule:
    return Settings(TRAINING, 1, "a", 1, 1, 0.1).rule


SMALL: dict[str, dict[str, Any]] = {
    "siamese": {"patch_size": 9, "pairs_per_subject": 20, "batch_size": 6},
    "autoencoder": {"size": 32, "filters": 8, "most_filters": 8, "latent": 4, "batch_size": 4, "dropout": 0.5},
    "vae": {"size": 32, "filters": 8, "most_filters": 8, "latent": 4, "batch_size": 4},
    "synthetic-anomalies": {"filters": 4, "batch_size": 3, "slabs_per_subject": 1},
    "diffusion-time": {"hidden": [8, 8], "voxels_per_subject": 20, "batch_size": 8, "pairs_per_subject": 50},
}


def small(name: str, **changes: Any) -> NormativeModel:
    return build(MODELS, validate_learner(MODELS, {"name": name, **SMALL[name], **changes}, "test"), setting())


def ready(name: str, people: People, **changes: Any) -> NormativeModel:
    model = small(name, **changes)
    sum_up(model, people)
    return model


@pytest.mark.parametrize("name", SMALL)
def test_without_noise_and_norm_every_model_is_trained_plainly_on_the_same_batches_bit_for_bit(name: str) -> None:
    """Plainly: the mean gradient of people, each that of their mean loss, in steps of torch's Adam."""
    people = People(4)
    model, again = ready(name, people), ready(name, people)
    size = model.people_per_sample("training")
    seen: list[tuple[tuple[int, ...], Batch, int]] = []
    loss = model.loss

    def noting(phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        seen.append((tuple(sorted(set(batch.person.flatten().tolist()))), batch, rng.initial_seed()))
        return loss(phase, batch, rng)

    model.loss = noting  # type: ignore[method-assign]
    steps, groups = 2, 4 // size
    protecting = rule(times=steps, samples=6)
    train(model, people, replace(settings(protecting, learning_rate=0.01), phase=training(model)))
    assert again.network is not None
    again.network.train()
    optimiser = torch.optim.Adam(again.network.parameters(), lr=0.01, fused=True)
    by_group: list[list[tuple[Batch, int]]] = []
    for number, (whose, batch, seed) in enumerate(seen):
        assert len(whose) <= size
        full = number and sum(len(one) for one, _ in by_group[-1]) < 6 * size and whose == seen[number - 1][0]
        if not full:
            by_group.append([])
        by_group[-1].append((batch, seed))
    assert len(by_group) == steps * groups
    for step in range(steps):
        total = [torch.zeros_like(p, dtype=torch.float64) for p in again.network.parameters()]
        for batches in by_group[step * groups : (step + 1) * groups]:
            again.network.zero_grad()
            count = sum(len(batch) for batch, _ in batches)
            assert count <= 6 * size
            for batch, seed in batches:
                (again.loss("training", batch, torch.Generator().manual_seed(seed)).sum() / count).backward()
            for one, p in zip(total, again.network.parameters(), strict=True):
                one += 0 if p.grad is None else p.grad.double()
        for one, p in zip(total, again.network.parameters(), strict=True):
            p.grad = (one / groups).float()
        optimiser.step()
    for (key, one), other in zip(model.network.state_dict().items(), again.network.state_dict().values(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(one, other), key


@pytest.mark.parametrize("name", SMALL)
def test_a_model_sees_nobody_but_the_people_of_a_group(name: str) -> None:
    people = People(5)
    model = ready(name, people)
    opened: list[int] = []
    asked: list[set[int]] = []
    real, batches = people.scan, model.batches

    def noting(phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        opened.clear()
        for batch in batches(phase, cohort, rng):
            assert set(batch.person.flatten().tolist()) <= set(opened)
            yield batch
        asked.append(set(opened))

    people.scan = lambda index: (opened.append(index), real(index))[1]  # type: ignore[method-assign, func-returns-value]
    model.batches = noting  # type: ignore[method-assign]
    size = model.people_per_sample("training")
    train(model, people, replace(settings(rule(times=3), learning_rate=0.01), phase=training(model)))
    assert len(asked) == 3 * (5 // size)
    assert {len(whose) for whose in asked} == {size}


def without_noise(model: Any, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
    """A variational auto-encoder's loss, which draws nothing."""
    found: torch.Tensor = model.negative_elbo(batch.data["slices"], batch.data["counts"], None)
    return found


def test_a_scan_behind_a_transform_is_transformed_once_however_often_its_person_is_drawn() -> None:
    people, done = People(4), []

    class Marking(Centring):
        def transform(self, scan: Scan) -> Scan:
            done.append(scan.person)
            return super().transform(scan)

    transform = Marking(Frozen(), setting())
    entry = validate_learner(MODELS, {"name": "siamese", **SMALL["siamese"]}, "test")
    siamese = build(MODELS, entry, replace(setting(), value_range=transform.value_range))
    model = Pipeline([transform], siamese)
    sum_up(model, people)
    done.clear()
    train(model, people, replace(settings(rule(times=5)), phase=training(model)))
    assert sorted(done, key=lambda person: person.index) == [Person(number) for number in range(4)]  # without ages


def test_how_samples_are_batched_changes_nothing_but_rounding() -> None:
    people, found = People(3), []
    for batch_size in (1, 4, 100):
        model = small("vae", batch_size=batch_size, dropout=0.0)
        model.loss = partial(without_noise, model)  # type: ignore[method-assign]
        found.append(gradients(model, people, rule(clip_norm=1.0, samples=5)))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("together", "most"), [(1, 3), (2, 6)])
def test_no_more_samples_of_a_person_are_used_than_the_study_says(together: int, most: int) -> None:
    """Of the points 0, 1, 2, ... of everybody the mean of the first ones."""
    cohort = Points([np.tile(np.arange(9, dtype=np.float32)[:, None], WIDTH)] * 2)
    model = Averaging(batch_size=2)
    model.together = together
    if together == 2:
        cohort.points = [cohort.points[0], np.zeros((9, WIDTH), np.float32)]
    found = gradients(model, cohort, rule(samples=3))[0]
    assert abs(found[0]) == pytest.approx((most - 1) / 2)


@dataclass
class Lots:
    """Who was in which step."""

    groups: list[list[tuple[int, ...]]]


def drawn(people: int, together: int, q: float, times: int, key: bytes = KEY) -> Lots:
    model = Averaging(together)
    found = Lots([])

    class Counting:
        def gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
            found.groups.append(list(model.shown))
            model.shown.clear()

        def parameters(self, parameters: Sequence[torch.nn.Parameter]) -> None:
            pass

    protecting = rule(q=q, times=times, key=key)
    train(model, Points(points(people)), settings(protecting), Counting())
    return found


def test_everybody_is_in_a_step_by_a_lot_of_their_own() -> None:
    """Each person binomial over the steps, each step's number binomial over people."""
    people, q, times = 6, 0.3, 1500
    lots = drawn(people, 1, q, times)
    present = np.zeros((times, people), bool)
    for step, groups in enumerate(lots.groups):
        for (person,) in groups:
            present[step, person] = True
    for person in range(people):
        assert stats.binomtest(int(present[:, person].sum()), times, q).pvalue > LEAST_P
    counts = np.bincount(present.sum(1), minlength=people + 1)
    expected = times * stats.binom.pmf(range(people + 1), people, q)
    assert stats.chisquare([*counts[:4], counts[4:].sum()], [*expected[:4], expected[4:].sum()]).pvalue > LEAST_P
    table = [[(present[:-1, 0] & present[1:, 0]).sum(), (present[:-1, 0] & ~present[1:, 0]).sum()]]
    table += [[(~present[:-1, 0] & present[1:, 0]).sum(), (~present[:-1, 0] & ~present[1:, 0]).sum()]]
    assert stats.chi2_contingency(table).pvalue > LEAST_P  # nothing of one step is in the next


def test_pairs_are_disjoint_and_every_pair_is_as_likely() -> None:
    times, q = 1500, 0.5
    lots = drawn(5, 2, q, times)
    pairs: dict[frozenset[int], int] = {}
    for groups in lots.groups:
        together = [person for group in groups for person in group]
        assert len(together) == len(set(together))
        for group in groups:
            assert len(group) == 2
            pairs[frozenset(group)] = pairs.get(frozenset(group), 0) + 1
    assert len(pairs) == 10
    assert stats.chisquare(list(pairs.values())).pvalue > LEAST_P
    assert stats.binomtest(sum(pairs.values()), 2 * times, q).pvalue > LEAST_P


def test_a_sample_of_two_people_where_there_is_one_is_of_that_one() -> None:
    assert drawn(1, 2, 1.0, 2).groups == [[(0,)], [(0,)]]


def test_a_step_without_anybody_is_noise_alone_and_its_noise_is_normal() -> None:
    q, z, clip_norm, people = 1e-9, 1.5, 0.25, 6
    model = Averaging()
    found = gradients(model, Points(points(people)), rule(z, q, 3000, clip_norm))
    assert not model.shown
    assert stats.kstest(found.ravel() * q * people, "norm", args=(0, z * clip_norm)).pvalue > LEAST_P


def test_noise_is_added_to_the_sum_once_whoever_is_there() -> None:
    cohort = Points(points(5))
    exact, noisy = (gradients(Averaging(), cohort, rule(z, 0.6, 400, 2.0)) for z in (0.0, 1.5))
    noise = (noisy.astype(np.float64) - exact) * 0.6 * 5
    assert stats.kstest(noise.ravel(), "norm", args=(0, 3.0)).pvalue > LEAST_P


def noise_of(**changes: Any) -> np.ndarray:
    given = {"key": KEY, "seed": 1, "site": "a", "round": 1, "start": 0.0, **changes}
    model = Averaging()
    torch.nn.init.constant_(model.weight.weight, given.pop("start"))
    protecting = rule(1.0, 1e-9, 2, 1.0, key=given.pop("key"))
    return gradients(model, Points(points(4)), protecting, **given)


def test_noise_depends_on_its_key_and_never_on_the_study_s_seed() -> None:
    first = noise_of()
    np.testing.assert_array_equal(noise_of(), first)
    np.testing.assert_array_equal(noise_of(seed=2), first)
    assert not (noise_of(key=bytes(32)) == first).any()
    assert not (first[0] == first[1]).any()  # every step has its own


def test_other_weights_have_other_noise() -> None:
    """Whoever has trained twice under the same noise from two starts tells their difference without noise."""
    assert not (noise_of(start=1.0) == noise_of()).any()


def test_nothing_is_told_of_losses_and_all_steps_are_counted() -> None:
    progress = train(Averaging(), Points(points(3)), settings(rule(1.0, 0.01, 7, 1.0)))
    assert progress == TrainingFigures(None, 0, 7)


@pytest.mark.parametrize(
    "broken", [None, np.full((4, WIDTH), math.nan, np.float32), np.full((4, WIDTH), 1e30, np.float32)]
)
@pytest.mark.parametrize("unit", ["patient", "sample"])
def test_whose_gradient_cannot_be_made_or_is_not_finite_counts_as_nobody_and_nothing_shows(
    broken: np.ndarray | None, unit: Any
) -> None:
    cohort = points(3, samples=2)
    cohort[1] = broken
    others = [cohort[0], cohort[2]]
    protecting = rule(unit=unit, samples=2)

    class Infinite(Averaging):
        def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
            return super().loss(phase, batch, rng) * (1 + 1e30 * (batch.data["x"].abs().max() > 1e29))

    found, without = (gradients(Infinite(), Points(each), replace(protecting))[0] for each in (cohort, others))
    np.testing.assert_allclose(found, without * 2 / 3, rtol=1e-6)


def test_the_site_s_own_people_are_told_of_groups_that_were_left_out() -> None:
    said: list[str] = []
    with told(said.append):
        gradients(Averaging(), Points([None, *points(2)]), rule())
    assert said == ["step 0: 1 of 3 groups of people were left out (the scan is damaged)"]


def test_what_a_model_s_author_got_wrong_is_an_error_all_the_same() -> None:
    class Wrong(Averaging):
        def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
            return super().loss(phase, batch, rng).mean()

    with pytest.raises(TypeError, match="it must be one number per sample"):
        gradients(Wrong(), Points(points(2)), rule())


@given(st.lists(st.integers(1, 20), min_size=1, max_size=3), st.integers(1, 40))
def test_trainings_that_are_one_round_together_take_its_steps_and_have_noise_of_their_own(
    epochs: list[int], steps: int
) -> None:
    whole = rule(times=steps)
    parts = whole.divided(epochs)
    counts = [part.release.times for part in parts]
    assert sum(counts) == steps
    assert counts[-1] >= 1
    assert min(counts) >= (1 if steps >= len(epochs) else 0)
    assert len({part.key for part in parts}) == len(epochs)
    if steps == sum(epochs):
        assert counts == epochs
    ideal = [steps * share / sum(epochs) for share in epochs]
    assert all(abs(one - other) < len(epochs) for one, other in zip(counts, ideal, strict=True))


def test_a_rule_is_for_the_one_training_that_is_accounted_for() -> None:
    protecting = rule()
    gradients(Averaging(), Points(points(2)), protecting)
    with pytest.raises(TypeError, match="accounts for one training of a round"):
        gradients(Averaging(), Points(points(2)), protecting)
    divided = rule(times=4)
    for part in divided.divided([1, 1]):
        assert len(gradients(Averaging(), Points(points(2)), part)) == 2
    with pytest.raises(TypeError, match="accounts for one training of a round"):
        divided.divided([1, 1])


def test_a_hospital_bounds_how_often_everybody_is_gone_through() -> None:
    protecting = rule(1.0, 0.3, 10, 1.0)  # each is expected three times
    assert train(Averaging(), Points(points(2)), settings(replace(protecting), most_epochs=3)).steps == 10
    with pytest.raises(SiteError) as caught:
        train(Averaging(), Points(points(2)), settings(protecting, most_epochs=2))
    assert caught.value.code is SiteCode.TOO_MUCH_ASKED


def test_the_personal_half_of_a_network_has_its_share_of_one_clipped_gradient() -> None:
    """All parameters that a step trains are one vector, so what stays is no way around the norm."""
    found = gradients(Network(), Points(points(3)), rule(clip_norm=0.1))[0]
    assert np.linalg.norm(found.astype(np.float64)) <= 0.1
    assert all(part.any() for part in np.split(found, [16]))


SHARE = NoiseShare(1.1, 3)


def part(cohort: Cohort, model: NormativeModel | None = None, **changes: Any) -> np.ndarray:
    """What a site adds to the sum of a step with distributed noise, in whole steps of the grid."""
    protecting = rule(share=SHARE, **changes)
    gradients(model or Averaging(), cohort, protecting)
    (found,) = protecting.parts
    whole = np.rint(found / SHARE.step)
    np.testing.assert_array_equal(whole * SHARE.step, found)
    return whole.astype(np.int64)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@example(ALIKE, 0, 1, 1.0)
@given(st.lists(PERSON, min_size=1, max_size=7), st.integers(0, 6), st.sampled_from([1, 2]), st.floats(0.01, 100))
def test_no_person_moves_the_integers_of_a_step_with_distributed_noise_by_more_than_the_sensitivity(
    cohort: list[np.ndarray | None], who: int, together: int, clip_norm: float
) -> None:
    """In whole numbers, under the same noise."""
    who %= len(cohort)
    absent = [None if number == who else person for number, person in enumerate(cohort)]
    present, without = (
        part(Points(each), Averaging(together, batch_size=2, gossip=True), clip_norm=clip_norm, q=0.7)
        for each in (cohort, absent)
    )
    squares = sum(int(number) ** 2 for number in present - without)
    step = SHARE.step.as_integer_ratio()
    assert squares * step[0] ** 2 <= step[1] ** 2


def test_whoever_is_far_out_moves_the_integers_by_just_the_sensitivity() -> None:
    """So that the test above can fail."""
    near, far = points(3), points(3)
    far[1], near[1] = np.full((4, WIDTH), 1e6, np.float32), None
    moved = part(Points(far), clip_norm=0.5) - part(Points(near), clip_norm=0.5)
    assert np.linalg.norm(moved.astype(np.float64)) * SHARE.step == pytest.approx(1.0, rel=1e-6)


def test_a_step_with_distributed_noise_is_the_sum_of_clipped_gradients_and_this_site_s_share() -> None:
    cohort = points(5)
    own = [-np.mean(person, 0, np.float64) for person in cohort]  # type: ignore[arg-type]
    clipped = np.sum([g * min(1, 2.0 / np.linalg.norm(g)) for g in own], 0) / 2.0
    left = np.concatenate(
        [part(Points(cohort), clip_norm=2.0, key=bytes([number] * 32)) * SHARE.step - clipped for number in range(150)]
    )
    assert stats.kstest(left / (1.1 / math.sqrt(3)), "norm").pvalue > LEAST_P


def test_distributed_noise_of_more_steps_than_one_does_not_leave() -> None:
    protecting = rule(share=SHARE, times=2)
    gradients(Averaging(), Points(points(3)), protecting)
    with pytest.raises(SiteError) as raised:
        shared_gradients(protecting, {"weight": Averaging().weight.weight})
    assert raised.value.code is SiteCode.STUDY_REFUSED


def test_a_step_over_too_many_people_for_the_grid_of_its_noise_is_refused() -> None:
    with pytest.raises(SiteError) as raised:
        gradients(Averaging(), Points(points(3)), rule(share=NoiseShare(1e-12, 3)))
    assert raised.value.code is SiteCode.OUT_OF_RANGE


def test_what_leaves_of_a_step_has_the_names_and_shapes_of_the_parameters() -> None:
    protecting = rule(share=SHARE)
    model = Network()
    gradients(model, Points(points(3)), protecting)
    parameters = dict(model.network.named_parameters())
    found = shared_gradients(protecting, parameters)
    assert {name: array.shape for name, array in found.items()} == {n: tuple(p.shape) for n, p in parameters.items()}
    np.testing.assert_array_equal(np.concatenate([array.ravel() for array in found.values()]), protecting.parts[0])
