"""Transforms and the model behind them are learnt as one model, each on what those before it make of a scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import toys
from learning import sum_up
from synthetic import People, setting, split
from toys import Centring, Mixture, MixtureConfig, Retouching, SiteCentring, TwoPhases, normal_values

from normfed_client.training.loop import trained_parameters
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import PluginError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build
from normfed_common.learning.learner import NETWORK, Learner
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import Pipeline, assemble
from normfed_common.studies import validate_learner, validate_strategy
from normfed_common.study.base import Frozen
from normfed_common.transforms.base import ScanTransform


def pipeline() -> Pipeline:
    return Pipeline([Centring(Frozen(), setting()), Centring(Frozen(), setting())], Mixture(MixtureConfig(), setting()))


def test_the_transforms_phases_come_first_and_the_models_see_what_they_make() -> None:
    made, people = pipeline(), People(3)
    assert [phase.name for phase in made.phases()] == ["transform-1-means", "transform-2-means", "em"]
    sum_up(made, people)
    first, second = made.transforms
    assert isinstance(first, Centring)
    assert isinstance(second, Centring)
    values = np.concatenate([normal_values(scan) for scan in people.scans], 1)
    np.testing.assert_allclose(first.mean, values.mean(1), rtol=1e-6)
    np.testing.assert_allclose(second.mean, 0, atol=1e-6)  # what comes after the first is centred
    alone, centred = Mixture(MixtureConfig(), setting()), People(3)
    centred.scans = [second.transform(first.transform(scan)) for scan in people.scans]
    sum_up(alone, centred)
    assert isinstance(made.model, Mixture)
    np.testing.assert_array_equal(made.model.means, alone.means)


def test_a_scan_is_scored_as_the_model_scores_what_the_transforms_make_of_it() -> None:
    made, people = pipeline(), People(3)
    sum_up(made, people)
    first, second = made.transforms
    rng = np.random.default_rng
    expected = made.model.score([second.transform(first.transform(people.scan(1)))], rng(0))
    found = made.score([people.scan(0), people.scan(1)], rng(0))
    np.testing.assert_array_equal(found.anomaly, expected.anomaly)


def test_sums_of_sites_give_the_pipeline_of_everybody() -> None:
    pooled, federated, people = pipeline(), pipeline(), People(4)
    for phase in pooled.phases():
        whole = pooled.statistics(phase.name, people, np.random.default_rng(0))
        pooled.absorb(phase.name, whole)
        parts = [federated.statistics(phase.name, part, np.random.default_rng(0)) for part in split(people, 1, 3)]
        federated.absorb(phase.name, {name: np.sum([part[name] for part in parts], 0) for name in whole})
    for name, array in pooled.share().items():
        np.testing.assert_allclose(federated.share()[name], array, rtol=1e-12, atol=1e-12)


def test_each_counts_on_the_values_that_the_transforms_before_it_make() -> None:
    entries = [{"name": name} for name in ("centring", "retouching", "filling")]
    with toys.registered():
        made = assemble(entries, validate_learner(MODELS, {"name": "atlas"}, "test"), setting())
    assert isinstance(made, Pipeline)
    seen = [one.setting.value_range for one in (*made.transforms, made.model)]
    assert seen == [(0, 2), (-2, 2), (-3, 3), (-3, 3)]


def test_what_was_shared_is_taken_with_all_transforms() -> None:
    made, other, people = pipeline(), pipeline(), People(3)
    sum_up(made, people)
    other.load(made.share())
    scores = [one.score([people.scan(2)], np.random.default_rng(0)).anomaly for one in (made, other)]
    np.testing.assert_array_equal(*scores)


def trained(transforms: list[ScanTransform]) -> Pipeline:
    return Pipeline(transforms, TwoPhases(Frozen(), setting()))


def test_a_model_keeps_its_names_behind_transforms_and_trains_alone() -> None:
    alone = TwoPhases(Frozen(), setting())
    centring, retouching = Centring(Frozen(), setting()), Retouching(Frozen(), setting())
    for made in (trained([centring]), trained([centring, retouching])):
        sum_up(made, People(2))
        assert made.personal == ("adapter",)
        assert {name: set(arrays) for name, arrays in made.groups().items() if name in alone.parts} == {
            name: set(arrays) for name, arrays in alone.groups().items() if name in alone.parts
        }
        for phase, own in zip(made.phases()[-2:], alone.phases(), strict=True):
            assert phase == own
            assert made.arrays_of(phase) == alone.arrays_of(own)
            assert [name for name, _ in trained_parameters(made, phase)] == [
                name for name, _ in trained_parameters(alone, own)
            ]
        (batch, *_) = made.batches("decoding", People(2), np.random.default_rng(0))
        batch = batch.to(setting().device)
        expected = alone.loss("decoding", batch, torch.Generator())
        assert torch.equal(made.loss("decoding", batch, torch.Generator()), expected)


def test_a_transforms_network_has_its_arrays_and_its_phase_beside_the_models() -> None:
    made = trained([Centring(Frozen(), setting()), Retouching(Frozen(), setting())])
    own = {f"{NETWORK}transform-2.1.weight", f"{NETWORK}transform-2.1.bias"}
    _, retouching, *others = made.phases()
    assert retouching.parts == ("transform-2-linear",)
    assert made.arrays_of(retouching) == own
    assert all(not made.arrays_of(phase) & own for phase in others)
    assert set(made.share()) == own | set(TwoPhases(Frozen(), setting()).share())
    assert {name for name, _ in trained_parameters(made, retouching)} == own


def test_networks_beside_each_other_are_saved_and_taken_as_any_other() -> None:
    made, other = (trained([Retouching(Frozen(), setting())]) for _ in range(2))
    assert made.network is not None
    assert other.network is not None
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(1)
    other.network.load_state_dict(made.network.state_dict())
    other.load(made.share())
    for name, tensor in made.network.state_dict().items():
        assert torch.equal(other.network.state_dict()[name], tensor), name
    assert {name for name, _ in made.network.named_parameters()} == set(made.network.state_dict())
    nested = torch.nn.ModuleDict({"both": made.network})
    assert {name for name, _ in nested.named_parameters()} == set(nested.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        other.network.load_state_dict({})


@pytest.mark.parametrize("name", ["fedper", "lg-fedavg", "fedrep", "fedbn"])
def test_what_a_strategy_keeps_of_a_model_does_not_depend_on_transforms_before_it(name: str) -> None:
    with toys.registered():
        entry = validate_learner(MODELS, {"name": "autoencoder", "size": 32, "filters": 8, "most_filters": 8}, "test")
        strategy = validate_strategy({"name": name}, "test")
        expected = personal_arrays(assemble([], entry, setting()), strategy)
        for transforms in ([{"name": "centring"}], [{"name": "centring"}, {"name": "retouching"}]):
            assert personal_arrays(assemble(transforms, entry, setting()), strategy) == expected


class Claiming(TwoPhases):
    """Calls a part as a transform's are called."""

    def __init__(self) -> None:
        super().__init__(Frozen(), setting())
        self.parts = {**self.parts, "transform-1-decoder": self.parts["decoder"]}


def test_a_model_that_takes_the_names_of_transforms_is_refused() -> None:
    with pytest.raises(PluginError, match="Claiming cannot be used behind transforms: it calls something transform-1-"):
        Pipeline([Centring(Frozen(), setting())], Claiming())


def test_what_a_transform_keeps_to_its_site_is_learnt_once_until_its_model_is_loaded_anew() -> None:
    people, others = People(3), People(2, seed=1)
    made = trained(
        [SiteCentring(Frozen(), setting()), Retouching(Frozen(), setting()), SiteCentring(Frozen(), setting())]
    )
    first, _, last = made.transforms
    assert isinstance(first, SiteCentring)
    assert isinstance(last, SiteCentring)
    for phase in ("transform-2-retouching", "encoding"):
        made.prepare(phase, people)
        kept = first.mean, last.mean
        assert kept[0].all()
        assert last.mean.any() == (phase == "encoding")
        assert [*made.batches(phase, others, np.random.default_rng(0))]
        assert (first.mean, last.mean) == kept
    made.load(made.share())
    assert [*made.batches("encoding", others, np.random.default_rng(0))]
    assert (first.mean != kept[0]).all()
    assert (last.mean != kept[1]).all()


def test_a_scan_is_transformed_anew_once_the_transform_has_learnt_more() -> None:
    made, people = pipeline(), People(3)
    sum_up(made, people)
    before = made.statistics("em", people, np.random.default_rng(0))
    for _ in range(2):
        again = made.statistics("em", people, np.random.default_rng(0))
        np.testing.assert_array_equal(again["sum"], before["sum"])
    total = made.statistics("transform-1-means", people, np.random.default_rng(0))
    made.absorb("transform-1-means", {**total, "sum": total["sum"] + total["count"]})
    changed = made.statistics("em", people, np.random.default_rng(0))
    assert (changed["sum"] != before["sum"]).all()


def test_sums_are_checked_once_when_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    made, fresh, checked = pipeline(), pipeline(), []
    sum_up(made, People(3))
    check = Learner.check

    def noted(learner: Learner, phase: str, sums: Arrays) -> None:
        checked.append(phase)
        check(learner, phase, sums)

    for kind in (Centring, Mixture, Pipeline):
        monkeypatch.setattr(kind, "check", noted)
    fresh.load(made.share())
    assert checked == ["means", "means", "em"]


def test_a_transforms_scan_stays_the_persons() -> None:
    transform, people = Centring(Frozen(), setting()), People(2)
    sum_up(transform, people)
    scan = replace(people.scan(0), person=replace(people.scan(0).person, age=44.0))
    assert transform.transform(scan).person == scan.person


def test_the_reference_of_a_loss_is_that_of_the_model_on_what_the_transforms_make() -> None:
    people, entry = People(3), {"name": "siamese", "patch_size": 9}
    with toys.registered():
        made = assemble([{"name": "centring"}], validate_learner(MODELS, entry, "test"), setting())
    assert isinstance(made, Pipeline)
    assert made.reference_loss("training") is None
    sum_up(made, people)
    expected = made.model.reference_loss("training")
    assert expected is not None
    assert made.reference_loss("training") == expected
    assert made.reference_loss("transform-1-means") is None


class Halving(ScanTransform):
    """Half of every value; nothing is learnt."""

    Config = Frozen

    def transform(self, scan: Scan) -> Scan:
        return replace(scan, images=scan.images / 2)


def private_model() -> tuple[NormativeModel, Setting]:
    where = replace(setting(), private=True)
    return build(MODELS, validate_learner(MODELS, {"name": "atlas"}, "test"), where), where


def test_a_persons_part_in_private_sums_is_of_the_scan_as_the_transforms_make_it() -> None:
    (model, where), people = private_model(), People(1)
    behind = Pipeline([Halving(Frozen(), where)], model).bounded("moments")
    alone, halved = model.bounded("moments"), People(1)
    halved.scans = [replace(scan, images=scan.images / 2) for scan in people.scans]
    assert alone is not None
    assert behind is not None
    expected = alone.contribution(halved, np.random.default_rng(0))
    for name, array in behind.contribution(people, np.random.default_rng(0)).items():
        np.testing.assert_array_equal(array, expected[name])


def test_behind_what_a_site_learns_of_everybody_no_person_s_part_is_bounded() -> None:
    """What others have would change it."""
    model, where = private_model()
    made = Pipeline([SiteCentring(Frozen(), where)], model)
    assert made.bounded("moments") is None
    assert Pipeline([Centring(Frozen(), where)], model).bounded("transform-1-means") is None
