import pytest
import yaml
from conftest import TINY

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.errors import StudyError
from normfed_common.studies import resolve
from normfed_simulation.comparison import changes, listed, one

STUDY = resolve({**TINY, "strategy": {"name": "fedprox", "mu": 0.5}}, "test")


def test_the_first_strategy_is_the_studys_own_and_anchors_are_switches() -> None:
    found = changes(STUDY, listed("ditto,fedprox,local"), None)
    assert found == {
        "strategy": "ditto",
        "comparisons": {"local": True, "pooled": False, "strategies": [{"name": "fedprox", "mu": 0.5}]},
    }


def test_without_a_list_the_usual_ones_are_compared() -> None:
    found = changes(STUDY, None, None, repeats=3)
    assert found["strategy"] == {"name": "fedprox", "mu": 0.5}
    assert "ditto" in found["comparisons"]["strategies"]
    assert found["comparisons"]["repeats"] == 3
    own = STUDY.comparisons.model_copy(update={"strategies": ({"name": "krum", "malicious": 0},)})
    assert changes(STUDY.model_copy(update={"comparisons": own}), None, None) == {}


def test_strategies_that_the_model_cannot_be_trained_by_are_compared_only_if_named() -> None:
    bare = resolve({**TINY, "model": {"name": "siamese", "patch_size": 9}}, "test")  # no normalisation layers
    for strategies in (None, ["all"]):
        assert "fedbn" not in changes(bare, strategies, None)["comparisons"]["strategies"]
        assert "fedbn" in changes(STUDY, strategies, None)["comparisons"]["strategies"]
    assert changes(bare, listed("fedavg,fedbn"), None)["comparisons"]["strategies"] == ["fedbn"]


def test_entries_may_carry_parameters() -> None:
    found = changes(STUDY, listed("fedavg, {name: ditto, lambda: 0.5}"), ["fp16", "int8"])
    assert found["comparisons"]["strategies"] == [{"name": "ditto", "lambda": 0.5}]
    assert found["comparisons"]["compressions"] == ["fp16", "int8"]
    assert one("{name: krum, malicious: 2}") == {"name": "krum", "malicious": 2}


def test_all_is_every_strategy_once_the_studys_own_first() -> None:
    found = changes(STUDY, listed("all"), None)
    assert found["strategy"] == {"name": "fedprox", "mu": 0.5}
    others = [e if isinstance(e, str) else e["name"] for e in found["comparisons"]["strategies"]]
    assert sorted(others) == sorted(set(ALGORITHMS) - {"fedprox", "prior-clusters"})
    assert found["comparisons"]["local"]
    assert found["comparisons"]["pooled"]
    more = changes(STUDY, listed("all, {name: prior-clusters, clusters: {x: [a], y: [b, c]}}"), None)
    assert more["comparisons"]["strategies"][-1]["name"] == "prior-clusters"
    assert len(more["comparisons"]["strategies"]) == len(others) + 1
    resolve(yaml.safe_load(yaml.safe_dump({**TINY, **more, "comparisons": more["comparisons"]})), "test")


@pytest.mark.parametrize("text", ["fedavg, {lambda: 1}", "fedavg, [", "fedavg, 3"])
def test_what_is_no_list_of_strategies_is_said(text: str) -> None:
    with pytest.raises(StudyError, match="--strategies"):
        changes(STUDY, listed(text), None)
    with pytest.raises(StudyError, match="one strategy is expected"):
        one("fedavg,ditto")
