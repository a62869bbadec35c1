"""What every transform of scans keeps to, alone and before a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import synthetic
import torch
import toys
from contracts.entries import EVERY_TRANSFORM, NONSENSE, SMALL_MODELS, Entry, every, model_of, not_applicable
from contracts.federating import Federation, learnt_alone, sums_of
from learning import sum_up
from synthetic import scan, setting, split

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import ScanError, StudyError, WireError
from normfed_common.learning.batch import Batch
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.entries import build
from normfed_common.learning.phase import Phase
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.privacy.cubes import averaged
from normfed_common.studies import validate_learner
from normfed_common.study.base import Frozen
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.transformed import transformed
from normfed_server.sites import claims

EACH = every(EVERY_TRANSFORM)
# The model that a transform stands before: it averages, sums up, and keeps machines to the site.
BEHIND = Entry("siamese", "siamese", SMALL_MODELS["siamese"]["location, machines"])


class People(synthetic.People):
    """Of two scanners, none of which is at two sites, however the tests split them; and all of one age and sex, for of
    so few people no scanner can be told from these."""

    def __init__(self, count: int, seed: int = 0, visits: int = 1) -> None:
        super().__init__(count, seed, visits=visits)
        for number, one in enumerate(self.scans):
            index = one.person.index
            whose = Person(index, 50.0, "F", f"a/{min(index, 1)}")
            self.scans[number] = replace(one, person=whose)


class Travelled(synthetic.People):
    """Every person on the scanner `old`, and then on `new`."""

    def __init__(self, count: int, visits: int = 1) -> None:
        super().__init__(count, visits=2 * visits)
        for number, one in enumerate(self.scans):
            scanner = "a/new" if number % 2 else "a/old"
            self.scans[number] = replace(one, person=replace(one.person, scanner=scanner))


def people_for(entry: Entry, count: int, visits: int = 1) -> synthetic.People:
    """Whom a transform can learn from."""
    return Travelled(count, visits) if entry.name == "paired-unet" else People(count, visits=visits)


def made(entry: Entry, values: tuple[float, float] | None = None) -> ScanTransform:
    where = setting() if values is None else replace(setting(), value_range=values)
    with toys.registered():
        return build(TRANSFORMS, validate_learner(TRANSFORMS, entry.raw, "test"), where)


def learnt(entry: Entry, people: synthetic.People) -> ScanTransform:
    transform = made(entry)
    learnt_alone(transform, people, "a")
    return personalised(transform, people)


def personalised(transform: ScanTransform, people: synthetic.People) -> ScanTransform:
    """Ready for scans, as the first of a study's transforms is."""
    transform.personalise(people, seeds.generator(transform.setting.seed, "personalise", "transform-1"))
    if transform.network is not None:
        transform.network.eval()
    return transform


def images_of(transform: ScanTransform, scan: Scan) -> np.ndarray:
    return transformed(scan, [transform]).images


def before_a_model(entry: Entry) -> Entry:
    return replace(BEHIND, transforms=(entry.raw,))


def summed(transform: ScanTransform) -> list[Phase]:
    found = [phase for phase in transform.phases() if phase.kind == "summed"]
    if not found:
        not_applicable("has no summed phase")
    return found


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@EACH
def test_the_scan_is_of_the_same_person_on_the_same_grid_finite_and_0_outside_the_brain(entry: Entry) -> None:
    people = people_for(entry, 3)
    transform = learnt(entry, people)
    for one in (people.scan(0), scan(np.random.default_rng(9))):
        kept = one.images.copy()
        with torch.no_grad():
            found = transform.transform(one)
        np.testing.assert_array_equal(one.images, kept)
        assert found.images.dtype == np.float32
        assert found.images.shape == one.images.shape
        assert np.isfinite(found.images).all()
        assert (found.images[:, ~one.mask] == 0).all()
        assert found.person == one.person
        for name in ("mask", "normal_index", "present"):
            np.testing.assert_array_equal(getattr(found, name), getattr(one, name))


@EACH
@pytest.mark.parametrize("before", [(0.0, 2.0), (-5.0, 5.0), (0.1, 0.7)], ids=str)
def test_values_lie_within_the_range_that_it_declares_of_whatever_lay_within_that_before(
    entry: Entry, before: tuple[float, float]
) -> None:
    """Learnt from values at both ends, from noise, from a constant; then all are transformed."""
    low, high = before
    cohorts = [people_for(entry, 2) for _ in range(4)]
    for cohort, kind in zip(cohorts, ("ends", "noise", "low", "high"), strict=True):
        for one in cohort.scans:
            noise = np.random.default_rng(4).random(one.images.shape)
            share = {"ends": noise.round(), "noise": noise, "low": 0 * noise, "high": 0 * noise + 1}[kind]
            one.images[:] = np.where(one.mask, low + (high - low) * share, 0)
            np.clip(one.images, low, high, out=one.images, where=one.mask)
    for cohort in cohorts:
        transform = made(entry, before)
        learnt_alone(transform, cohort, "a")
        for one in (one for scored in cohorts for one in scored.scans):
            transformed(one, [personalised(transform, cohort)])


@EACH
def test_the_same_scan_becomes_the_same_whatever_was_transformed_before(entry: Entry) -> None:
    people = people_for(entry, 3)
    alone, busy = learnt(entry, people), learnt(entry, people)
    images_of(busy, people.scan(1))
    expected = images_of(alone, people.scan(0))
    for transform in (alone, busy):
        np.testing.assert_array_equal(images_of(transform, people.scan(0)), expected)


@EACH
def test_what_it_keeps_to_its_site_is_learnt_anew_and_it_works_before(entry: Entry) -> None:
    transform, people = made(entry), people_for(entry, 3)
    learnt_alone(transform, people, "a")
    before = images_of(transform, people.scan(0))
    once = images_of(personalised(transform, people), people.scan(0))
    np.testing.assert_array_equal(images_of(personalised(transform, people), people.scan(0)), once)
    assert np.array_equal(before, once) != transform.keeps_to_site


@EACH
def test_a_modality_that_is_there_stays_and_an_absent_one_is_0_filled_in_or_refused_as_the_transform_says(
    entry: Entry, record_property: Callable[[str, object], None]
) -> None:
    transform = learnt(entry, people_for(entry, 3))
    modalities = transform.setting.modalities
    needed, filled = (of(transform.config, modalities) for of in (transform.needs, transform.fills))
    for channel, modality in enumerate(modalities):
        one = scan(np.random.default_rng(9))
        one.images[channel], one.present[channel] = 0, False
        said = ""
        try:
            found = transformed(one, [transform])
        except ScanError as error:
            said = str(error)
        assert bool(said) == (modality in needed)
        if said:
            assert modality in said
            record_property("refused", said)
        else:
            assert (found.present | ~one.present).all()
            assert found.present[channel] or modality not in filled
            assert np.isfinite(found.images).all()
            assert (found.images[~found.present] == 0).all()


@EACH
def test_sums_of_sites_in_any_order_add_up_to_those_of_everybody(entry: Entry) -> None:
    pooled, people = made(entry), people_for(entry, 4, visits=2)
    transforms = {order: made(entry) for order in ((0, 1), (1, 0))}
    for phase in summed(pooled):
        rng = np.random.default_rng(0)
        before = rng.bit_generator.state
        whole = sums_of(pooled, phase.name, people, rng)
        pooled.absorb(phase.name, whole)
        for order, transform in transforms.items():
            parts = [sums_of(transform, phase.name, part, np.random.default_rng(0)) for part in split(people, 2, 6)]
            total = add(parts[number] for number in order)
            assert set(total) == set(whole)
            if rng.bit_generator.state == before:
                for name, array in whole.items():
                    np.testing.assert_allclose(total[name], array, rtol=1e-9, atol=1e-9, err_msg=name)
            transform.absorb(phase.name, total)
    images = [images_of(transform, people.scan(0)) for transform in (pooled, *transforms.values())]
    for other in images[1:]:
        np.testing.assert_allclose(other, images[0], rtol=1e-5, atol=1e-6)


@EACH
def test_sums_may_be_absorbed_again_and_nonsense_is_refused(entry: Entry) -> None:
    once, twice, people = made(entry), made(entry), people_for(entry, 3)
    for phase in summed(once):
        sums = sums_of(once, phase.name, people, np.random.default_rng(0))
        claims.sums(sums, once, phase.name, len(people))
        places = once.places(phase.name)
        if places is not None:
            once.check(phase.name, averaged(sums, places, 3 * places.edge_mm))
        once.absorb(phase.name, sums)
        for _ in range(2):
            twice.absorb(phase.name, sums)
        for name, array in sums.items():
            for wrong in (array[None], np.full_like(array, np.nan)):
                with pytest.raises(WireError):
                    claims.sums({**sums, name: wrong}, once, phase.name, len(people))
    assert_same(once.share(), twice.share())
    np.testing.assert_array_equal(images_of(once, people.scan(0)), images_of(twice, people.scan(0)))


@EACH
def test_one_that_was_shared_transforms_like_the_one_that_shared_it(entry: Entry) -> None:
    people = people_for(entry, 3)
    transform, other = made(entry), made(entry)
    learnt_alone(transform, people, "a")
    other.load(transform.share())
    for one in (transform, other):
        personalised(one, people)
    np.testing.assert_array_equal(images_of(other, people.scan(1)), images_of(transform, people.scan(1)))


@EACH
def test_its_phases_parts_and_arrays_bear_its_name_and_the_models_keep_theirs(entry: Entry) -> None:
    transform, pipeline, alone = made(entry), model_of(before_a_model(entry)), model_of(BEHIND)
    assert [phase.name for phase in pipeline.phases()] == [
        *(f"transform-1-{phase.name}" for phase in transform.phases()),
        *(phase.name for phase in alone.phases()),
    ]
    assert set(pipeline.personal) == {*(f"transform-1-{part}" for part in transform.personal), *alone.personal}
    assert set(pipeline.parts) == {*(f"transform-1-{part}" for part in transform.parts), *alone.parts}
    own = {name.replace("network.", "network.transform-1.", 1): array for name, array in transform.share().items()}
    assert_same(pipeline.share(), own | alone.share())


class Looking(NormativeModel):
    """Keeps every image that it is shown."""

    Config: ClassVar[type[Frozen]] = Frozen
    keeps_to_site = True

    def __init__(self) -> None:
        super().__init__(Frozen(), setting())
        self.network = torch.nn.Linear(1, 1)
        self.parts = {"all": self.network}
        self.seen: list[np.ndarray] = []

    def phases(self) -> tuple[Phase, ...]:
        return Phase("training", "averaged"), Phase("sums", "summed")

    def batches(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Iterator[Batch]:
        self.personalise(cohort, rng)
        yield from ()

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        self.personalise(cohort, rng)
        return {}

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        self.seen = [cohort.scan(index).images for index in range(len(cohort))]

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        self.seen += [scan.images for scan in visits]
        return Score(np.zeros(visits[0].mask.shape, np.float32))


@EACH
def test_a_model_is_trained_summed_up_and_personalised_on_the_very_scans_that_it_scores(entry: Entry) -> None:
    people, shared = people_for(entry, 3), Pipeline([made(entry)], Looking())
    for phase in shared.phases()[:-2]:
        if phase.kind == "summed":
            shared.absorb(phase.name, sums_of(shared, phase.name, people, np.random.default_rng(0)))

    def received() -> tuple[Pipeline, Looking]:
        """As every task begins."""
        model = Looking()
        pipeline = Pipeline([made(entry)], model)
        pipeline.load(shared.share())
        return pipeline, model

    pipeline, scored = received()
    pipeline.personalise(people, np.random.default_rng(5))
    scored.seen = []
    for one in people.scans:
        pipeline.score([one], np.random.default_rng(6))
    for task in ("training", "mean loss", "sums", "personalising"):
        pipeline, model = received()
        if task == "sums":
            pipeline.statistics("sums", people, np.random.default_rng(7))
        elif task == "personalising":
            pipeline.personalise(people, np.random.default_rng(8))
        else:
            with torch.inference_mode(mode=task == "mean loss"):
                for epoch in range(2):
                    assert not [*pipeline.batches("training", people, np.random.default_rng(epoch))]
        assert len(model.seen) == len(people), task
        for found, expected in zip(model.seen, scored.seen, strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=task)


@EACH
def test_before_a_model_a_federation_of_one_learns_as_the_two_alone_one_after_the_other(
    entry: Entry, tmp_path: Path
) -> None:
    people = people_for(entry, 2)
    if any(phase.kind == "averaged" for phase in made(entry).phases()):
        not_applicable("rounds of a network come before, so that the model's have other numbers and other draws")
    federation = Federation(lambda: model_of(before_a_model(entry)), {"a": people}, tmp_path)
    transform = learnt(entry, people)
    changed = People(0)
    changed.scans = [transformed(one, [transform]) for one in people.scans]
    behind = replace(setting(), value_range=transform.value_range)
    alone = build(MODELS, validate_learner(MODELS, BEHIND.raw, "test"), behind)
    learnt_alone(alone, changed, "a")
    alone.personalise(changed, np.random.default_rng(0))
    pipeline = federation.model_at("a")
    pipeline.personalise(people, np.random.default_rng(0))
    assert isinstance(pipeline, Pipeline)
    assert_same(pipeline.model.share(), alone.share())
    found = pipeline.score([people.scan(0)], np.random.default_rng(1)).anomaly
    np.testing.assert_array_equal(found, alone.score([changed.scan(0)], np.random.default_rng(1)).anomaly)


@EACH
def test_parameters_refuse_nonsense_by_their_name(entry: Entry) -> None:
    with toys.registered():
        with pytest.raises(StudyError, match="moon"):
            validate_learner(TRANSFORMS, {**entry.raw, "moon": 1}, "transforms[0]")
        for name in TRANSFORMS[entry.name].Config.model_fields:
            for nonsense in NONSENSE:
                with pytest.raises(StudyError, match=name):
                    validate_learner(TRANSFORMS, {**entry.raw, name: nonsense}, "transforms[0]")


def test_what_is_summed_up_is_learnt() -> None:
    """Centred scans of the people learnt from have a mean of 0: a closed form for the toy."""
    people, transform = People(3), toys.Centring(Frozen(), setting())
    sum_up(transform, people)
    values = np.concatenate([toys.normal_values(transform.transform(one)) for one in people.scans], axis=1)
    np.testing.assert_allclose(values.mean(1), 0, atol=1e-6)
