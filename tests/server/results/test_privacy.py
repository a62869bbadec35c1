"""What is claimed in metrics.json: per model what leaves under which noise, and all models together."""

from __future__ import annotations

import math
from typing import Any

import pytest

from normfed_common.algorithms.arms import POOLED
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import assemble
from normfed_common.privacy import accounting
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_server.arms.plan import Plan, make
from normfed_server.results.guarantees import Guarantee, PrivacyFigures
from normfed_server.results.privacy import privacy_figures
from normfed_server.sites.description import SiteDescription

SITES = {name: SiteDescription(20, 2, 5, ("MS",)) for name in ("a", "b", "c", POOLED)}


def asked(privacy: dict[str, Any] | None, model: str = "autoencoder", **more: Any) -> StudyConfig:
    entry = {"name": "x", "data": {"modalities": ["FLAIR"]}, "model": {"name": model}, **more}
    return resolve(entry if privacy is None else {**entry, "privacy": privacy}, "test")


def figures(study: StudyConfig) -> PrivacyFigures:
    found = privacy_figures(study, make(study, SITES))
    assert found is not None
    return found


def people(found: PrivacyFigures) -> Guarantee:
    assert found.people is not None
    return found.people


def mechanisms(guarantee: Guarantee, *models: str) -> list[SampledGaussian]:
    return [
        SampledGaussian(one.noise_multiplier, one.sampling_rate, one.releases)
        for model in models
        for one in guarantee.models[model].mechanisms
    ]


def test_a_study_that_asks_for_nothing_claims_nothing() -> None:
    study = asked(None)
    assert privacy_figures(study, make(study, SITES)) is None


def test_every_model_that_learns_takes_hardly_less_than_was_asked_for_and_one_that_does_not_nothing() -> None:
    found = people(figures(asked({"epsilon": 4, "sampling_rate": 0.5})))
    assert set(found.models) == {"federated", POOLED, "local-a", "local-b", "local-c", "atlas", "mean-brain-residual"}
    assert (found.unit, found.epsilon, found.delta) == ("patient", 4, 1e-5)
    for name, spent in found.models.items():
        assert 3.9 < spent.epsilon <= 4, name
    (rounds,) = found.models["federated"].mechanisms
    assert (rounds.of, rounds.sampling_rate, rounds.releases) == ("rounds", 0.5, 2 * 20)
    (sums,) = found.models["atlas"].mechanisms
    assert (sums.of, sums.sampling_rate, sums.releases) == ("sums", 1, 1)


def test_a_model_of_sums_and_rounds_has_both() -> None:
    found = people(figures(asked({"epsilon": 4}, "siamese")))
    assert [one.of for one in found.models["federated"].mechanisms] == ["sums", "rounds"]
    assert 3.9 < found.models["federated"].epsilon <= 4


@pytest.mark.parametrize(
    ("model", "numbers"), [("matched-filter", [64]), ("atlas", [2 * 2 * 64]), ("location", None), ("siamese", None)]
)
def test_how_many_numbers_carry_noise_is_counted_of_the_model(model: str, numbers: list[int] | None) -> None:
    """The atlas tells sums and squares of each of two modalities over 64 parcels."""
    study = asked({"epsilon": 4}, model, data={"modalities": ["T1w", "FLAIR"]})
    built = assemble(study.transforms, study.model, Setting.of(study))
    if numbers is None:
        sums = [built.bounded(phase.name) for phase in built.phases() if phase.kind == "summed"]
        numbers = [max(sum(math.prod(shape) for shape in one.shapes().values()) for one in sums if one is not None)]
    if built.network is not None:
        numbers.append(sum(array.size for name, array in built.share().items() if name.startswith("network.")))
    found = people(figures(study)).models["federated"]
    assert [one.numbers for one in found.mechanisms] == numbers


def test_all_together_is_over_the_models_that_one_sites_people_are_in() -> None:
    found = people(figures(asked({"epsilon": 4})))
    theirs = ("federated", "local-a", "atlas", "mean-brain-residual")
    assert found.total == accounting.epsilon(mechanisms(found, *theirs), 1e-5)
    assert 4 < found.total < 4 * len(theirs)


def test_a_trusted_server_protects_what_is_federated_and_names_what_is_not() -> None:
    study = asked({"central": {"epsilon": 6, "adaptive": True}}, comparisons={"strategies": ["fedadam"]})
    found = figures(study)
    assert found.people is None
    assert found.sites is not None
    assert set(found.sites.models) == {"federated", "fedadam"}
    (rounds,) = found.sites.models["fedadam"].mechanisms
    assert (rounds.sampling_rate, rounds.releases) == (1, 20)
    assert 5.9 < accounting.epsilon(mechanisms(found.sites, "federated"), 1e-5) <= 6
    assert found.sites.total == accounting.epsilon(mechanisms(found.sites, "federated", "fedadam"), 1e-5)
    assert set(found.outside) == {POOLED, "local-a", "local-b", "local-c", "atlas", "mean-brain-residual"}


def test_secure_aggregation_alone_is_told_with_its_minimum_and_covers_nobody() -> None:
    found = figures(asked({"secure_aggregation": {"minimum_sites": 5}}))
    assert (found.people, found.sites, found.minimum_sites) == (None, None, 5)
    assert "federated" in found.outside


def test_it_comes_back_from_json_as_it_was() -> None:
    study = asked({"epsilon": 4, "central": True, "secure_aggregation": True})
    found = privacy_figures(study, Plan(make(study, SITES).arms, {}))
    assert found is not None
    assert PrivacyFigures.model_validate_json(found.model_dump_json()) == found
