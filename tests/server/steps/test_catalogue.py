"""How many updates a step needs, and studies whose step is not here."""

from __future__ import annotations

from typing import Any

import pytest
from stepping import step_of

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.registry import Registry
from normfed_common.studies import resolve
from normfed_server.steps import catalogue
from normfed_server.steps.base import Step
from normfed_server.steps.catalogue import check_steps
from normfed_server.steps.mean import Mean

ROBUST = ("krum", "multi-krum")
CLUSTERS = {"prior-clusters": {"clusters": {"one": ["a"]}}}


def test_a_step_that_is_not_here_is_called_by_its_kind_and_those_that_are_by_name() -> None:
    with pytest.raises(StudyError, match=r"No server step is called 'median of means'\. Known: .*'?trimmed mean"):
        catalogue.STEPS["median of means"]


def test_a_step_needs_one_update_but_krum_enough_that_the_honest_are_the_more() -> None:
    """2 f + 3 of n sites: Blanchard 2017."""
    others = [name for name in ALGORITHMS if name not in ROBUST]
    assert {step_of({"name": name, **CLUSTERS.get(name, {})}).minimum for name in others} == {1}
    assert [step_of({"name": name, "malicious": 2}).minimum for name in ROBUST] == [7, 7]


@pytest.mark.parametrize("beside", [False, True])
def test_a_study_with_a_step_that_is_not_here_is_refused(beside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    strategies = {"comparisons": {"strategies": ["fedyogi"]}} if beside else {"strategy": {"name": "fedyogi"}}
    study = resolve({"name": "x", "data": {"modalities": ["T1w"]}, "model": {"name": "siamese"}, **strategies}, "test")
    check_steps(study)
    monkeypatch.setattr(catalogue, "STEPS", Registry("server step", "normfed.steps", subclass_of=Step))
    for name in ("mean", "momentum"):
        catalogue.STEPS.add(name, Mean)
    with pytest.raises(StudyError, match=r"server step .*'yogi'"):
        check_steps(study)


@pytest.mark.parametrize(
    ("model", "strategies", "why"),
    [
        ("siamese", {}, r"siamese learns from sums over sites as well \(patches\)"),
        ("autoencoder", {"comparisons": {"strategies": ["median"]}}, "the strategy median needs every"),
        ("autoencoder", {"strategy": {"name": "scaffold"}}, "the strategy scaffold needs every"),
    ],
)
def test_central_privacy_refuses_what_it_cannot_cover(model: str, strategies: dict[str, Any], why: str) -> None:
    entry = {"name": "x", "data": {"modalities": ["T1w"]}, "model": {"name": model}, **strategies}
    check_steps(resolve(entry, "test"))
    with pytest.raises(StudyError, match=why):
        check_steps(resolve({**entry, "privacy": {"central": True}}, "test"))
