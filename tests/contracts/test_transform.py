"""What every transform of scans keeps to, alone and before a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
from contracts.entries import EVERY_TRANSFORM, NONSENSE, SMALL_MODELS, Entry, every, model_of, not_applicable
from contracts.federating import Federation, learnt_alone, sums_of
from learning import sum_up
from synthetic import People, scan, setting, split

from normfed_common.foundation.arrays import Arrays, add
from normfed_common.foundation.errors import ScanError, StudyError, WireError
from normfed_common.learning.entries import build
from normfed_common.learning.phase import Phase
from normfed_common.models.catalogue import MODELS
from normfed_common.models.pipeline import MODEL, Pipeline
from normfed_common.studies import validate_learner
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_server.sites import claims

EACH = every(EVERY_TRANSFORM)
# The model that a transform stands before: it averages, sums up, and keeps machines to the site.
BEHIND = Entry("siamese", "siamese", SMALL_MODELS["siamese"]["location, machines"])


def made(entry: Entry) -> ScanTransform:
    with toys.registered():
        return build(TRANSFORMS, validate_learner(TRANSFORMS, entry.raw, "test"), setting())


def learnt(entry: Entry, people: People) -> ScanTransform:
    transform = made(entry)
    learnt_alone(transform, people, "a")
    transform.personalise(people, np.random.default_rng(0))
    return transform


def before_a_model(entry: Entry) -> Entry:
    return replace(BEHIND, transforms=(entry.name,))


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
    people = People(3)
    transform = learnt(entry, people)
    for one in (people.scan(0), scan(np.random.default_rng(9))):
        kept = one.images.copy()
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
def test_the_same_scan_becomes_the_same_whatever_was_transformed_before(entry: Entry) -> None:
    people = People(3)
    alone, busy = learnt(entry, people), learnt(entry, people)
    busy.transform(people.scan(1))
    expected = alone.transform(people.scan(0)).images
    for transform in (alone, busy):
        np.testing.assert_array_equal(transform.transform(people.scan(0)).images, expected)


@EACH
def test_a_modality_that_is_there_stays_and_an_absent_one_is_0_filled_in_or_refused_as_the_transform_says(
    entry: Entry, record_property: Callable[[str, object], None]
) -> None:
    transform = learnt(entry, People(3))
    modalities = transform.setting.modalities
    needed, filled = (of(transform.config, modalities) for of in (transform.needs, transform.fills))
    for channel, modality in enumerate(modalities):
        one = scan(np.random.default_rng(9))
        one.images[channel], one.present[channel] = 0, False
        said = ""
        try:
            found = transform.transform(one)
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
    pooled, people = made(entry), People(4, visits=2)
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
    images = [t.transform(people.scan(0)).images for t in (pooled, *transforms.values())]
    for other in images[1:]:
        np.testing.assert_allclose(other, images[0], rtol=1e-5, atol=1e-6)


@EACH
def test_sums_may_be_absorbed_again_and_nonsense_is_refused(entry: Entry) -> None:
    once, twice, people = made(entry), made(entry), People(3)
    for phase in summed(once):
        sums = sums_of(once, phase.name, people, np.random.default_rng(0))
        claims.sums(sums, once, phase.name, len(people))
        once.absorb(phase.name, sums)
        for _ in range(2):
            twice.absorb(phase.name, sums)
        for name, array in sums.items():
            for wrong in (array[None], np.full_like(array, np.nan)):
                with pytest.raises(WireError):
                    claims.sums({**sums, name: wrong}, once, phase.name, len(people))
    assert_same(once.share(), twice.share())
    np.testing.assert_array_equal(once.transform(people.scan(0)).images, twice.transform(people.scan(0)).images)


@EACH
def test_one_that_was_shared_transforms_like_the_one_that_shared_it(entry: Entry) -> None:
    people = People(3)
    transform, other = made(entry), made(entry)
    learnt_alone(transform, people, "a")
    other.load(transform.share())
    for one in (transform, other):
        one.personalise(people, np.random.default_rng(0))
    np.testing.assert_array_equal(other.transform(people.scan(1)).images, transform.transform(people.scan(1)).images)


@EACH
def test_its_phases_and_parts_bear_its_name_before_those_of_the_model(entry: Entry) -> None:
    transform, pipeline = made(entry), model_of(before_a_model(entry))
    assert isinstance(pipeline, Pipeline)
    own = [f"transform-1-{phase.name}" for phase in transform.phases()]
    model = [f"{MODEL}-{phase.name}" for phase in pipeline.model.phases()]
    assert [phase.name for phase in pipeline.phases()] == own + model
    assert set(pipeline.personal) >= {f"transform-1-{part}" for part in transform.personal}
    assert set(pipeline.groups()) >= {f"transform-1-{part}" for part in transform.parts}


@EACH
def test_before_a_model_a_federation_of_one_learns_as_the_two_alone_one_after_the_other(
    entry: Entry, tmp_path: Path
) -> None:
    people = People(2)
    federation = Federation(lambda: model_of(before_a_model(entry)), {"a": people}, tmp_path)
    transform = learnt(entry, people)
    changed = People(0)
    changed.scans = [transform.transform(one) for one in people.scans]
    alone = build(MODELS, validate_learner(MODELS, BEHIND.raw, "test"), setting())
    if any(phase.kind == "averaged" for phase in transform.phases()):
        not_applicable("rounds of a network come before, so that the model's have other numbers and other draws")
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
    people, transform = People(3), made(Entry("centring", "toy: centring"))
    sum_up(transform, people)
    values = np.concatenate([toys.normal_values(transform.transform(one)) for one in people.scans], axis=1)
    np.testing.assert_allclose(values.mean(1), 0, atol=1e-6)
