"""Every name of a model is explained, each kind once."""

from __future__ import annotations

from compared import metrics
from guarantees import figures, guarantee
from run_results import run_results

from normfed_server.report.arms import explained


def test_every_kind_of_model_is_explained_once_in_its_place() -> None:
    names = ["pooled", "federated", "local-a", "local-b", "without-a", "federated~2", "local-b~3", "fedprox", "atlas"]
    said = {**metrics(atlas=None), "titles": {"atlas": "the atlas"}}
    said["strategies"]["fedprox"] = {"name": "fedprox"}
    found = explained(names, run_results(**said))
    assert [name for name, _ in found] == ["pooled", "federated", "local-…", "without-…", "~2", "fedprox", "the atlas"]
    assert len({words for _, words in found}) == len(found)


def test_the_names_in_the_ledger_of_the_page_are_those_explained() -> None:
    claims = figures(people=guarantee("patient", 4.0, 8.0, **{"federated": 3.9, "local-a": 3.9}))
    assert claims.people is not None
    assert [name for name, _ in explained(claims.people.models, run_results())] == ["federated", "local-…"]
