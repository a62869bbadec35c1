"""What people cannot be protected in is refused in words, when the study is read or before any site is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import toys
from synthetic import setting

from normfed_common.algorithms.private_training import check_buffers
from normfed_common.algorithms.sharing import check_study
from normfed_common.foundation.errors import SiteCode, SiteError, StudyError
from normfed_common.models.catalogue import MODELS
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig

ISBI = {"name": "siamese", "architecture": "isbi", "patch_size": 9, "norm": "batch"}


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with toys.registered():
        yield


def study(privacy: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
    raw: dict[str, Any] = {
        "name": "private",
        "data": {"modalities": ["T1w", "FLAIR"]},
        "model": {"name": "siamese", "patch_size": 9},
        "comparisons": {"baselines": [], "local": False, "pooled": False},
        "privacy": {"epsilon": 4} if privacy is None else privacy,
    }
    return resolve({**raw, **changes}, "test")


@pytest.mark.parametrize(
    ("strategy", "what"),
    [
        ("qfedavg", "strategy qfedavg: sites say the loss of the model that they received"),
        ("ifca", "strategy ifca: sites say which of several models fits their people best"),
    ],
)
def test_strategies_whose_sites_say_more_than_gradients_are_refused_when_a_study_is_read(
    strategy: str, what: str
) -> None:
    with pytest.raises(StudyError, match=f"test: {what}, which privacy.epsilon does not cover. Take another strategy"):
        study(strategy={"name": strategy})
    with pytest.raises(StudyError, match=what):
        study(comparisons={"strategies": [strategy]})
    study(strategy={"name": strategy}, privacy={})


def test_fp16_is_refused_where_people_are_protected() -> None:
    with pytest.raises(StudyError, match=r"test: federation.precision: .* Write bf16 or float32, or leave"):
        study(federation={"precision": "fp16"})
    study(federation={"precision": "bf16"})
    study(federation={"precision": "fp16"}, privacy={})


STRATEGIES = [
    "fedavg",
    "fedprox",
    "fedadam",
    "fednova",
    "scaffold",
    "ditto",
    "fine-tuning",
    "cfl",
    "median",
    "krum",
    "norm-clipping",
    "fedper",
    "fedrep",
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_people_are_protected_under_every_other_strategy(strategy: str) -> None:
    check_study(study(strategy={"name": strategy}))


def test_running_statistics_that_would_leave_are_refused() -> None:
    with pytest.raises(StudyError, match=r"model siamese: running statistics .* or the strategy fedbn, which keeps"):
        check_study(study(model=ISBI))
    check_study(study(model=ISBI, privacy={}))
    check_study(study(model={**ISBI, "norm": "layer"}))
    check_study(study(model=ISBI, strategy={"name": "fedbn"}))


@pytest.mark.parametrize("compared", ["local", "pooled", "leave_one_site_out"])
def test_running_statistics_would_leave_by_a_model_to_compare_with(compared: str) -> None:
    with pytest.raises(StudyError, match="model siamese: running statistics"):
        check_study(study(model=ISBI, strategy={"name": "fedbn"}, comparisons={"baselines": [], compared: True}))
    comparisons = {"baselines": [ISBI], "local": False, "pooled": False}
    with pytest.raises(StudyError, match="model siamese: running statistics"):
        check_study(study(comparisons=comparisons))


def test_batch_normalisation_is_refused_where_each_sample_is_protected_by_itself() -> None:
    with pytest.raises(StudyError, match=r"mixes samples, of which privacy.unit `sample` protects each by itself"):
        check_study(study({"epsilon": 4, "unit": "sample"}, model=ISBI, strategy={"name": "fedbn"}))


@pytest.mark.parametrize("strategy", ["ditto", "fine-tuning"])
def test_rounds_do_not_begin_from_parts_that_were_trained_without_noise(strategy: str) -> None:
    model = {"name": "two-phases"}
    with pytest.raises(StudyError, match="begin from the parts that it keeps at the sites"):
        check_study(study(model=model, strategy={"name": strategy}))
    check_study(study(model=model))


def test_a_transform_that_is_fitted_to_a_site_s_people_is_refused() -> None:
    with pytest.raises(StudyError, match="transforms: one is fitted to a site's people"):
        check_study(study(transforms=[{"name": "site-centring"}]))
    with pytest.raises(StudyError, match=r"adds up transform-1-means over people, .*hides anybody\. Leave epsilon out"):
        check_study(study(transforms=[{"name": "centring"}]))  # of all sites' people, in sums that nothing bounds
    check_study(study(transforms=[{"name": "site-centring"}], privacy={}))


def test_combat_is_refused_in_words_of_its_own() -> None:
    """Its scanners' effects are of all people of a site, so that no sum after it is bounded."""
    with pytest.raises(StudyError, match=r"the transform combat changes every scan .* Leave the transform out, or eps"):
        check_study(study(model={"name": "atlas"}, transforms=[{"name": "combat"}], comparisons={"baselines": []}))


def test_what_training_changed_without_a_gradient_does_not_leave() -> None:
    """Running statistics of a network that a plug-in may have."""
    model = MODELS["siamese"](MODELS["siamese"].Config(architecture="isbi", norm="batch"), setting())
    received = model.share()
    weight = next(name for name, _ in model.network.named_parameters())  # type: ignore[union-attr]
    changed = {f"network.{weight}": received[f"network.{weight}"] + 1}
    check_buffers(model, {**received, **changed}, received)
    buffer = next(name for name in received if name.endswith("running_mean"))
    with pytest.raises(SiteError) as caught:
        check_buffers(model, {**received, buffer: received[buffer] + np.float32(1)}, received)
    assert caught.value.code is SiteCode.STUDY_REFUSED
    assert buffer in caught.value.detail
