"""Every name of a model is explained, each kind once, and every model is counted."""

from __future__ import annotations

from compared import metrics
from guarantees import figures, guarantee
from run_results import run_results

from normfed_server.report.arms import explained, spendings


def test_every_kind_of_model_is_explained_once_and_the_studys_own_first() -> None:
    names = ["pooled", "federated", "local-a", "local-b", "without-a", "federated~2", "local-b~3", "fedprox", "atlas"]
    said = {**metrics(atlas=None), "titles": {"atlas": "the atlas"}}
    said["strategies"]["fedprox"] = {"name": "fedprox"}
    found = explained(names, run_results(**said))
    assert list(found) == ["federated", "pooled", "local-…", "without-…", "fedprox", "the atlas"]
    assert len(set(found.values())) == len(found)


def test_the_ledger_has_a_line_for_models_that_took_the_same_and_every_model_is_in_one() -> None:
    epsilons = {"pooled": 3.9, "federated": 3.9, "local-a": 3.9, "local-b": 3.9, "federated~2": 3.9, "local-c": 2.0}
    claims = figures(people=guarantee(**epsilons))
    assert claims.people is not None
    lines = spendings(claims.people, run_results())
    assert [(line.kind, line.models, line.epsilon, line.ours) for line in lines] == [
        ("federated", 2, 3.9, True),
        ("pooled", 1, 3.9, False),
        ("local-…", 2, 3.9, False),
        ("local-…", 1, 2.0, False),
    ]
    assert {line.kind for line in lines} == set(explained(claims.people.models, run_results()))
