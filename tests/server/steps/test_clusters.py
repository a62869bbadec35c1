"""Steps with several models, on arithmetic small enough to do by hand.

That planted clusters are found is in `tests/algorithms/test_quadratics.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stepping import FEDERATION, run, step_of, update, vector

from normfed_server.steps.clusters import LARGEST
from normfed_server.steps.progress import Progress

OPPOSED = [update("a", 1.0, 0.1), update("b", 1.0, -0.1), update("c", -1.0, 0.1), update("d", -1.0, -0.1)]
APART = {"a": 0, "b": 0, "c": 1, "d": 1}


def first_values(progress: Progress) -> list[float]:
    return [round(float(model["w"][0]), 5) for model in progress.models]


def split(progress: Progress, found: list[Any], **fields: Any) -> Progress:
    run({"name": "cfl", "from_round": 1, **fields}, progress, found)
    return progress


def test_ifca_starts_from_so_many_models_each_of_another_draw() -> None:
    progress = Progress([vector(0.0)])
    step_of({"name": "ifca", "clusters": 3}).prepare(progress, lambda number: vector(10.0 * number))
    assert first_values(progress) == [0, 10, 20]


def test_each_of_ifcas_models_is_the_mean_of_those_who_chose_it_and_one_that_nobody_chose_stays() -> None:
    progress = Progress([vector(0.0), vector(-1.0), vector(-2.0)], clusters={"a": 1, "z": 2})
    found = [update("a", 2.0, cluster=0), update("b", 5.0, cluster=2), update("c", 6.0, people=3, cluster=0)]
    run({"name": "ifca", "clusters": 3}, progress, found)
    assert first_values(progress) == [5, -1, 5]
    assert progress.clusters == {"a": 0, "b": 2, "c": 0, "z": 2}


@pytest.mark.parametrize(("from_round", "first"), [(1, 1), (3, 3), (None, FEDERATION.rounds // 2 + 1)])
def test_prior_clusters_part_at_the_round_of_the_study_or_after_half_of_them(
    from_round: int | None, first: int
) -> None:
    entry = {"name": "prior-clusters", "clusters": {"x": ["a"], "y": ["b"]}, "from_round": from_round}
    progress, parted = Progress([vector(0.0)]), []
    for _ in range(first):
        run(entry, progress, [update("a", 1.0), update("b", 3.0)])
        parted.append(len(progress.models))
    assert parted == [1] * (first - 1) + [2]
    assert first_values(progress) == [1, 3]


def test_sites_of_no_prior_cluster_stay_together_in_one_of_their_own() -> None:
    entry = {"name": "prior-clusters", "clusters": {"x": ["b"], "y": ["c", "absent"]}, "from_round": 1}
    progress = Progress([vector(0.0)])
    found = [update("a", 1.0), update("b", 2.0), update("c", 3.0), update("d", 5.0, people=3)]
    run(entry, progress, found)
    assert progress.clusters == {"b": 0, "c": 1, "absent": 1, "a": 2, "d": 2}
    assert first_values(progress) == [2, 3, 4]


def test_a_prior_cluster_nobody_of_which_answered_keeps_its_model() -> None:
    entry = {"name": "prior-clusters", "clusters": {"x": ["a"], "y": ["b"]}, "from_round": 1}
    progress = Progress([vector(7.0)])
    run(entry, progress, [update("a", 1.0)], asked={"a": 1, "b": 1})
    assert first_values(progress) == [1, 7]
    run(entry, progress, [update("b", 3.0)], asked={"a": 1, "b": 1})
    assert first_values(progress) == [1, 3]


def test_opposed_sites_are_split_and_each_half_is_weighed_by_its_people() -> None:
    found = [update("a", 1.0, people=3), update("b", 2.0), update("c", -1.0), update("d", -2.0, people=3)]
    progress = split(Progress([vector(0.0)]), found)
    assert progress.clusters == APART
    assert first_values(progress) == [1.25, -1.75]


@pytest.mark.parametrize(("standstill", "models"), [(0.29, 1), (0.31, 2)])
def test_a_cluster_is_split_only_where_its_mean_stands_still_against_its_largest(
    standstill: float, models: int
) -> None:
    """Mean 0.6 of at most 2: 0.3, by people; counted alike it would be 0.5 / 2."""
    found = [update("a", 2.0, people=8), update("b", -1.0, people=7)]
    assert len(split(Progress([vector(0.0)]), found, standstill=standstill).models) == models


@pytest.mark.parametrize(("largest", "models"), [(3.9, 2), (4.1, 1)])
def test_and_only_where_its_updates_are_still_large_against_the_largest_of_the_run(largest: float, models: int) -> None:
    progress = Progress([vector(0.0)], memory={LARGEST: np.array(largest)})
    split(progress, [update("a", 1.0), update("b", -1.0)], disagreement=0.25)
    assert len(progress.models) == models


def test_the_largest_update_of_the_run_is_remembered_and_never_shrinks() -> None:
    progress, seen = Progress([vector(0.0)]), []
    for value in (2.0, 5.0, 5.5):
        run("cfl", progress, [update("a", value)])
        seen.append(float(progress.memory[LARGEST]))
    assert seen == [2, 3, 3]


@pytest.mark.parametrize(("from_round", "first"), [(2, 2), (None, FEDERATION.rounds // 2 + 1)])
def test_no_split_before_the_round_of_the_study_or_half_of_them(from_round: int | None, first: int) -> None:
    progress, models = Progress([vector(0.0, 0.0)]), []
    for _ in range(first):
        run({"name": "cfl", "from_round": from_round}, progress, OPPOSED)
        models.append(len(progress.models))
    assert models == [1] * (first - 1) + [2]


def test_one_site_alone_and_one_that_did_not_move_split_nothing() -> None:
    assert len(split(Progress([vector(0.0)]), [update("a", 1.0)], standstill=1).models) == 1
    still = [update("a", 1.0), update("b", -1.0), update("c", 0.0)]
    assert len(split(Progress([vector(0.0)]), still).models) == 1


def test_a_cluster_is_split_again_by_itself_and_the_others_keep_their_numbers() -> None:
    progress = Progress([vector(0.0, 0.0), vector(5.0, 5.0)], clusters={"a": 1, "b": 1, "c": 0, "d": 0})
    found = [update("a", 5.0, 6.0), update("b", 5.0, 4.0), update("c", 1.0, 1.0), update("d", 1.0, 1.0)]
    split(progress, found)
    assert progress.clusters == {"a": 1, "b": 2, "c": 0, "d": 0}
    np.testing.assert_array_equal([model["w"] for model in progress.models], [[1, 1], [5, 6], [5, 4]])


def test_a_cluster_nobody_of_which_answered_keeps_its_model_and_its_sites() -> None:
    progress = Progress([vector(0.0), vector(9.0)], clusters={"a": 0, "z": 1})
    split(progress, [update("a", 1.0)])
    assert first_values(progress) == [1, 9]
    assert progress.clusters == {"a": 0, "z": 1}


def test_the_halves_do_not_depend_on_the_order_of_the_sites() -> None:
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        clusters = split(Progress([vector(0.0, 0.0)]), [OPPOSED[i] for i in order]).clusters
        assert clusters["a"] == clusters["b"] != clusters["c"] == clusters["d"]
        assert clusters[OPPOSED[order[0]].site] == 0  # the first site keeps the model's number
