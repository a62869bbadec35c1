"""Which strategies a comparison sets beside each other."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.errors import StudyError
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_simulation.comparison import ANCHORS, USUAL, changes, listed, names, one


def study(strategy: dict[str, Any] | None = None, *others: dict[str, Any]) -> StudyConfig:
    comparisons = {**TINY.get("comparisons", {}), "strategies": list(others)}
    return resolve({**TINY, "strategy": strategy or {"name": "fedavg"}, "comparisons": comparisons}, "test")


def name(entry: Any) -> str:
    return entry if isinstance(entry, str) else entry["name"]


PLAIN = sorted(set(USUAL))
NEEDS_PARAMETERS = {"prior-clusters"}


@given(st.lists(st.sampled_from([*PLAIN, *ANCHORS]), min_size=1, max_size=6, unique=True))
def test_what_is_listed_is_compared_in_that_order_and_nothing_else_is(names: list[str]) -> None:
    found = changes(study(), names, None)
    comparisons = found["comparisons"]
    trained = [found["strategy"]] if "strategy" in found else []
    trained += comparisons["strategies"]
    assert [name(entry) for entry in trained] == [one for one in names if one not in ANCHORS]
    assert {anchor: comparisons[anchor] for anchor in ANCHORS} == {anchor: anchor in names for anchor in ANCHORS}


def test_a_list_of_anchors_alone_leaves_the_studys_strategy() -> None:
    found = changes(study(), listed("local"), None)
    assert found == {"comparisons": {"local": True, "pooled": False, "strategies": []}}


def test_parameters_come_from_the_list_then_from_the_study_then_from_the_method() -> None:
    own = study({"name": "fedprox", "mu": 0.5}, {"name": "ditto", "lambda": 0.7})
    found = changes(own, listed("ditto,fedprox,qfedavg"), None)
    assert found["strategy"]["lambda"] == 0.7
    assert found["comparisons"]["strategies"] == [{"name": "fedprox", "mu": 0.5}, "qfedavg"]
    found = changes(own, listed("{name: ditto, lambda: 0.2},{name: fedprox, mu: 0.1}"), None)
    assert found["strategy"] == {"name": "ditto", "lambda": 0.2}
    assert found["comparisons"]["strategies"] == [{"name": "fedprox", "mu": 0.1}]


@pytest.mark.parametrize("own", ["fedavg", "scaffold", "krum"])
def test_the_usual_ones_are_the_studys_own_then_one_of_each_kind_and_both_anchors(own: str) -> None:
    strategy = {"name": own, "malicious": 0} if own == "krum" else {"name": own}
    found = changes(study(strategy), None, None)
    assert name(found["strategy"]) == own
    assert [name(entry) for entry in found["comparisons"]["strategies"]] == [one for one in USUAL if one != own]
    assert (found["comparisons"]["local"], found["comparisons"]["pooled"]) == (True, True)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_all_stands_for_the_rest_wherever_it_is_said(place: int) -> None:
    names = ["ditto", "fedprox"]
    names.insert(place, "all")
    found = changes(study({"name": "scaffold"}), names, None)
    trained = [name(entry) for entry in (found["strategy"], *found["comparisons"]["strategies"])]
    complete = [known for known in ALGORITHMS if known not in NEEDS_PARAMETERS]
    rest = ["scaffold", *(known for known in complete if known not in ("scaffold", "ditto", "fedprox"))]
    assert trained == [*names[:place], *rest, *names[place + 1 :]]
    assert all(found["comparisons"][anchor] for anchor in ANCHORS)


def test_a_method_that_needs_a_parameter_is_among_all_where_the_study_has_it() -> None:
    with_clusters = study(None, {"name": "prior-clusters", "clusters": {"x": ["a"], "y": ["b", "c"]}})
    (known,) = with_clusters.comparisons.strategies
    assert known in changes(with_clusters, listed("all"), None)["comparisons"]["strategies"]
    others = changes(study(), listed("all"), None)["comparisons"]["strategies"]
    assert NEEDS_PARAMETERS.isdisjoint(name(entry) for entry in others)


def test_compressions_and_repeats_change_nothing_else() -> None:
    assert changes(study(), None, names(" fp16, ,int8,")) == {"comparisons": {"compressions": ["fp16", "int8"]}}
    named = study(None, {"name": "ditto"})
    assert changes(named, None, None, repeats=0) == {"comparisons": {"repeats": 0}}


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_list_has_nothing_in_it(text: str) -> None:
    assert listed(text) == []


@pytest.mark.parametrize(
    ("text", "entry"),
    [("3", "3"), ("null", "None"), ("[fedavg]", r"\['fedavg'\]"), ("{name: 3}", r"\{'name': 3\}"), ("{mu: 1}", "mu")],
)
def test_what_is_neither_a_name_nor_an_entry_is_shown(text: str, entry: str) -> None:
    with pytest.raises(StudyError, match=rf"--strategies fedavg, .*: .*{entry}.* is neither a name nor an entry"):
        listed(f"fedavg, {text}")


@pytest.mark.parametrize("text", ["", "fedavg, ditto"])
def test_one_strategy_is_neither_none_nor_two(text: str) -> None:
    with pytest.raises(StudyError, match=rf"--strategy {text}: one strategy is expected\. For several: "):
        one(text)
