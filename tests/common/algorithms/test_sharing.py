"""Strategies that a model cannot be trained by are refused before any site is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import toys
from toys import TwoPhases

from normfed_common.algorithms.sharing import check_study, needs_every_part
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import resolve


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with toys.registered():
        yield


def check(strategy: dict[str, Any] | str, *beside: dict[str, Any]) -> None:
    """A study of the toy of two phases: encoder and adapter, then the decoder; the adapter is the site's own."""
    study = {
        "name": "shared",
        "data": {"modalities": ["T1w"]},
        "model": {"name": "two-phases"},
        "strategy": strategy,
        "comparisons": {"baselines": [], "pooled": False, "strategies": list(beside)},
    }
    check_study(resolve(study, "test"))


@pytest.mark.parametrize("name", ["fedper", "fedrep"])
@pytest.mark.parametrize(("part", "phase"), [("decoder", "decoding"), ("encoder", "encoding")])
def test_a_phase_of_which_nothing_is_left_to_share_is_refused_by_its_name(name: str, part: str, phase: str) -> None:
    check({"name": name, "personal": ["adapter"]})
    entry = {"name": name, "personal": [part]}
    for given in ((entry,), ("fedavg", entry)):
        with pytest.raises(
            StudyError, match=f"strategy {name}: all that the model's phase {phase} trains stays at the"
        ):
            check(*given)


def test_who_keeps_a_part_that_there_is_not_is_told_how_to_write_those_that_there_are() -> None:
    with pytest.raises(StudyError) as caught:
        check({"name": "fedper", "personal": ["head"]})
    text = str(caught.value)
    assert "the model has no part called head. Its parts are encoder, " in text
    assert text.endswith(" Write {name: fedper, personal: [adapter]}.")
    check({"name": "fedper", "personal": ["adapter"]})


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox"])
def test_a_model_that_keeps_a_whole_phase_to_the_sites_is_refused_under_every_strategy(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(strategy)
    monkeypatch.setattr(TwoPhases, "personal", ("decoder",))
    with pytest.raises(StudyError, match="phase decoding"):
        check(strategy)


def test_a_part_that_a_parameter_keeps_at_a_site_is_missing_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = resolve({"name": "kept", "data": {"modalities": ["T1w"]}, "model": {"name": "two-phases"}}, "test")
    monkeypatch.setattr(TwoPhases, "personal", ())
    assert not needs_every_part(assemble((), study.model, Setting.of(study)), {"name": "fedavg"})
    begin = TwoPhases.__init__

    def keeping(model: TwoPhases, *given: Any) -> None:
        begin(model, *given)
        model.personal = ("adapter",)

    monkeypatch.setattr(TwoPhases, "__init__", keeping)
    assert needs_every_part(assemble((), study.model, Setting.of(study)), {"name": "fedavg"})


def check_private(model: dict[str, Any], *baselines: dict[str, Any], **data: Any) -> None:
    """A study that asks for privacy."""
    study = {
        "name": "private",
        "data": {"modalities": ["T1w", "FLAIR"], **data},
        "model": model,
        "privacy": {"epsilon": 4},
        "comparisons": {"baselines": list(baselines), "pooled": False},
    }
    check_study(resolve(study, "test"))


@pytest.mark.parametrize(
    "name", ["atlas", "matched-filter", "mixture", "location", "siamese", "intensity", "autoencoder"]
)
def test_a_model_whose_sums_are_bounded_or_that_has_none_can_be_private(name: str) -> None:
    check_private({"name": name})


@pytest.mark.parametrize(
    ("model", "sums"),
    [
        ({"name": "atlas", "regress": ["age"]}, "covariates and moments"),
        ({"name": "matched-filter", "noise": "learnt"}, "moments"),
        ({"name": "siamese", "one_class": {"fit_on": "location"}}, "[a-z-]+"),
        ({"name": "ensemble", "members": [{"name": "atlas"}, {"name": "mixture"}]}, "scale and ranks"),
    ],
    ids=str,
)
def test_a_model_with_sums_that_nothing_bounds_is_refused_as_a_model_and_as_a_baseline(
    model: dict[str, Any], sums: str
) -> None:
    said = rf"privacy\.epsilon: the model {model['name']} adds up {sums} over people.*mixture"
    for entries in ((model,), ({"name": "mixture"}, model)):
        with pytest.raises(StudyError, match=said):
            check_private(*entries)


def test_scans_that_may_lack_a_modality_are_refused() -> None:
    """Whoever lacks it would count as if they had it."""
    with pytest.raises(StudyError, match=r"privacy\.epsilon: the model atlas adds up moments"):
        check_private({"name": "atlas"}, may_lack=["FLAIR"])
